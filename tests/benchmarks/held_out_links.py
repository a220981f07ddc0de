"""What the model says of links that were held out of its guidance graph, on a mosaic with planted ones.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/held_out_links.py results/demo/full

Reads ``mosaic.h5mu`` and ``truth.h5mu`` of a folder that the workflow made; prints one row a seed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml
from sklearn.metrics import average_precision_score

from mmaavi.estimator import MMAAVI
from mmaavi.mosaic import Mosaic, load
from mmaavi.normalisation import log_normalised, median_depth
from mmaavi.settings import Settings


def held_out_links(mosaic: Mosaic, planted: sp.csr_array, seed: int, settings: Settings, share: float = 0.3) -> dict:
    """Average precision of planted RNA-ATAC links that the model's graph lacked, among all pairs that were not in it."""
    n_genes, n_peaks = mosaic.n_features["rna"], mosaic.n_features["atac"]
    block = mosaic.guidance[:n_genes, n_genes : n_genes + n_peaks].toarray() != 0
    held_out = block & (np.random.default_rng(seed).random(block.shape) < share)
    graph = mosaic.guidance.tolil()
    for i, j in zip(*np.nonzero(held_out), strict=True):
        graph[i, n_genes + j] = graph[n_genes + j, i] = 0
    graph = graph.tocsr()
    graph.eliminate_zeros()
    model = MMAAVI(settings, seed).fit(replace(mosaic, guidance=graph))
    genes, peaks = mosaic.var["rna"].index, mosaic.var["atac"].index
    scores = model.links("rna", "atac").pivot(index="source", columns="target", values="score").loc[genes, peaks].to_numpy()
    both = (mosaic.measured["rna"] & mosaic.measured["atac"]).to_numpy()
    logged = [log_normalised(mosaic.counts[m][both], median_depth(mosaic.counts[m][both])).toarray() for m in ("rna", "atac")]
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(np.corrcoef(*(x.T for x in logged))[:n_genes, n_genes:])
    asked = ~block | held_out
    real = planted[:n_genes, n_genes : n_genes + n_peaks].toarray() != 0
    precision = {
        name: average_precision_score(real[asked], s[asked]) for name, s in (("ours", scores), ("correlation", correlation))
    }
    return {
        "seed": seed,
        "held_out": int(held_out.sum()),
        "planted": int(real[asked].sum()),
        "chance": real[asked].mean(),
        **precision,
    }


def parser_of(description: str) -> argparse.ArgumentParser:
    """A folder that the workflow made, settings of mmAAVI, and seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a setting of mmAAVI, as a number")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings.from_dict(yaml.safe_load("\n".join(options.setting).replace("=", ": ")) or {})


def main() -> None:
    options = parser_of(__doc__).parse_args()
    mosaic = load(options.folder / "mosaic.h5mu")
    planted = load(options.folder / "truth.h5mu", guidance_key="links").guidance
    for seed in options.seeds:
        row = held_out_links(mosaic, planted, seed, settings_of(options))
        print(pd.DataFrame([row]).to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    main()

"""What the model says of links that were held out of its guidance graph, beside the correlation of the counts.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/held_out_links.py results/demo/full

Reads ``mosaic.h5mu`` and ``truth.h5mu`` of a folder that the workflow made; prints one row a seed. Asked are all pairs that the
graph lacked, or those less than ``--within`` bases apart; right are the planted ones of a simulation, else those held out.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml
from sklearn.metrics import average_precision_score

from mmaavi.estimator import MMAAVI
from mmaavi.links import scored
from mmaavi.mosaic import Mosaic, load
from mmaavi.normalisation import log_normalised, median_depth
from mmaavi.peak_links import nearby
from mmaavi.settings import Settings


def held_out_links(
    mosaic: Mosaic, planted: sp.csr_array | None, seed: int, settings: Settings,
    modalities: Sequence[str] = ("rna", "atac"), within: int | None = None, share: float = 0.3,
) -> dict:  # fmt: skip
    """Average precision among pairs of features that the model's graph lacked, of the model's links and of correlation."""
    sources, targets = (slice(mosaic.feature_starts[m], mosaic.feature_starts[m] + mosaic.n_features[m]) for m in modalities)
    edges = sp.csr_array(mosaic.guidance)[sources, targets].tocoo()
    is_out = np.random.default_rng(seed).random(edges.nnz) < share
    i, j = (place[is_out] for place in edges.coords)
    graph = sp.csr_array(mosaic.guidance).tolil()
    graph[sources.start + i, targets.start + j] = graph[targets.start + j, sources.start + i] = 0
    graph = graph.tocsr()
    graph.eliminate_zeros()
    model = MMAAVI(settings, seed).fit(replace(mosaic, guidance=graph))

    tables = [mosaic.var[m] for m in modalities]
    if within is None:
        pairs = pd.MultiIndex.from_product([t.index for t in tables], names=["source", "target"]).to_frame(index=False)
    else:
        pairs = nearby(*tables, within)[["source", "target"]]
    at = [start.start + t.index.get_indexer(pairs[c]) for start, t, c in zip((sources, targets), tables, pairs, strict=True)]
    right = sp.csr_array(mosaic.guidance if planted is None else planted)[*at] > 0
    asked = graph[*at] == 0
    pairs = pairs.assign(right=right)[asked]
    scored = {"ours": model.links(mosaic, *modalities, pairs), "correlation": correlations(mosaic, modalities, pairs)}
    scored = {name: table.merge(pairs) for name, table in scored.items()}
    return {
        "seed": seed,
        "held_out": len(i),
        "asked": len(pairs),
        "chance": pairs["right"].mean(),
        **{name: average_precision_score(table["right"], table["score"]) for name, table in scored.items()},
    }


def correlations(mosaic: Mosaic, modalities: Sequence[str], pairs: pd.DataFrame) -> pd.DataFrame:
    """The same score of logged counts, over the cells that have both modalities."""
    both = mosaic.measured[list(modalities)].all(axis=1).to_numpy()
    counts = [mosaic.counts[m][both] for m in modalities]
    logged = [log_normalised(x, median_depth(x)).toarray().T for x in counts]
    profiles = [pd.DataFrame(x, mosaic.var[m].index) for x, m in zip(logged, modalities, strict=True)]
    return scored(*profiles, pairs[["source", "target"]].assign(in_graph=False), np.random.default_rng(0))


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
    parser = parser_of(__doc__)
    parser.add_argument("--modalities", nargs=2, default=["rna", "atac"])
    parser.add_argument("--within", type=int, metavar="BASES")
    options = parser.parse_args()
    mosaic = load(options.folder / "mosaic.h5mu")
    planted = load(options.folder / "truth.h5mu", guidance_key="links").guidance
    for seed in options.seeds:
        row = held_out_links(mosaic, planted, seed, settings_of(options), options.modalities, options.within)
        print(pd.DataFrame([row]).to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    main()

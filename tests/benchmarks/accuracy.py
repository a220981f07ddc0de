"""What labels and links are worth: label transfer from few labelled cells, and links held out of the guidance graph.

    .venv/bin/python tests/benchmarks/accuracy.py labels results/mop_multiome/full --reference A-D
    .venv/bin/python tests/benchmarks/accuracy.py links results/demo/full

Reads ``mosaic.h5mu``, ``truth.h5mu``, ``labels.tsv`` and the embeddings of a folder that the workflow made; prints one row a
seed. Labels are carried by the embeddings' nearest neighbours for comparison.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from mmaavi.calibration import expected_calibration_error
from mmaavi.embedding import read_embedding, read_labels
from mmaavi.estimator import MMAAVI
from mmaavi.mosaic import Mosaic, load
from mmaavi.normalisation import log_normalised, median_depth
from mmaavi.settings import Settings

AT_LEAST = 5  # labelled cells of a type


def labelled_cells(labels: pd.Series, n: int, rng: np.random.Generator) -> pd.Series:
    """About n labels, as common as in the data, but at least five of each."""
    share = n / len(labels)
    of_type = [
        part.sample(min(len(part), max(AT_LEAST, round(share * len(part)))), random_state=rng)
        for _, part in labels.groupby(labels)
    ]
    return pd.concat(of_type)


def label_transfer(mosaic: Mosaic, folder: Path, reference: str, n: int, seed: int, settings: Settings) -> list[dict]:
    """Balanced accuracy, by batch, of labels carried from n cells of the reference: ours, and kNN in other embeddings."""
    table = read_labels(folder / "labels.tsv")
    labels = table.iloc[:, 2].dropna()
    known = labelled_cells(labels[table.loc[labels.index, "batch"] == reference], n, np.random.default_rng(seed))
    model = MMAAVI(settings, seed).fit(mosaic, labels=known)
    probabilities = model.predict_labels(mosaic)
    predicted = {"mmAAVI, semi-supervised": probabilities[sorted(known.unique())].idxmax(axis=1)}
    for path in sorted(folder.glob(f"*/default/seed{seed}/embedding.h5ad")):
        x = pd.DataFrame(read_embedding(path, mosaic.cells).obsm["X_emb"], index=mosaic.cells)
        nearest = KNeighborsClassifier(5).fit(x.loc[known.index], known)
        predicted[f"{path.parts[-4]} + kNN"] = pd.Series(nearest.predict(x), index=mosaic.cells)
    rows = []
    for batch in mosaic.batches:
        cells = labels.index[(table.loc[labels.index, "batch"] == batch) & ~labels.index.isin(known.index)]
        for name, guess in predicted.items():
            row = {"seed": seed, "n_labelled": len(known), "batch": batch, "method": name}
            row["balanced_accuracy"] = balanced_accuracy_score(labels[cells], guess[cells])
            if name == "mmAAVI, semi-supervised":
                right = (guess[cells] == labels[cells]).to_numpy()
                row["calibration_error"] = expected_calibration_error(probabilities.loc[cells].max(axis=1).to_numpy(), right)
            rows.append(row)
    return rows


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["labels", "links"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference", help="batch whose cells have labels")
    parser.add_argument("--n-labelled", type=int, default=100)
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a setting of mmAAVI, as a number")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    mosaic, settings = (
        load(options.folder / "mosaic.h5mu"),
        Settings.from_dict(yaml.safe_load("\n".join(options.setting).replace("=", ": ")) or {}),
    )
    for seed in options.seeds:
        if options.what == "links":
            planted = load(options.folder / "truth.h5mu", guidance_key="links").guidance
            rows = [held_out_links(mosaic, planted, seed, settings)]
        else:
            rows = label_transfer(mosaic, options.folder, options.reference, options.n_labelled, seed, settings)
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    main()

"""What becomes of a cell type that no labelled cell has: is it predicted as new, or as another type?

    PYTHONPATH=src .venv/bin/python tests/benchmarks/withheld_label.py results/quickstart/full --withhold B Mono \\
        --setting minibatch_size=64

Reads ``mosaic.h5mu`` and ``labels.tsv`` of a folder that the workflow made; prints one row a label and seed.
"""

import pandas as pd
from held_out_links import parser_of, settings_of

from mmaavi.embedding import read_labels
from mmaavi.estimator import MMAAVI, NEW
from mmaavi.mosaic import Mosaic, load
from mmaavi.settings import Settings
from mmaavi.transfer import labelled_cells

N_LABELLED = 100


def withheld(mosaic: Mosaic, table: pd.DataFrame, label: str, seed: int, settings: Settings) -> dict:
    """Shares of the cells with the label, and of all others, that are predicted as new, after training on the other labels."""
    truth = table.iloc[:, 2]
    if not (truth == label).any():
        raise SystemExit(f"no cell is labelled '{label}'; there are {', '.join(truth.dropna().unique())}")
    known = labelled_cells(table, N_LABELLED, seed).iloc[:, 2]
    known = known[known != label]
    model = MMAAVI(settings, seed).fit(mosaic, labels=known)
    predicted = model.predict_labels(mosaic).idxmax(axis=1).loc[truth.index]
    new = predicted.str.startswith(NEW)
    of_type, other = truth == label, truth.notna() & (truth != label) & ~truth.index.isin(known.index)
    elsewhere = predicted[of_type & ~new].value_counts(normalize=True)
    return {
        "withheld": label,
        "seed": seed,
        "n_labelled": len(known),
        "n_cells": int(of_type.sum()),
        "new": new[of_type].mean(),
        "others_new": new[other].mean(),
        "else_as": ", ".join(f"{name} {share:.2f}" for name, share in elsewhere.head(3).items()),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--withhold", nargs="+", required=True, metavar="LABEL")
    options = parser.parse_args()
    mosaic, table = load(options.folder / "mosaic.h5mu"), read_labels(options.folder / "labels.tsv")
    settings = settings_of(options)
    rows = [withheld(mosaic, table, label, seed, settings) for label in options.withhold for seed in options.seeds]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()

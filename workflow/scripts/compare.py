"""Compare the scores of this run with the committed ones, and say what moved."""

import sys

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.reference import compare

log_to(snakemake.log[0])
fresh, reference = (
    pd.concat([pd.read_csv(path, sep="\t") for path in paths], ignore_index=True)
    for paths in (snakemake.input, snakemake.params.reference)
)
table = compare(fresh, reference)
moved = table[table["moved"]].drop(columns="moved")
if table.empty:
    print("None of these runs is among the reference results.")
else:
    print(f"{len(table)} scores are among the reference results; {len(moved)} of them moved by more than is allowed.")
if len(moved):
    print(moved.to_string(index=False, float_format="%.3f"))
    sys.exit(1)

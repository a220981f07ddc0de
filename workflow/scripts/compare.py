"""Compare the results of this run with the committed ones, and say what moved."""

import sys

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.reference import AS_SCORES, compare

log_to(snakemake.log[0])
fresh, reference = [], []
for name, path in snakemake.params.reference.items():
    for tables, paths in ((fresh, snakemake.input[name]), (reference, [path])):
        for file in paths:
            table = pd.read_csv(file, sep="\t")
            tables.append(AS_SCORES[name](table) if name in AS_SCORES else table)
table = compare(pd.concat(fresh, ignore_index=True), pd.concat(reference, ignore_index=True))
moved = table[table["moved"]].drop(columns="moved")
if table.empty:
    print("None of these runs is among the reference results.")
else:
    print(f"{len(table)} scores are among the reference results; {len(moved)} of them moved by more than is allowed.")
if len(moved):
    print(moved.to_string(index=False, float_format="%.3f"))
    sys.exit(1)

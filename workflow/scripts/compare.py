"""Compare the results of this run with the committed ones, and say what moved."""

import sys

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.reference import AS_SCORES, compare


def read(name, paths):
    table = pd.concat([pd.read_csv(path, sep="\t") for path in paths], ignore_index=True)
    return AS_SCORES[name](table) if name in AS_SCORES else table


log_to(snakemake.log[0])
asked = {name: path for name, path in snakemake.params.reference.items() if snakemake.input[name]}
table = pd.concat([compare(read(name, snakemake.input[name]), read(name, [path])) for name, path in asked.items()])
moved = table[table["moved"]].drop(columns="moved")
if table.empty:
    print("None of these runs is among the reference results.")
else:
    print(f"{len(table)} scores are among the reference results; {len(moved)} of them moved by more than is allowed.")
if len(moved):
    print(moved.to_string(index=False, float_format="%.3f"))
    sys.exit(1)

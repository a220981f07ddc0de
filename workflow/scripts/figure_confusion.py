"""Confusion matrices of transferred labels, of the first seed."""

import pandas as pd

from mmaavi.embedding import read_labels
from mmaavi.logs import log_to
from mmaavi.plots.style import save_with_values
from mmaavi.plots.transfer import confusion

log_to(snakemake.log[0])
truth = read_labels(snakemake.input.labels).iloc[:, 2]
unlabelled = truth.index.difference(read_labels(snakemake.input.labelled).index)
tables = {}
for method, path in zip(snakemake.params.methods, snakemake.input.files, strict=True):
    predicted = pd.read_csv(path, sep="\t", dtype={"cell": str, "label": str}).set_index("cell")["label"]
    if len(predicted):
        both = pd.DataFrame({"truth": truth, "predicted": predicted.reindex(truth.index)})
        tables[method] = both.loc[unlabelled].dropna(subset="truth")
title = f"{snakemake.params.title}, {len(truth):,} cells\n{snakemake.params.n} labelled cells asked for"
columns = ["method", "truth", "predicted"]
cells = pd.concat([table.assign(method=method) for method, table in tables.items()] or [pd.DataFrame(columns=columns)])
counted = cells.value_counts(columns, sort=False).rename("cells").reset_index()
save_with_values(confusion(tables, title), counted, snakemake.output)

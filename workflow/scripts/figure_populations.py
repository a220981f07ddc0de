"""What becomes of populations that some batches lost."""

import pandas as pd

import mmaavi.compiled  # noqa: F401 - before what it keeps
from mmaavi.analyses import RUN, of_runs, removed_populations
from mmaavi.embedding import read_embedding, read_labels
from mmaavi.logs import log_to
from mmaavi.metrics import N_NEIGHBOURS, label_purity, neighbours
from mmaavi.plots.populations import population_panels
from mmaavi.plots.style import cells_in, save_with_values

log_to(snakemake.log[0])
params = snakemake.params
before = []
for scenario, path in zip(params.removed, snakemake.input.without, strict=True):
    labels = read_labels(path).iloc[:, 2].dropna()
    for (dataset, _, *run), embedding in zip(params.whole_runs, snakemake.input.embeddings, strict=True):
        adata = read_embedding(embedding, labels.index)
        if "not_run" not in adata.uns:
            scores = label_purity(neighbours(adata.obsm["X_emb"], N_NEIGHBOURS["transfer"]), labels.to_numpy())
            before += [(dataset, scenario, *run, score.group, score.value) for score in scores]
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), params.runs)
table = removed_populations(scores, params.removed, params.whole, pd.DataFrame(before, columns=[*RUN, "group", "value"]))
title = f"{params.title}, {cells_in(snakemake.input.labels)}"
save_with_values(population_panels(table, title), table.assign(dataset=params.runs[0][0]), snakemake.output)

"""The validation loss by number of components, and the number that the criterion chooses."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.components import component_losses
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.selection import by_components

log_to(snakemake.log[0])
rows = []
for (*_, seed), k, path in zip(snakemake.params.runs, snakemake.params.n_components, snakemake.input.files, strict=True):
    history = pd.read_csv(path, sep="\t")
    rows.append((k, seed, history.loc[history["phase"] == "validation", "total"].min()))
losses = pd.DataFrame(rows, columns=["n_components", "seed", "loss"])
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
by_k = by_components(losses)
dataset, scenario = snakemake.params.runs[0][:2]
save_with_values(component_losses(losses, by_k, title), by_k.assign(dataset=dataset, scenario=scenario), snakemake.output)

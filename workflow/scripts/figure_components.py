"""The validation loss by number of components, and the number that the criterion chooses."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.components import component_losses
from mmaavi.plots.style import save
from mmaavi.selection import choose_components

log_to(snakemake.log[0])
rows = []
for (*_, seed), k, path in zip(snakemake.params.runs, snakemake.params.n_components, snakemake.input.files, strict=True):
    history = pd.read_csv(path, sep="\t")
    rows.append((k, seed, history.loc[history["phase"] == "validation", "total"].min()))
losses = pd.DataFrame(rows, columns=["n_components", "seed", "loss"])
save(component_losses(losses, choose_components(losses), snakemake.params.title), snakemake.output)

"""UMAPs of all methods, coloured by batch, modality pattern and label."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots import save, umap_grid

log_to(snakemake.log[0])
labels = pd.read_csv(snakemake.input.labels, sep="\t", index_col="cell", dtype=str)
umap = pd.read_csv(snakemake.input.umap, sep="\t", index_col="cell")
save(umap_grid(umap, labels, snakemake.params.methods, snakemake.params.title), snakemake.output)

"""UMAPs of all methods, coloured by batch, modality pattern and label."""

import pandas as pd

from mmaavi.embedding import read_labels
from mmaavi.logs import log_to
from mmaavi.plots.style import save
from mmaavi.plots.umap import umap_grid

log_to(snakemake.log[0])
labels = read_labels(snakemake.input.labels)
umap = pd.read_csv(snakemake.input.umap, sep="\t", dtype={"cell": str}).set_index("cell")
save(umap_grid(umap, labels, snakemake.params.methods, snakemake.params.title, snakemake.params.colours), snakemake.output)

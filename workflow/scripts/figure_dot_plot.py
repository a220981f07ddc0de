"""Measured values of the markers of each cluster."""

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.logs import log_to
from mmaavi.markers import clusters, dots, read_table
from mmaavi.mosaic import load
from mmaavi.plots.dot_plot import dot_plot
from mmaavi.plots.style import save
from mmaavi.stored import READ_GIB

log_to(snakemake.log[0])
asked = snakemake.params.asked
labels = read_labels(snakemake.input.labels)
adata = read_embedding(snakemake.input.embedding, labels.index)
groups = clusters(adata.obsm["mmaavi_c"], labels, asked["smallest"], asked["most_clusters"])
mosaic, table = load(snakemake.input.mosaic, memory_gib=READ_GIB), read_table(snakemake.input.differential)
shown = dots(mosaic, table, groups, asked["fdr"], asked["n_markers"], asked["least"])
save(dot_plot(shown, f"{snakemake.params.title}, {groups.notna().sum():,} cells"), snakemake.output)

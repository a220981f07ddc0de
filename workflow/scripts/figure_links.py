"""Links between genes and the peaks near them, along the genome."""

import pandas as pd

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.logs import log_to
from mmaavi.markers import clusters, measured_by_cluster, read_table
from mmaavi.mosaic import load
from mmaavi.peak_links import genes_and_peaks
from mmaavi.plots.genome import genome_tracks
from mmaavi.plots.style import cells_in, save
from mmaavi.stored import READ_GIB

log_to(snakemake.log[0])
asked = snakemake.params.asked
links = read_table(snakemake.input.links)
tables = (pd.DataFrame(),) * 3  # of genes, peaks and accessibility: without links there need not be any
if len(links):
    mosaic, labels = load(snakemake.input.mosaic, memory_gib=READ_GIB), read_labels(snakemake.input.labels)
    adata = read_embedding(snakemake.input.embedding, labels.index)
    groups = clusters(adata.obsm["mmaavi_c"], labels, asked["smallest"], asked["most_clusters"])
    genes, peaks = genes_and_peaks(mosaic)
    tables = (mosaic.var[genes], mosaic.var[peaks], measured_by_cluster(mosaic, peaks, groups)[1])
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
figure = genome_tracks(links, *tables, title, asked["fdr"], asked["p_value"], asked["n_genes"], asked["most_peaks"])
save(figure, snakemake.output)

"""Features that tell each cluster from the others, by modality: difference against evidence."""

from mmaavi.logs import log_to
from mmaavi.markers import read_table
from mmaavi.plots.style import cells_in, save
from mmaavi.plots.volcano import volcano

log_to(snakemake.log[0])
asked = snakemake.params.asked
table = read_table(snakemake.input.differential)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save(volcano(table, title, asked["fdr"], n_named=5, most_groups=asked["in_volcano"]), snakemake.output)

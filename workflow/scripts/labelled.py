"""Choose the cells whose labels are used where labels are transferred."""

from mmaavi.embedding import read_labels
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.transfer import labelled_cells

log_to(snakemake.log[0])
table = read_labels(snakemake.input.labels)
chosen = labelled_cells(table, int(snakemake.wildcards.n), int(snakemake.wildcards.seed), snakemake.params.batch)
write_table(chosen, snakemake.output[0])

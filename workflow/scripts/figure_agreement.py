"""Whether features that the guidance graph links differ in the same direction."""

from mmaavi.logs import log_to
from mmaavi.markers import read_table
from mmaavi.plots.agreement import agreement_panels
from mmaavi.plots.style import cells_in, save

log_to(snakemake.log[0])
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save(agreement_panels(read_table(snakemake.input.agreement), title), snakemake.output)

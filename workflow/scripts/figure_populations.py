"""What becomes of populations that some batches lost."""

import pandas as pd

from mmaavi.analyses import of_runs, removed_populations
from mmaavi.logs import log_to
from mmaavi.plots.populations import population_panels
from mmaavi.plots.style import save

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
table = removed_populations(scores, snakemake.params.removed, snakemake.params.whole)
save(population_panels(table, snakemake.params.title), snakemake.output)

"""Time and memory of each method on each dataset."""

import pandas as pd

from mmaavi.analyses import of_runs
from mmaavi.logs import log_to
from mmaavi.plots.cost import cost_panels
from mmaavi.plots.style import save

log_to(snakemake.log[0])
save(cost_panels(of_runs(pd.read_csv(snakemake.input.cost, sep="\t"), snakemake.params.runs)), snakemake.output)

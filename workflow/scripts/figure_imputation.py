"""Scores of imputation, by modality."""

import pandas as pd

from mmaavi.analyses import of_runs
from mmaavi.logs import log_to
from mmaavi.plots.imputation import imputation_panels
from mmaavi.plots.style import save

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
save(imputation_panels(scores, snakemake.params.title), snakemake.output)

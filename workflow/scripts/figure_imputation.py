"""Scores of imputation, by modality."""

import pandas as pd

from mmaavi.analyses import of_runs
from mmaavi.logs import log_to
from mmaavi.plots.imputation import imputation_panels
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.scores import IMPUTATION

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save_with_values(imputation_panels(scores, title), scores[scores["metric"].isin(IMPUTATION)], snakemake.output)

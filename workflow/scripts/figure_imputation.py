"""Scores of imputation, by modality."""

import pandas as pd

from mmaavi.analyses import of_runs
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.plots.imputation import imputation_panels
from mmaavi.plots.style import cells_in, save
from mmaavi.scores import IMPUTATION

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save(imputation_panels(scores, title), [snakemake.output.svg, snakemake.output.png])
write_table(scores[scores["metric"].isin(IMPUTATION)], snakemake.output.values, index=False, float_format="%.6g")

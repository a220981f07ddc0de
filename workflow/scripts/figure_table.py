"""The scores of an experiment on one mosaic as a picture."""

import pandas as pd

from mmaavi.analyses import RUN, of_runs
from mmaavi.logs import log_to
from mmaavi.plots.score_table import score_table
from mmaavi.plots.style import cells_in, save
from mmaavi.scores import summarise

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
summary = summarise(scores, [*RUN[:-1], "metric", "group"])
save(score_table(summary, title), snakemake.output)

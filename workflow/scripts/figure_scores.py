"""Scores of all methods on one mosaic, with intervals over seeds."""

import pandas as pd

from mmaavi.analyses import RUN, of_runs
from mmaavi.logs import log_to
from mmaavi.plots.scores import score_panels
from mmaavi.plots.style import cells_in, save
from mmaavi.scores import summarise

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
summary = summarise(scores, [*RUN[:-1], "metric", "group"])
save(score_panels(summary, scores, title), snakemake.output)

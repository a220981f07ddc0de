"""The ranking of methods over the datasets of an experiment."""

import pandas as pd

from mmaavi.analyses import RUN, of_runs
from mmaavi.logs import log_to
from mmaavi.plots.score_table import ranking
from mmaavi.plots.style import cells_in, save
from mmaavi.scores import summarise

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
cells = dict(zip(snakemake.params.mosaics, map(cells_in, snakemake.input.labels), strict=True))
save(ranking(summarise(scores, [*RUN[:-1], "metric", "group"]), cells, snakemake.params.title), snakemake.output)

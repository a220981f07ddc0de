"""Differences of variants and scenarios to the first of them."""

import pandas as pd

from mmaavi import analyses
from mmaavi.logs import log_to
from mmaavi.metrics import AGGREGATES, MOSAIC
from mmaavi.plots.ablation import differences
from mmaavi.plots.style import save

log_to(snakemake.log[0])
runs = snakemake.params.runs
scores = analyses.of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), runs)
table = analyses.differences(scores, AGGREGATES | MOSAIC, tuple(runs[0][1:4]))
save(differences(table, runs[0][3], snakemake.params.title), snakemake.output)

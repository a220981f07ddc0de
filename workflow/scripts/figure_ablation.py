"""Differences of variants and scenarios to the first of them."""

import pandas as pd

from mmaavi import analyses
from mmaavi.logs import log_to
from mmaavi.plots.ablation import differences
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.scores import AGGREGATES, MOSAIC

log_to(snakemake.log[0])
scores = analyses.of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
reference = tuple(snakemake.params.reference)
table = analyses.differences(scores, AGGREGATES | MOSAIC, reference)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save_with_values(differences(table, reference[-1], title), table, snakemake.output)

"""Scores of all methods on one mosaic, with intervals over seeds."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.scores import score_panels
from mmaavi.plots.style import save

log_to(snakemake.log[0])
here = {"dataset": snakemake.wildcards.dataset, "scenario": snakemake.wildcards.scenario}
summary, scores = (
    pd.read_csv(snakemake.input[k], sep="\t").query("dataset == @here['dataset'] and scenario == @here['scenario']")
    for k in ("summary", "scores")
)
save(score_panels(summary, scores, snakemake.params.title), snakemake.output)

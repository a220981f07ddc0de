"""Scores against the share of cells that keep a modality."""

import pandas as pd

from mmaavi.analyses import of_runs, panels, series, share_with
from mmaavi.embedding import read_labels
from mmaavi.logs import log_to
from mmaavi.plots.curves import curves
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.scores import AGGREGATES, MOSAIC

log_to(snakemake.log[0])
scores = of_runs(pd.read_csv(snakemake.input.scores, sep="\t"), snakemake.params.runs)
modality = snakemake.params.modality
scenarios = pd.Index(snakemake.params.scenarios, name="scenario")
share = pd.Series([100 * share_with(read_labels(path), modality) for path in snakemake.input.files], scenarios)
table = series(panels(scores, AGGREGATES | MOSAIC), share)
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save_with_values(curves(table, f"cells with {modality}, %", title), table, snakemake.output)

"""How well labels are transferred, by number of labelled cells."""

import pandas as pd

from mmaavi.analyses import panels, series
from mmaavi.logs import log_to
from mmaavi.plots.curves import curves
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.transfer import METRICS, family

log_to(snakemake.log[0])
scores = pd.concat([pd.read_csv(path, sep="\t") for path in snakemake.input.files])
scores = scores.assign(variant=[family(v, snakemake.params.learners) for v in scores["variant"]])
n_labelled = pd.Series(sorted(scores["n_labelled"].unique()), name="n")
table = series(panels(scores, METRICS), n_labelled.set_axis(n_labelled.rename("n_labelled")))
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
figure = curves(table, "labelled cells asked for", title, log_x=True)
save_with_values(figure, table, snakemake.output)

"""Training and validation curves of every loss term."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.style import cells_in, save
from mmaavi.plots.training import training_curves

log_to(snakemake.log[0])
histories = [pd.read_csv(path, sep="\t").assign(run=i) for i, path in enumerate(snakemake.input.histories)]
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
save(training_curves(pd.concat(histories), title), snakemake.output)

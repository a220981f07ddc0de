"""Training and validation curves of every loss term."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.style import save
from mmaavi.plots.training import training_curves

log_to(snakemake.log[0])
histories = [pd.read_csv(path, sep="\t").assign(run=i) for i, path in enumerate(snakemake.input.histories)]
save(training_curves(pd.concat(histories), snakemake.params.title), snakemake.output)

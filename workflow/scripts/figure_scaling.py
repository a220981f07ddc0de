"""Time, memory and scores by number of cells."""

import pandas as pd

from mmaavi.analyses import of_runs, panels, series
from mmaavi.embedding import read_labels
from mmaavi.logs import log_to
from mmaavi.plots.curves import curves
from mmaavi.plots.style import save_with_values
from mmaavi.scores import AGGREGATES

TIME, MEMORY = "fitting time, seconds", "peak memory of the job, GiB"

log_to(snakemake.log[0])
runs = snakemake.params.runs
scores, cost = (of_runs(pd.read_csv(snakemake.input[k], sep="\t"), runs) for k in ("scores", "cost"))
scenarios = pd.Index(snakemake.params.scenarios, name="scenario")
cells = pd.Series([len(read_labels(path)) for path in snakemake.input.files], scenarios)
measured = [cost.assign(panel=TIME, value=cost["fit_seconds"]), cost.assign(panel=MEMORY, value=cost["peak_memory_gib"])]
table = series(pd.concat([*measured, panels(scores, AGGREGATES)]), cells)
figure = curves(table, "cells", snakemake.params.title, log_x=True, log_y=(TIME, MEMORY))
save_with_values(figure, table, snakemake.output)

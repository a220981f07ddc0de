"""Balanced accuracy of transferred labels by batch and by modality pattern."""

import pandas as pd

from mmaavi.logs import log_to
from mmaavi.plots.style import cells_in, save_with_values
from mmaavi.plots.transfer import transfer_groups
from mmaavi.transfer import family

log_to(snakemake.log[0])
scores = pd.concat([pd.read_csv(path, sep="\t") for path in snakemake.input.files])
scores = scores[(scores["metric"] == "transfer_balanced") & (scores["n_labelled"] == snakemake.params.n)]
scores = scores.assign(variant=[family(v, snakemake.params.learners) for v in scores["variant"]])
mean = scores.groupby(["method", "variant", "group"], sort=False)["value"].mean().rename("mean").reset_index()
title = f"{snakemake.params.title}, {cells_in(snakemake.input.labels)}"
figure = transfer_groups(mean, f"{title}\nbalanced accuracy from {snakemake.params.n} labelled cells asked for")
save_with_values(figure, mean, snakemake.output)

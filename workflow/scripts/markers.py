"""Markers of a trained model's clusters, agreement of linked features, and links between genes and peaks: three tables."""

import logging

import numpy as np
import torch

from mmaavi.directions import agreement
from mmaavi.embedding import read_embedding, read_labels
from mmaavi.estimator import MMAAVI
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.markers import clusters, differential_features
from mmaavi.mosaic import load
from mmaavi.peak_links import peak_links

SHARE_OF_VALUES = 0.25  # of the job's memory; a mosaic of more stays on disk

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
asked = snakemake.params.asked
memory_gib = snakemake.resources.mem_mb / 1024 * SHARE_OF_VALUES
mosaic = load(snakemake.input.mosaic, memory_gib=memory_gib)
truth = load(snakemake.input.truth, guidance_key="links", memory_gib=memory_gib)
labels = read_labels(snakemake.input.labels)
adata = read_embedding(snakemake.input.embedding, labels.index)
model = MMAAVI.load(snakemake.input.model)

groups = clusters(adata.obsm["mmaavi_c"], labels, asked["smallest"])
logging.info("%d cells lie in clusters of fewer than %d cells and are left out", groups.isna().sum(), asked["smallest"])
table = differential_features(model, mosaic, groups, asked["delta"], asked["most_cells"])
rng = np.random.default_rng(int(snakemake.wildcards.seed))
of_run = {key: snakemake.wildcards[key] for key in ("dataset", "scenario", "variant")}
tables = {
    "differential": table,
    "agreement": agreement(table, mosaic, rng, asked["fdr"], asked["n_null"]).assign(**of_run),
    "links": peak_links(model, mosaic, truth, asked["within"]),
}
for name, rows in tables.items():
    write_table(rows, snakemake.output[name], index=False, float_format="%.4g")

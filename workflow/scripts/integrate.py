"""Run one method with one seed; keep its embedding, training log and time, or why it cannot run."""

import logging
import resource
import sys
import time
from inspect import signature
from pathlib import Path

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from mmaavi.embedding import read_labels, save_embedding, save_not_run
from mmaavi.files import write_table
from mmaavi.imputation import imputation_scores
from mmaavi.logs import log_to
from mmaavi.methods import load_method, unsupported
from mmaavi.mosaic import load
from mmaavi.scenarios import only

MANY_FEATURES = 5000


def keep(history: pd.DataFrame, imputation: list) -> None:
    rows = pd.DataFrame([vars(score) for score in imputation], columns=["metric", "group", "value", "note"])
    write_table(rows, snakemake.output.imputation, index=False)
    write_table(history, snakemake.output.history, index=False)


log_to(snakemake.log[0])
mosaic, model = load(snakemake.input.mosaic), Path(snakemake.output.model)
name = snakemake.wildcards.method
if reason := snakemake.params.not_here or unsupported(name, mosaic):
    logging.warning("not run: %s", reason)
    keep(pd.DataFrame(), [])
    model.mkdir(parents=True, exist_ok=True)
    save_not_run(snakemake.output.embedding, mosaic, reason)
    sys.exit()

method = load_method(name)
# Layers of a few thousand features are done before a second thread has started. The same threads for all methods.
threads = snakemake.threads if sum(mosaic.n_features.values()) > MANY_FEATURES else 1
torch.set_num_threads(threads)
threadpool_limits(threads)
settings = {k: v for k, v in snakemake.params.settings.items() if k not in ("labels", "labelled")}
if snakemake.input.labels:
    settings["labels"] = read_labels(snakemake.input.labels).iloc[:, 2]  # after batch and pattern: the first label column
# A training that was killed goes on from here.
resume = {"checkpoint": f"{snakemake.output.embedding}.checkpoint"} if "checkpoint" in signature(method).parameters else {}
start = time.perf_counter()
result = method(mosaic, int(snakemake.wildcards.seed), **settings, **resume)
cost = {"seconds": time.perf_counter() - start}
cost["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the job so far

# Only now is the truth read: each half of a cell embedded by itself, for the matching scores.
truth = load(snakemake.input.truth, guidance_key="links")
halves = {}
if result.embed and len(truth.cells):
    for modality in mosaic.modalities:
        cells = only(mosaic, truth, modality)
        halves[modality] = pd.DataFrame(result.embed(cells), index=cells.cells)
model.mkdir(parents=True, exist_ok=True)
if result.save:
    result.save(model)
save_embedding(snakemake.output.embedding, mosaic, truth, result, halves, settings, cost)
keep(result.history, imputation_scores(mosaic, truth, result))

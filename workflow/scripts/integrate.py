"""Run one method with one seed; keep its embedding, training log and time, or why it cannot run."""

import logging
import resource
import sys
import time
from inspect import signature
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from mmaavi.embedding import read_labels, save_embedding, save_not_run
from mmaavi.files import write_table
from mmaavi.imputation import imputation_scores
from mmaavi.logs import log_to
from mmaavi.methods import load_method, unsupported, versions
from mmaavi.mosaic import load
from mmaavi.scenarios import only, subsample

MANY_FEATURES = 5000
MOST_HALVES = 20_000  # cells whose halves are matched, each with all: drawn at random where more were hidden
SHARE_OF_VALUES = 0.5  # of the job's memory; a mosaic of more stays on disk


def keep(history: pd.DataFrame, imputation: list) -> None:
    rows = pd.DataFrame([vars(score) for score in imputation], columns=["metric", "group", "value", "note"])
    write_table(rows, snakemake.output.imputation, index=False)
    write_table(history, snakemake.output.history, index=False)


log_to(snakemake.log[0])
memory_gib = snakemake.resources.mem_mb / 1024 * SHARE_OF_VALUES
mosaic, model = load(snakemake.input.mosaic, memory_gib=memory_gib), Path(snakemake.output.model)
name = snakemake.wildcards.method
if reason := snakemake.params.not_here or unsupported(name, mosaic):
    logging.warning("not run: %s", reason)
    keep(pd.DataFrame(), [])
    model.mkdir(parents=True, exist_ok=True)
    save_not_run(snakemake.output.embedding, mosaic, reason)
    sys.exit()

# Layers of a few thousand features are done before a second thread has started. The same threads for all methods.
threads = snakemake.threads if sum(mosaic.n_features.values()) > MANY_FEATURES else 1
method = load_method(name)
threadpool_limits(threads)
if "torch" in sys.modules:  # only methods that need it load it
    sys.modules["torch"].set_num_threads(threads)
settings = {k: v for k, v in snakemake.params.settings.items() if k not in ("labels", "labelled")}
if snakemake.input.labels:
    settings["labels"] = read_labels(snakemake.input.labels).iloc[:, 2]  # after batch and pattern: the first label column
# What a method can do beyond all others: go on with a training that was killed; read a mosaic that stays on disk.
can = {"checkpoint": f"{snakemake.output.embedding}.checkpoint", "memory_gib": memory_gib}
can = {option: value for option, value in can.items() if option in signature(method).parameters}
if "memory_gib" not in can:
    mosaic = mosaic.in_memory()
start = time.perf_counter()
result = method(mosaic, int(snakemake.wildcards.seed), **settings, **can)
cost = {"seconds": time.perf_counter() - start}
cost["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the job so far
cost["packages"] = versions(name)

# Only now is the truth read: each half of a cell embedded by itself, for the matching scores.
truth = load(snakemake.input.truth, guidance_key="links", memory_gib=memory_gib)
model.mkdir(parents=True, exist_ok=True)
if result.save:
    result.save(model)
halves = {}
if result.embed and len(truth.cells):
    some = subsample(truth, MOST_HALVES)
    for modality in mosaic.modalities:
        cells = only(mosaic, some, modality)
        if len(cells.cells):
            halves[modality] = pd.DataFrame(result.embed(cells), index=cells.cells)
save_embedding(snakemake.output.embedding, mosaic, truth, result, halves, settings, cost)
keep(result.history, imputation_scores(mosaic, truth, result))
if "checkpoint" in can:
    Path(can["checkpoint"]).unlink(missing_ok=True)

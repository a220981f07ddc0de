"""A training step on a GPU: against its plain dense form, by precision, and an epoch of a million cells held on the device.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/gpu.py [--mosaic FILE.h5mu] [--cells 1000000] [--multivi] [--out FOLDER]

Simulated cells: 3,000 genes of which 10% are found in a cell, 100,000 peaks of which 0.5% are open; four batches, with RNA and
ATAC, both again, RNA alone, and ATAC alone.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from benchmark import SETTINGS, Training, against_multivi, dense, float32, growth, random_mosaic, seconds

from mmaavi import steps
from mmaavi.data import MosaicData
from mmaavi.mosaic import Mosaic, load
from mmaavi.precision import fast_products, sum_of_products

FEATURES = {"rna": 3_000, "atac": 100_000}
DENSITY = {"rna": 0.1, "atac": 0.005}
SIZES = {"step": (256, 2048), "epoch": (512, 2048)}  # cells a step
PATTERNS = ["rna atac", "rna atac", "rna", "atac"]
AS_TRAINED = "tf32, decoders in bfloat16"


def bandwidth() -> float:
    """Bytes a second of a copy on the device, read and written ones."""
    a = torch.randn(2**29, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds(lambda: b.copy_(a))


@contextmanager
def one_by_one() -> Iterator[None]:
    """Steps that are not recorded: the host launches kernel after kernel."""
    with mock.patch.object(steps, "triton_works", return_value=False):
        yield


tf32 = partial(fast_products, 0)  # TF32 is for any number of features
FORMS: dict[str, list[Callable]] = {
    "float32": [float32],
    "tf32": [tf32, float32],
    AS_TRAINED: [tf32],
    "as trained, kernel by kernel": [tf32, one_by_one],
    "float32, plain dense": [dense],
}


@contextmanager
def in_form(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        for context in FORMS[name]:
            stack.enter_context(context())
        yield


def forget() -> None:
    """Leave nothing of earlier trainings on the device."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def step(mosaic: Mosaic, size: int, form: str) -> dict:
    """Time of a step, the least bytes that it moves against that time, and its memory."""
    forget()
    with in_form(form):
        training = Training(mosaic, replace(SETTINGS, minibatch_size=size), device="cuda")
        took, peak = seconds(training.step), torch.cuda.max_memory_allocated()
        products = seconds(training.products())
        moved = least_bytes(training)
    return {
        "cells_a_step": size,
        "form": form,
        "ms": 1e3 * took,
        "products_ms": 1e3 * products,
        "tb_a_second": moved / took / 1e12,
        "peak_gib": peak / 2**30,
    }


def least_bytes(training: Training) -> int:
    """Weights are read twice, their gradients written and read, the optimiser's squares and they read and written; logits are
    written, read four times, and their gradients written, in bfloat16 or not."""
    n_weights = sum(p.numel() for p in training.model.parameters())
    batch = next(training.minibatches)
    n_logits = sum(len(x.rows) * training.model.n_features[m] for m, x in batch.modalities.items())
    one = torch.ones(1, 1, device="cuda")
    return 4 * 8 * n_weights + sum_of_products([(one, one)], may_round=True).element_size() * 6 * n_logits


def epochs(mosaic: Mosaic) -> list[dict]:
    """All cells on the device, then whole epochs."""
    start = time.perf_counter()
    data = MosaicData(mosaic, mosaic.batches, device="cuda")
    held, rows = torch.cuda.memory_allocated() / 2**30, []
    there = time.perf_counter() - start
    for size, form in product(SIZES["epoch"], ("float32", "tf32", AS_TRAINED)):
        training = None
        forget()
        with in_form(form):
            training = Training(mosaic, replace(SETTINGS, minibatch_size=size), device="cuda", data=data)
            a_step, moved = seconds(training.step), least_bytes(training)
            took = seconds(training.epoch, n=1, warm_up=0)
        rows.append(
            {
                "cells": data.n_cells,
                "cells_a_step": size,
                "form": form,
                "epoch_seconds": took,
                "step_ms": 1e3 * a_step,
                "tb_a_second": moved / a_step / 1e12,
                "to_device_seconds": there,
                "held_gib": held,
                "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mosaic", type=Path, help="a mosaic.h5mu of the workflow, for the steps; without it a random one is used"
    )
    parser.add_argument("--cells", type=int, default=1_000_000, help="simulated cells of the epoch")
    parser.add_argument("--multivi", action="store_true", help="compare with MultiVI of scvi-tools, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; a copy moves {bandwidth() / 1e12:.2f} TB/s")
    mosaic = load(options.mosaic) if options.mosaic else random_mosaic(10_000, FEATURES, DENSITY, PATTERNS)
    if options.multivi:
        tables = {"gpu_multivi": against_multivi(mosaic, replace(SETTINGS, minibatch_size=256), "cuda")}
    else:
        tables = {
            "gpu_step": pd.DataFrame([step(mosaic, size, form) for size, form in product(SIZES["step"], FORMS)]),
            "gpu_growth": growth("cuda"),
            "gpu_epoch": pd.DataFrame(epochs(random_mosaic(options.cells, FEATURES, DENSITY, PATTERNS))),
        }
    for name, table in tables.items():
        print(table.to_string(index=False, float_format="%.3g"))
        table.to_csv(options.out / f"{name}.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()

"""A training on a mosaic that stays on disk: time of an epoch, memory, and the same in memory where it fits.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/scale.py [--cells 10000 100000] [--epochs 2] [--memory 2] \\
        [--in-memory] [--out FOLDER]

Simulated: 3,000 genes, 50,000 peaks of which 0.5% are open, 100 proteins; ten cell types; four batches with RNA + ATAC +
protein, RNA + protein, RNA + ATAC, and ATAC alone. Each size runs in a process of its own;
memory is the largest that it took.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mmaavi.estimator import MMAAVI
from mmaavi.mosaic import Mosaic, load
from mmaavi.settings import Settings
from mmaavi.stored import StoredCounts

N_FEATURES = {"rna": 3_000, "atac": 50_000, "protein": 100}
N_DRAWN = {"rna": 400, "atac": 250, "protein": 300}  # counts of a cell
PATTERNS = [("rna", "atac", "protein"), ("rna", "protein"), ("rna", "atac"), ("atac",)]
N_TYPES = 10
MINIBATCH_SIZE = 512
MOST_GIB = 6  # that any of the processes may take


class Simulated(StoredCounts):
    """Counts that are drawn where others are read: of a block of cells, always the same."""

    def __init__(self, modality: str, place: np.ndarray):
        self.modality, self._place, self._columns = modality, place, None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._place), N_FEATURES[self.modality]

    def __getitem__(self, rows) -> "Simulated":
        return Simulated(self.modality, self._place[rows])

    @property
    def row_sizes(self) -> np.ndarray:
        return np.full(len(self._place), N_DRAWN[self.modality])

    def read(self) -> sp.csr_array:
        n, drawn = len(self._place), N_DRAWN[self.modality]
        weight = np.random.default_rng(0).gamma(0.5, size=(N_TYPES, self.shape[1])) + 0.02
        below = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        lot = np.random.default_rng([len(self.modality), self._place[0]]).random((n, drawn))
        indices = np.empty((n, drawn), dtype=np.int32)
        for k in range(N_TYPES):
            of_type = self._place % N_TYPES == k
            indices[of_type] = np.minimum(np.searchsorted(below[k], lot[of_type]), self.shape[1] - 1)
        x = sp.csr_array((np.ones(n * drawn, np.float32), indices.ravel(), np.arange(0, n * drawn + 1, drawn)), shape=self.shape)
        x.sum_duplicates()
        return x


def simulated(n_cells: int) -> Mosaic:
    cells = pd.Index([f"c{i}" for i in range(n_cells)])
    batch = np.arange(n_cells) * len(PATTERNS) // n_cells
    measured = pd.DataFrame({m: np.array([m in p for p in PATTERNS])[batch] for m in N_FEATURES}, index=cells)
    place = np.random.default_rng(1).permutation(n_cells)  # types in no order
    counts = {m: Simulated(m, place) for m in N_FEATURES}
    var = {m: pd.DataFrame(index=[f"{m}{i}" for i in range(g)]) for m, g in N_FEATURES.items()}
    return Mosaic(counts, measured, pd.DataFrame({"batch": [f"b{b}" for b in batch]}, index=cells), var)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(path: Path, n_epochs: int, memory_gib: float, in_memory: bool) -> dict:
    """Epochs of training and an embedding."""
    start = time.perf_counter()
    mosaic = load(path, memory_gib=np.inf if in_memory else 0)
    n = len(mosaic.cells)
    of_largest_batch = 0.9 * n / len(PATTERNS)  # a tenth is for validation
    n_steps = n_epochs * max(1, int(of_largest_batch / (MINIBATCH_SIZE / len(PATTERNS))))
    settings = Settings(n_components=N_TYPES, n_steps=n_steps, minibatch_size=MINIBATCH_SIZE)
    loaded = time.perf_counter()
    model = MMAAVI(settings, memory_gib=memory_gib).fit(mosaic)
    epochs = model.history.query("phase == 'train'")["seconds"]
    validation = model.history.query("phase == 'validation'")["seconds"]
    fitted = time.perf_counter()
    z = model.embed(mosaic)["X_mmaavi"]
    assert np.isfinite(z).all()
    return {
        "cells": n,
        "counts": "in memory" if in_memory else f"on disk, {memory_gib:g} GiB at a time",
        "load_seconds": loaded - start,
        "before_training_seconds": fitted - loaded - validation.sum(),
        "epoch_seconds": epochs.mean(),
        "embed_seconds": time.perf_counter() - fitted,
        "peak_gib": peak_gib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--memory", type=float, default=2.0, help="GiB of values at a time")
    parser.add_argument("--in-memory", action="store_true", help="also with all counts in memory")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.epochs, options.memory, options.in_memory)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for n_cells in options.cells:
        path = options.out / f"simulated_{n_cells}.h5mu"
        if not path.exists():
            simulated(n_cells).save(path)
        for more in ([], ["--in-memory"]) if options.in_memory else ([],):
            asked = ["--one", str(path), "--epochs", str(options.epochs), "--memory", str(options.memory), *more]
            done = subprocess.run([sys.executable, __file__, *asked], stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            pd.DataFrame(rows).to_csv(options.out / "scale.tsv", sep="\t", index=False)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))
    assert max(row["peak_gib"] for row in rows) <= MOST_GIB


if __name__ == "__main__":
    main()

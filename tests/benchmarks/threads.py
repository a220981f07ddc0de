"""Training with one thread and with two, where cores are free and where other work holds one: what threads cost that spin.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/threads.py --mosaic results/quickstart/full/mosaic.h5mu [--steps 60]

Each training runs in a process of its own, by turns: torch reads what it is told of its threads when it is loaded. Not told, one
that waits spins 300,000 times (libgomp); with this package 2,000 times.
"""

import argparse
import os
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd

MOST_SECONDS = 240
TRAINING = """
import sys, time
import torch
from mmaavi.estimator import MMAAVI
from mmaavi.mosaic import load
from mmaavi.settings import Settings
torch.set_num_threads(int(sys.argv[2]))
mosaic = load(sys.argv[1])
begun = time.perf_counter()
MMAAVI(Settings(n_steps=int(sys.argv[3]))).fit(mosaic, progress=False)
print(time.perf_counter() - begun)
"""


@contextmanager
def busy(n: int):
    """Processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(mosaic: str, threads: int, spin: int, n_steps: int) -> float:
    """Of one training; infinite where it takes more than four minutes."""
    command = [sys.executable, "-c", TRAINING, mosaic, str(threads), str(n_steps)]
    environment = os.environ | {"GOMP_SPINCOUNT": str(spin)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return float("inf")
    return float(done.stdout)


def main() -> None:
    """Print seconds of a training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mosaic", required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    rows = []
    for n_busy in (0, 1):
        with busy(n_busy):
            for _ in range(asked.turns):
                for threads, spin in ((1, 2_000), (2, 2_000), (2, 300_000)):
                    rows.append((n_busy, threads, spin, seconds(asked.mosaic, threads, spin, asked.steps)))
    table = pd.DataFrame(rows, columns=["busy", "threads", "spin", "seconds"])
    print(table.groupby(["busy", "threads", "spin"])["seconds"].min().round(1).to_string())


if __name__ == "__main__":
    main()

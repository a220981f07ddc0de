"""Kernels that libraries compile are kept: a second process reads them."""

import os
import subprocess
import sys

from conftest import ROOT

PROCESS = """
import numpy as np
from mmaavi.compiled import keep_compiled
keep_compiled()
from umap.umap_ import compute_membership_strengths as kernel
near = np.arange(6, dtype=np.int32).reshape(3, 2) % 3
kernel(near, np.ones((3, 2), np.float32), np.ones(3, np.float32), np.ones(3, np.float32), False, False)
print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_a_kernel_is_compiled_by_one_process_and_read_by_the_next(tmp_path):
    folders = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")}
    environment = os.environ | folders | {"PYTHONPATH": str(ROOT / "src")}
    said = [
        subprocess.run(
            [sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["0", "1"], ["1", "0"]]

"""Where compiled kernels can be asked, and what is done where they cannot."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from mmaavi.mixture import DiagonalNormal

SRC = Path(__file__).parents[1] / "src"


def test_a_forked_process_does_without_them():
    both = torch.randn(20, 60)

    def term() -> torch.Tensor:
        return DiagonalNormal.from_linear(both).kl_to_standard()

    expected = term()  # by kernels, whose threads a fork leaves behind
    child = os.fork()
    if not child:
        os._exit(0 if torch.allclose(term(), expected) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.equal(term(), expected)


def test_they_are_compiled_anew_where_nothing_can_be_kept(tmp_path):
    program = """
from numba.core import caching
caching.CacheImpl._locator_classes = []  # as if no folder could be written to
from mmaavi import kernels
from numpy import float32
print(kernels.COMPILED["cache"], kernels.exp(float32(1)))
"""
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    kept, number = done.stdout.split()
    assert kept == "False"
    assert abs(float(number) - 2.718282) < 1e-6

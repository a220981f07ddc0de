"""What the kernels that Numba compiles for the CPU share: how, on how many threads, when, and some functions.

Numbers are float32. Exponential and logarithm run sixteen lanes at once (Cephes, S. Moshier; errors below 2e-7).
"""

import os
from functools import lru_cache

import numba
import numpy as np
import torch
from numba import njit
from numpy import float32, int32
from torch import Tensor


def _can_be_kept() -> bool:
    """Whether there is a folder that compiled code may be written to; not where all is read-only."""
    try:
        njit(cache=True)(_can_be_kept)
    except RuntimeError:
        return False
    return True


COMPILED = {"error_model": "numpy", "cache": _can_be_kept(), "nogil": True}
SUMS = {"contract", "reassoc"}  # in any order; NaN and infinity are kept
IN_PARALLEL = {**COMPILED, "parallel": True, "fastmath": SUMS}


def n_threads() -> int:
    """As many as torch takes."""
    return _of_the_pool(torch.get_num_threads())


@lru_cache(maxsize=1)
def _of_the_pool(n: int) -> int:
    """Numba's threads are those of torch, and its first call takes as many as there are."""
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(n)
    return numba.get_num_threads()


_threads_left_behind = False


def _note_fork() -> None:
    global _threads_left_behind
    _threads_left_behind = _threads_left_behind or _of_the_pool.cache_info().currsize > 0


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_note_fork)


def usable() -> bool:
    """Not in a process that was forked from one in which kernels have run: GNU's OpenMP would end it."""
    return not _threads_left_behind


def takes(*tensors: Tensor) -> bool:
    """Whether kernels can be asked: float32, on the CPU, row after row, and not empty."""
    return usable() and all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() and t.numel() > 0 for t in tensors
    )


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """The same memory."""
    return tuple(t.detach().numpy() for t in tensors)


@njit(fastmath={"contract"}, **COMPILED)
def exp(x):
    """Of x <= 88; below -87.3, where it would leave the normal numbers, 1.2e-38."""
    x = float32(-87.3) if x < float32(-87.3) else x
    n = np.floor(x * float32(1.44269504) + float32(0.5))
    f = x - n * float32(0.693359375) + n * float32(2.12194440e-4)  # log 2 in two parts
    p = float32(1.9875691500e-4)
    p = p * f + float32(1.3981999507e-3)
    p = p * f + float32(8.3334519073e-3)
    p = p * f + float32(4.1665795894e-2)
    p = p * f + float32(1.6666665459e-1)
    p = p * f + float32(5.0000001201e-1)
    return (p * f * f + f + float32(1)) * int32((int32(n) + 127) << 23).view(np.float32)


@njit(fastmath={"contract"}, **COMPILED)
def log1p(x, u, inverse_u):
    """Of x >= 0, given u = 1 + x and 1 / u; to single precision for small x too: what u has lost of x is added."""
    bits = int32(float32(u).view(np.int32) - 0x3F3504F3)  # of sqrt(1/2): the mantissa lies between it and sqrt(2)
    exponent = float32(bits >> 23)
    f = int32((bits & 0x7FFFFF) + 0x3F3504F3).view(np.float32) - float32(1)
    p = float32(7.0376836292e-2)
    p = p * f - float32(1.1514610310e-1)
    p = p * f + float32(1.1676998740e-1)
    p = p * f - float32(1.2420140846e-1)
    p = p * f + float32(1.4249322787e-1)
    p = p * f - float32(1.6668057665e-1)
    p = p * f + float32(2.0000714765e-1)
    p = p * f - float32(2.4999993993e-1)
    p = p * f + float32(3.3333331174e-1)
    square = f * f
    small = p * f * square - exponent * float32(2.12194440e-4) - float32(0.5) * square + (x - (u - float32(1))) * inverse_u
    return f + small + exponent * float32(0.693359375)


@njit(fastmath={"contract"}, **COMPILED)
def softplus_and_sigmoid(x):
    """Both by one exponential; what the caller does not need is not computed."""
    small = exp(-abs(x))
    u = float32(1) + small
    inverse_u = float32(1) / u
    return max(x, float32(0)) + log1p(small, u, inverse_u), (inverse_u if x > float32(0) else small * inverse_u)

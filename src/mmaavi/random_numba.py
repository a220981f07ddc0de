"""Random numbers on a CPU, compiled by Numba, in a tenth of the time of torch's generator; each call takes its seed from that.

The numbers of one seed are the mixed multiples of an odd constant (SplitMix64, Steele et al. 2014), and the same on any number
of threads.
"""

import math

import numpy as np
import torch
from numba import njit, prange
from numpy import float32, int32, uint32, uint64
from torch import Tensor

from .kernels import COMPILED, IN_PARALLEL, SUMS, log1p, n_threads

AT_ONCE = 1024  # pairs of numbers: what is between bits and numbers stays in the nearest cache


def random_bits(n: int) -> np.ndarray:
    """Numbers of 64 random bits, of shape (n,)."""
    out = np.empty(n, np.uint64)
    _fill(_seed(), 0, out)
    return out


def standard_normal(shape: torch.Size) -> Tensor:
    """Independent draws from Normal(0, 1), float32."""
    n = shape.numel()
    out = np.empty(n + n % 2, np.float32)
    _standard_normal(n_threads(), _seed(), *np.split(out, 2))
    return torch.from_numpy(out[:n]).view(shape)


def _seed() -> uint64:
    return torch.empty(1, dtype=torch.int64).random_(-(2**63), None).numpy().view(np.uint64)[0]


@njit(fastmath=SUMS, **COMPILED)
def _fill(seed, first, out):
    """The numbers of a seed from the position ``first`` on."""
    for i in range(len(out)):
        x = seed + uint64(first + i) * uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
        out[i] = x ^ (x >> uint64(31))


@njit(**IN_PARALLEL)
def _standard_normal(threads, seed, left, right):
    """Both coordinates of points in the plane (Box & Muller 1958): the angle to an axis, and to which."""
    n = len(left)
    for part in prange(threads):
        end = n * (part + 1) // threads
        bits, radius = np.empty(AT_ONCE, np.uint64), np.empty(AT_ONCE, np.float32)
        for start in range(n * part // threads, end, AT_ONCE):
            some = bits[: min(AT_ONCE, end - start)]
            _fill(seed, start, some)
            for i in range(len(some)):
                uniform = (float32(some[i] >> uint64(32)) + float32(0.5)) * float32(2.0**-32)
                radius[i] = np.sqrt(float32(-2) * log1p(uniform - float32(1), uniform, float32(0)))  # its log
            to_left, to_right = left[start : start + len(some)], right[start : start + len(some)]
            for i in range(len(some)):
                low = uint32(some[i])
                angle = (float32(int32(low) >> 3) + float32(0.5)) * float32(math.pi / 2**30)  # within an eighth turn
                square = angle * angle
                sine = float32(8.3321608736e-3) - square * float32(1.9515295891e-4)  # both as in Cephes
                sine = angle + angle * square * (float32(-1.6666654611e-1) + square * sine)
                cosine = float32(-1.3887316255e-3) + square * float32(2.4433157118e-5)
                cosine = float32(1) - float32(0.5) * square + square * square * (float32(4.1666645683e-2) + square * cosine)
                swapped = (low & uint32(1)) != 0  # the three bits that are left choose the axis
                x, y = (sine if swapped else cosine), (cosine if swapped else sine)
                to_left[i] = radius[i] * (x if (low & uint32(2)) != 0 else -x)
                to_right[i] = radius[i] * (y if (low & uint32(4)) != 0 else -y)

"""The fused negative binomial on a CPU, compiled by Numba: two passes over cells x features, the stored counts along with them.

Formulas and names are those of :mod:`mmaavi.negative_binomial`; nothing of the size cells x features is written but the
gradient of the logits. Numbers are float32, logits perhaps bfloat16: the upper half of a float32's bits. Shapes: n cells, G
features, B batches.
"""

import math

import numpy as np
import torch
from numba import njit, prange
from numpy import float32, float64, uint32
from torch import Tensor

from .kernels import COMPILED, IN_PARALLEL, arrays, exp, log1p, n_threads
from .sparse import SparseRows

BITS = {torch.float32: torch.uint32, torch.bfloat16: torch.uint16}  # of the types that logits may have
FEW = 8  # counts up to which the product is quicker than Stirling's series, which needs no more
FEATURES_AT_ONCE = 512  # their tables and gradients stay in the nearest cache
SMALLEST_SHARE = 1e-37  # of a feature in a cell's counts; below it is zero in single precision
SMALLEST_LOG_SHARE = math.log(SMALLEST_SHARE)


def summed_nll(
    logit: Tensor,
    tables: tuple[Tensor, Tensor, Tensor],
    batch: Tensor,
    counts: SparseRows,
    log_depth: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, list[Tensor] | None]:
    """Sum over cells and features without lgamma(x + 1), and its gradients for the logits and each table, or None.

    ``tables`` are scale, bias and log_r; the rest is as for :func:`mmaavi.negative_binomial.softmax_negative_binomial`. Logits
    are contiguous and of one of the types of ``BITS``, as is their gradient.
    """
    threads, log_r = n_threads(), tables[2]
    shift = uint32(32 - torch.iinfo(BITS[logit.dtype]).bits)
    given = (_bits(logit), shift, *arrays(*tables, log_r.exp(), (-log_r).exp(), batch, log_depth))
    stored = arrays(counts.indptr, counts.indices, counts.values)
    of_cells = [np.empty(len(logit), np.float32) for _ in range(3)]  # log of the softmax's denominator, sum of d_a, loss
    of_counts = [np.empty(len(counts.values), np.float32) for _ in range(2)]  # d_a and d_log_r
    _over_cells(threads, *given, *stored, *of_cells, *of_counts, with_gradient)
    nll = of_cells[2].sum(dtype=np.float64)
    if not with_gradient:
        return log_r.new_tensor(nll), None
    d_logit, *d_tables = torch.empty_like(logit), *(torch.zeros_like(t) for t in tables)
    of_threads = np.empty(threads)
    _over_features(threads, *given, *stored, *of_cells[:2], *of_counts, _bits(d_logit), *arrays(*d_tables), of_threads)
    return log_r.new_tensor(nll + of_threads.sum()), [d_logit, *d_tables]


def _bits(x: Tensor) -> np.ndarray:
    return x.view(BITS[x.dtype]).numpy()


@njit(**COMPILED)
def _number(bits, shift):
    return uint32(uint32(bits) << shift).view(np.float32)


@njit(**COMPILED)
def _rounded(number, shift):
    """Its upper bits, to the nearest even."""
    bits = float32(number).view(np.uint32)
    return uint32(bits + 0x7FFF + ((bits >> shift) & 1)) >> shift if shift else bits


@njit(fastmath={"contract"}, **COMPILED)
def _rising(z, n):
    """P = z (z + 1) ... (z + n - 1), and its derivative by z."""
    product, slope = 1.0, 0.0
    for k in range(n):
        slope = slope * (z + k) + product
        product *= z + k
    return product, slope


@njit(fastmath={"contract"}, **COMPILED)
def _gamma_beyond(z):
    """Log of gamma(z), and digamma(z), for z >= 8 (Stirling; errors below 1e-9)."""
    log, w = math.log(z), 1 / z
    square = w * w
    series = w * (1 / 12 - square * (1 / 360 - square / 1260))
    return (z - 0.5) * log - z + series, log - w * (0.5 + w * (1 / 12 - square * (1 / 120 - square / 252)))


@njit(fastmath={"contract"}, **COMPILED)
def _gamma_ratio(r, x):
    """Log of gamma(r + x) / gamma(r), and its derivative by r; in double precision, since r may be large beside x."""
    r, x = float64(r), float64(x)
    if x <= FEW and x == math.floor(x):
        product, slope = _rising(r, int(x))
        return math.log(product), slope / product
    above, slope_above = _rising(r + x, FEW)
    below, slope_below = _rising(r, FEW)
    log_above, digamma_above = _gamma_beyond(r + x + FEW)
    log_below, digamma_below = _gamma_beyond(r + FEW)
    slope = digamma_above - digamma_below + slope_below / below - slope_above / above
    return log_above - log_below + math.log(below / above), slope


@njit(**COMPILED)
def _of_count(x, r, a):
    """What a count adds to the loss, and the gradients of that for a and for log r."""
    small = math.exp(-abs(a))
    softplus = max(-a, 0.0) + math.log1p(small)
    d_a = -x * (small if a > 0 else 1.0) / (1 + small)
    log_ratio, slope = _gamma_ratio(r, x)
    return x * softplus - log_ratio, d_a, -r * slope - d_a


@njit(**IN_PARALLEL)
def _over_cells(
    threads, logit, shift, scale, bias, log_r, r, inverse_r, batch, log_depth,
    indptr, indices, counts, log_sum, d_a_sum, loss, d_a, d_log_r, with_gradient,
):  # fmt: skip
    """Log of each cell's softmax denominator and the sums over its features; the loss of zeros only if nothing comes after."""
    n, n_features = logit.shape
    for part in prange(threads):
        share = np.empty(n_features, np.float32)
        for cell in range(n * part // threads, n * (part + 1) // threads):
            of = batch[cell]
            x, s, b, r_s, inverse = logit[cell], scale[of], bias[of], r[of], inverse_r[of]
            top = float32(-np.inf)
            for g in range(n_features):
                y = b[g] + s[g] * _number(x[g], shift)
                share[g] = y
                top = max(top, y)
            total = float32(0)
            for g in range(n_features):
                weight = exp(share[g] - top)
                share[g] = weight
                total += weight
            factor, slope, softplus = float32(math.exp(log_depth[cell]) / total), float32(0), float32(0)
            for g in range(n_features):
                odds = share[g] * factor * inverse[g]
                u = float32(1) + odds
                inverse_u = float32(1) / u
                slope += r_s[g] * (odds * inverse_u)
                if not with_gradient:
                    softplus += r_s[g] * log1p(odds, u, inverse_u)
            log_sum[cell], d_a_sum[cell], loss[cell] = top + math.log(total), slope, softplus
            for i in range(indptr[cell], indptr[cell + 1]):
                g = indices[i]
                log_share = max(b[g] + s[g] * _number(x[g], shift) - log_sum[cell], SMALLEST_LOG_SHARE)
                here, d_a[i], d_log_r[i] = _of_count(counts[i], r_s[g], log_share + log_depth[cell] - log_r[of, g])
                loss[cell] += here
                d_a_sum[cell] += d_a[i]


@njit(**IN_PARALLEL)
def _over_features(
    threads, logit, shift, scale, bias, log_r, r, inverse_r, batch, log_depth,
    indptr, indices, counts, log_sum, d_a_sum, d_a, d_log_r, d_logit, d_scale, d_bias, d_tables_r, loss,
):  # fmt: skip
    """Loss of zeros, and all gradients; each thread has some of the features, so that no two write to the same place."""
    n, n_features = logit.shape
    for part in prange(threads):
        start, end, total = n_features * part // threads, n_features * (part + 1) // threads, 0.0
        for first in range(start, end, FEATURES_AT_ONCE):
            some = slice(first, min(first + FEATURES_AT_ONCE, end))
            for cell in range(n):
                of = (batch[cell], some)
                x, s, b, r_s, inverse = logit[cell, some], scale[of], bias[of], r[of], inverse_r[of]
                to_logit, to_scale, to_bias, to_log_r = d_logit[cell, some], d_scale[of], d_bias[of], d_tables_r[of]
                depth, softplus = float32(math.exp(log_depth[cell])), float32(0)
                for g in range(len(x)):
                    number = _number(x[g], shift)
                    share = exp(b[g] + s[g] * number - log_sum[cell])
                    odds = share * depth * inverse[g]
                    u = float32(1) + odds
                    inverse_u = float32(1) / u
                    r_softplus = r_s[g] * log1p(odds, u, inverse_u)
                    r_sigmoid = r_s[g] * (odds * inverse_u)
                    d_y = r_sigmoid - share * d_a_sum[cell]
                    to_logit[g] = _rounded(d_y * s[g], shift)
                    to_scale[g] += d_y * number
                    to_bias[g] += d_y
                    to_log_r[g] += r_softplus - r_sigmoid
                    softplus += r_softplus
                total += softplus
        for cell in range(n):
            of = batch[cell]
            for i in range(indptr[cell], indptr[cell + 1]):
                g = indices[i]
                if start <= g < end:
                    d_logit[cell, g] = _rounded(_number(d_logit[cell, g], shift) + d_a[i] * scale[of, g], shift)
                    d_scale[of, g] += d_a[i] * _number(logit[cell, g], shift)
                    d_bias[of, g] += d_a[i]
                    d_tables_r[of, g] += d_log_r[i]
        loss[part] = total

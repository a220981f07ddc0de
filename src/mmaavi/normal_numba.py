"""Diagonal Normals on a CPU, compiled by Numba: each function is one pass over its numbers, and its gradient another.

What they compute is said by :class:`mmaavi.mixture.DiagonalNormal`; d dimensions.
"""

import math

import numpy as np
import torch
from numba import njit, prange
from numpy import float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import COMPILED, IN_PARALLEL, arrays, n_threads, softplus_and_sigmoid

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class MeanAndSd(torch.autograd.Function):
    """Means and unconstrained sds side by side (..., 2 d) -> means and sds (..., d); ``smallest`` is added to sds."""

    @staticmethod
    def forward(ctx, both: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
        mean, sd = (both.new_empty(*both.shape[:-1], both.shape[-1] // 2) for _ in range(2))
        _mean_and_sd(n_threads(), *map(_by_row, arrays(both, mean, sd)), float32(smallest))
        ctx.save_for_backward(both)
        return mean, sd

    @staticmethod
    @once_differentiable
    def backward(ctx, d_mean: Tensor, d_sd: Tensor):
        (both,) = ctx.saved_tensors
        d_both = torch.empty_like(both)
        _d_mean_and_sd(n_threads(), *map(_by_row, arrays(both, d_mean.contiguous(), d_sd.contiguous(), d_both)))
        return d_both, None


class LogProb(torch.autograd.Function):
    """Log density at x (n, d) or (n, 1, d), of Normals with means and sds (n, ..., d): one x for each first index -> (n, ...)."""

    @staticmethod
    def forward(ctx, mean: Tensor, sd: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(mean, sd, x)
        out = mean.new_empty(mean.shape[:-1])
        _log_prob(n_threads(), *_by_x(mean, sd, x), out.view(len(x), -1).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        gradients = [torch.empty_like(t) for t in ctx.saved_tensors]
        given = gradient.reshape(len(gradient), -1).contiguous().numpy()  # that of a mean is one number, expanded
        _d_log_prob(n_threads(), *_by_x(*ctx.saved_tensors), given, *_by_x(*gradients))
        return (*gradients,)


class KLToStandard(torch.autograd.Function):
    """KL(Normal(mean, sd) || Normal(0, I)), means and sds of shape (..., d) -> (...)."""

    @staticmethod
    def forward(ctx, mean: Tensor, sd: Tensor) -> Tensor:
        ctx.save_for_backward(mean, sd)
        out = mean.new_empty(mean.shape[:-1])
        _kl(n_threads(), *map(_by_row, arrays(mean, sd)), out.view(-1).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        gradients = [torch.empty_like(t) for t in ctx.saved_tensors]
        mean, sd, d_mean, d_sd = map(_by_row, arrays(*ctx.saved_tensors, *gradients))
        _d_kl(n_threads(), mean, sd, gradient.reshape(-1).contiguous().numpy(), d_mean, d_sd)
        return (*gradients,)


def _by_x(mean: Tensor, sd: Tensor, x: Tensor) -> tuple[np.ndarray, ...]:
    """Of shapes (n, K, d), (n, K, d) and (n, d)."""
    n, d = len(x), x.shape[-1]
    return arrays(mean.view(n, -1, d), sd.view(n, -1, d), x.view(n, d))


def _by_row(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


@njit(**IN_PARALLEL)
def _mean_and_sd(threads, both, mean, sd, smallest):
    n, d = mean.shape
    for part in prange(threads):
        start, end = n * part // threads, n * (part + 1) // threads
        for i in range(start, end):
            for k in range(d):
                mean[i, k] = both[i, k]
                sd[i, k] = both[i, d + k]
        flat = sd[start:end].ravel()  # where rows are short, lanes of one row would stay empty
        for i in range(len(flat)):
            softplus, _ = softplus_and_sigmoid(flat[i])
            flat[i] = softplus + smallest


@njit(**IN_PARALLEL)
def _d_mean_and_sd(threads, both, d_mean, d_sd, d_both):
    n, d = d_mean.shape
    for part in prange(threads):
        start, end = n * part // threads, n * (part + 1) // threads
        flat, given = both[start:end, d:].copy().ravel(), d_sd[start:end].ravel()
        for i in range(len(flat)):
            _, sigmoid = softplus_and_sigmoid(flat[i])
            flat[i] = given[i] * sigmoid
        for i in range(start, end):
            for k in range(d):
                d_both[i, k] = d_mean[i, k]
                d_both[i, d + k] = flat[(i - start) * d + k]


@njit(**COMPILED)
def _sum_of_logs(x):
    """Of one row; the log of the product, in double precision, as far as that reaches: one logarithm is quicker than many."""
    total, product = 0.0, 1.0
    for start in range(0, len(x), 8):
        for k in range(start, min(start + 8, len(x))):
            product *= x[k]
        if not 1e-50 < product < 1e50:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@njit(**IN_PARALLEL)
def _log_prob(threads, mean, sd, x, out):
    n, n_components, d = mean.shape
    for part in prange(threads):
        for i in range(n * part // threads, n * (part + 1) // threads):
            for c in range(n_components):
                squares = float32(0)
                for k in range(d):
                    standard = (x[i, k] - mean[i, c, k]) / sd[i, c, k]
                    squares += standard * standard
                out[i, c] = -0.5 * squares - _sum_of_logs(sd[i, c]) - d * HALF_LOG_2_PI


@njit(**IN_PARALLEL)
def _d_log_prob(threads, mean, sd, x, gradient, d_mean, d_sd, d_x):
    n, n_components, d = mean.shape
    for part in prange(threads):
        for i in range(n * part // threads, n * (part + 1) // threads):
            d_x[i] = 0
            for c in range(n_components):
                for k in range(d):
                    inverse = float32(1) / sd[i, c, k]
                    standard = (x[i, k] - mean[i, c, k]) * inverse
                    slope = gradient[i, c] * standard * inverse
                    d_mean[i, c, k] = slope
                    d_x[i, k] -= slope
                    d_sd[i, c, k] = slope * standard - gradient[i, c] * inverse


@njit(**IN_PARALLEL)
def _kl(threads, mean, sd, out):
    n, d = mean.shape
    for part in prange(threads):
        for i in range(n * part // threads, n * (part + 1) // threads):
            squares = float32(0)
            for k in range(d):
                squares += mean[i, k] * mean[i, k] + sd[i, k] * sd[i, k] - float32(1)
            out[i] = 0.5 * squares - _sum_of_logs(sd[i])


@njit(**IN_PARALLEL)
def _d_kl(threads, mean, sd, gradient, d_mean, d_sd):
    n, d = mean.shape
    for part in prange(threads):
        for i in range(n * part // threads, n * (part + 1) // threads):
            for k in range(d):
                d_mean[i, k] = gradient[i] * mean[i, k]
                d_sd[i, k] = gradient[i] * (sd[i, k] - float32(1) / sd[i, k])

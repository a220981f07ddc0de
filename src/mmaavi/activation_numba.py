"""Batch normalisation, LeakyReLU and dropout of a layer on a CPU, compiled by Numba: one pass, and its gradient another.

Shapes: n cells, ``width`` units.
"""

import numpy as np
import torch
from numba import njit
from numpy import float32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels import COMPILED, SUMS, arrays
from .random_numba import random_bits

SLOPE = 0.2  # of LeakyReLU below zero


class Activation(torch.autograd.Function):
    """What :class:`mmaavi.layers.Activation` computes in training; the mean and variance of ``norm`` move as torch moves them."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, bias: Tensor, norm: nn.BatchNorm1d, dropout: float) -> Tensor:
        """Input (n, width) -> (n, width); ``scale`` and ``bias`` are those of ``norm``."""
        of_x, weight, bias, *moving = arrays(x, scale, bias, norm.running_mean, norm.running_var)
        n_dropped = round(dropout * 2**16)  # of 2^16 values
        drawn = _uniform(x.shape) if n_dropped else np.zeros(x.shape, np.int16)
        out, standard, factor, inverse_sd = (np.empty_like(a) for a in (of_x, of_x, of_x, weight))
        _activate(of_x, weight, bias, norm.eps, norm.momentum, *moving, drawn, n_dropped, standard, factor, inverse_sd, out)
        ctx.save_for_backward(scale)
        ctx.kept = (standard, factor, inverse_sd)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        standard, factor, inverse_sd = ctx.kept
        (weight,) = arrays(*ctx.saved_tensors)
        gradients = [np.empty_like(a) for a in (standard, weight, weight)]
        _d_activate(standard, factor, weight, inverse_sd, *arrays(gradient.contiguous()), *gradients)
        return *map(torch.from_numpy, gradients), None, None


def _uniform(shape: torch.Size) -> np.ndarray:
    """Numbers from -2^15 to 2^15 - 1: 16 bits a unit."""
    return random_bits(-(-shape.numel() // 4)).view(np.int16)[: shape.numel()].reshape(shape)


@njit(fastmath=SUMS, **COMPILED)
def _activate(x, weight, bias, eps, momentum, moving_mean, moving_variance, drawn, n_dropped, standard, factor, inverse_sd, out):
    """``standard`` and ``factor`` are what the gradient needs: normalised inputs, and what became of each unit after."""
    n, width = x.shape
    mean, variance = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for i in range(n):
        for j in range(width):
            mean[j] += x[i, j]
    for j in range(width):
        mean[j] /= float32(n)
    for i in range(n):
        for j in range(width):
            centred = x[i, j] - mean[j]
            standard[i, j] = centred
            variance[j] += centred * centred
    for j in range(width):
        inverse_sd[j] = float32(1) / np.sqrt(variance[j] / float32(n) + float32(eps))
        moving_mean[j] += float32(momentum) * (mean[j] - moving_mean[j])
        moving_variance[j] += float32(momentum) * (variance[j] / float32(n - 1) - moving_variance[j])
    kept, lowest_kept = float32(2**16 / (2**16 - n_dropped)), n_dropped - 2**15
    for i in range(n):
        for j in range(width):
            normalised = standard[i, j] * inverse_sd[j]
            y = normalised * weight[j] + bias[j]
            if n_dropped and drawn[i, j] < lowest_kept:
                slope = float32(0)
            else:
                slope = kept if y > float32(0) else kept * float32(SLOPE)
            standard[i, j] = normalised
            factor[i, j] = slope
            out[i, j] = y * slope


@njit(fastmath=SUMS, **COMPILED)
def _d_activate(standard, factor, weight, inverse_sd, gradient, d_x, d_weight, d_bias):
    n, width = standard.shape
    d_weight[:] = 0
    d_bias[:] = 0
    for i in range(n):
        for j in range(width):
            d_y = gradient[i, j] * factor[i, j]
            d_x[i, j] = d_y
            d_bias[j] += d_y
            d_weight[j] += d_y * standard[i, j]
    for i in range(n):
        for j in range(width):
            spread = (d_bias[j] + standard[i, j] * d_weight[j]) / float32(n)
            d_x[i, j] = weight[j] * inverse_sd[j] * (d_x[i, j] - spread)

"""The likelihood of the guidance graph's edges on a CPU, compiled by Numba: the loss and its gradient at once."""

import numpy as np
import torch
from numba import njit
from numpy import float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import COMPILED, SUMS, arrays, softplus_and_sigmoid


class EdgeNLL(torch.autograd.Function):
    """What :meth:`mmaavi.networks.GuidanceGraph.edge_nll` computes: a scalar, so that its gradient is made on the way forward."""

    @staticmethod
    def forward(ctx, v: Tensor, source: Tensor, targets: Tensor, sign: Tensor) -> Tensor:
        """Feature embeddings (G, d), and an :class:`mmaavi.edges.EdgeSample`'s edges (E,), (E, 1 + n), (E,) -> scalar."""
        d_v = torch.zeros_like(v)
        loss = _edge_nll(*arrays(v, source, targets, sign, d_v))
        ctx.save_for_backward(d_v)
        return v.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        (d_v,) = ctx.saved_tensors
        return upstream * d_v, None, None, None


@njit(fastmath=SUMS, **COMPILED)
def _edge_nll(v, source, targets, sign, d_v):
    n, n_targets = targets.shape
    d = v.shape[1]
    score = np.empty((n, n_targets), np.float32)
    for e in range(n):
        here = v[source[e]]
        for k in range(n_targets):
            there, product = v[targets[e, k]], float32(0)
            for j in range(d):
                product += here[j] * there[j]
            score[e, k] = product * (-sign[e] if k == 0 else sign[e])  # of an edge; of a pair without one
    slope, nll = np.empty_like(score), np.empty_like(score)
    x, to_slope, to_nll = score.ravel(), slope.ravel(), nll.ravel()
    for i in range(len(x)):
        to_nll[i], to_slope[i] = softplus_and_sigmoid(x[i])
    total = 0.0
    for e in range(n):
        here, d_here = v[source[e]], d_v[source[e]]
        for k in range(n_targets):
            share = float32(0.5) / float32(n if k == 0 else n * (n_targets - 1))
            total += share * nll[e, k]
            d_product = share * slope[e, k] * (-sign[e] if k == 0 else sign[e])
            there, d_there = v[targets[e, k]], d_v[targets[e, k]]
            for j in range(d):
                d_here[j] += d_product * there[j]
                d_there[j] += d_product * here[j]
    return total

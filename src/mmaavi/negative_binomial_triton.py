"""The fused negative binomial on a GPU: two passes over cells x features by Triton kernels, and a third over the stored counts.

Formulas and names are those of :mod:`mmaavi.negative_binomial`; nothing of the size cells x features is written but the
gradient of the logits. Shapes: n cells, G features, B batches.
"""

import math

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from .negative_binomial_numba import SMALLEST_SHARE
from .sparse import SparseRows

FEATURES_AT_ONCE = 512
CELLS_AT_ONCE = 32  # of one program of the second pass: so many cells' gradients of the tables are summed before they are written


def summed_nll(
    logit: Tensor,
    tables: tuple[Tensor, Tensor, Tensor],
    batch: Tensor,
    counts: SparseRows,
    log_depth: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, list[Tensor] | None]:
    """Sum over cells and features without lgamma(x + 1), and its gradients for the logits and each table.

    Parameters
    ----------
    logit
        Shape (n, G), contiguous; its gradient has the same type, such as bfloat16.
    tables
        Scale, bias and log_r of the batches, each of shape (B, G).
    batch
        Number of each cell's batch, of shape (n,).
    counts
        n x G; stored zeros add nothing.
    log_depth
        Log library size, of shape (n,).
    with_gradient
        Without, the gradients are None.
    """
    scale, bias, log_r = tables
    n, n_features = logit.shape
    log_sum, nll, d_a_sum = (log_depth.new_empty(n) for _ in range(3))
    _of_cells[(n,)](
        logit, scale, bias, log_r, batch, log_depth, log_sum, nll, d_a_sum, n_features, FEATURES=FEATURES_AT_ONCE
    )  # fmt: skip
    rows, columns, x = counts.rows, counts.indices, counts.values
    at_logit, at_table = rows * n_features + columns, batch[rows] * n_features + columns
    logit_x, scale_x, log_r_x = logit.view(-1)[at_logit].to(scale.dtype), scale.view(-1)[at_table], log_r.view(-1)[at_table]
    r = log_r_x.exp()
    log_share = torch.addcmul(bias.view(-1)[at_table], scale_x, logit_x) - log_sum[rows]
    a = log_share.clamp_min(math.log(SMALLEST_SHARE)) + log_depth[rows] - log_r_x
    total = nll.sum() + (x * F.softplus(-a) - torch.lgamma(x + r) + torch.lgamma(r)).sum()
    if not with_gradient:
        return total, None
    d_a = -x * torch.sigmoid(-a)
    d_a_sum.index_add_(0, rows, d_a)
    d_logit = torch.empty_like(logit)
    d_scale, d_bias, d_log_r = (torch.zeros_like(t) for t in tables)
    _of_features[(triton.cdiv(n_features, FEATURES_AT_ONCE), triton.cdiv(n, CELLS_AT_ONCE))](
        logit, scale, bias, log_r, batch, log_depth, log_sum, d_a_sum, d_logit, d_scale, d_bias, d_log_r, n, n_features,
        CELLS=CELLS_AT_ONCE, FEATURES=FEATURES_AT_ONCE,
    )  # fmt: skip
    d_logit.view(-1).index_add_(0, at_logit, (d_a * scale_x).to(d_logit.dtype))
    d_bias.view(-1).index_add_(0, at_table, d_a)
    d_scale.view(-1).index_add_(0, at_table, d_a * logit_x)
    d_log_r.view(-1).index_add_(0, at_table, r * (torch.digamma(r) - torch.digamma(x + r)) - d_a)
    return total, [d_logit, d_scale, d_bias, d_log_r]


@triton.jit
def _log1p(x):
    """log(1 + x) to single precision for small x too (Kahan)."""
    u = 1.0 + x
    return tl.where(u == 1.0, x, tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1.0)))


@triton.jit
def _of_cells(
    logit, scale, bias, log_r, batch, log_depth, log_sum, nll, d_a_sum, n_features: tl.constexpr, FEATURES: tl.constexpr
):  # fmt: skip
    """Of one cell: log of the softmax's denominator; sums over features of r softplus(a) and of its derivative r sigmoid(a)."""
    cell = tl.program_id(0).to(tl.int64)
    of_batch = tl.load(batch + cell) * n_features
    depth = tl.exp(tl.load(log_depth + cell))
    lane = tl.arange(0, FEATURES)
    highest = tl.full((FEATURES,), -float("inf"), tl.float32)
    denominator = tl.zeros((FEATURES,), tl.float32)
    for first in range(0, n_features, FEATURES):
        g = first + lane
        inside = g < n_features
        y = tl.load(bias + of_batch + g, inside, 0.0)
        y += tl.load(scale + of_batch + g, inside, 0.0) * tl.load(logit + cell * n_features + g, inside, 0.0).to(tl.float32)
        y = tl.where(inside, y, -float("inf"))
        higher = tl.maximum(highest, y)
        safe = tl.where(higher == -float("inf"), 0.0, higher)
        denominator = denominator * tl.exp(highest - safe) + tl.exp(y - safe)
        highest = higher
    top = tl.max(highest, 0)
    log_denominator = top + tl.log(tl.sum(denominator * tl.exp(highest - top), 0))
    loss = tl.zeros((FEATURES,), tl.float32)
    slope = tl.zeros((FEATURES,), tl.float32)
    for first in range(0, n_features, FEATURES):
        g = first + lane
        inside = g < n_features
        y = tl.load(bias + of_batch + g, inside, -float("inf"))
        y += tl.load(scale + of_batch + g, inside, 0.0) * tl.load(logit + cell * n_features + g, inside, 0.0).to(tl.float32)
        r = tl.exp(tl.load(log_r + of_batch + g, inside, 0.0))
        odds = tl.exp(y - log_denominator) * depth / r
        loss += r * _log1p(odds)
        slope += r * odds / (1.0 + odds)
    tl.store(log_sum + cell, log_denominator)
    tl.store(nll + cell, tl.sum(loss, 0))
    tl.store(d_a_sum + cell, tl.sum(slope, 0))


@triton.jit
def _of_features(
    logit, scale, bias, log_r, batch, log_depth, log_sum, d_a_sum, d_logit, d_scale, d_bias, d_log_r, n_cells,
    n_features: tl.constexpr, CELLS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    """Gradients of the logits of some cells and features, and of the tables, summed; without what the stored counts add."""
    g = tl.program_id(0) * FEATURES + tl.arange(0, FEATURES)
    inside = g < n_features
    first = tl.program_id(1).to(tl.int64) * CELLS
    of_batch = tl.load(batch + first) * n_features
    b_scale = tl.load(scale + of_batch + g, inside, 0.0)
    b_bias = tl.load(bias + of_batch + g, inside, -float("inf"))
    r = tl.exp(tl.load(log_r + of_batch + g, inside, 0.0))
    sum_scale = tl.zeros((FEATURES,), tl.float32)
    sum_bias = tl.zeros((FEATURES,), tl.float32)
    sum_log_r = tl.zeros((FEATURES,), tl.float32)
    for i in range(CELLS):
        cell = tl.minimum(first + i, n_cells - 1)
        new = inside & (first + i < n_cells)
        here = tl.load(batch + cell) * n_features
        if here != of_batch:
            tl.atomic_add(d_scale + of_batch + g, sum_scale, inside)
            tl.atomic_add(d_bias + of_batch + g, sum_bias, inside)
            tl.atomic_add(d_log_r + of_batch + g, sum_log_r, inside)
            sum_scale = tl.zeros((FEATURES,), tl.float32)
            sum_bias = tl.zeros((FEATURES,), tl.float32)
            sum_log_r = tl.zeros((FEATURES,), tl.float32)
            b_scale = tl.load(scale + here + g, inside, 0.0)
            b_bias = tl.load(bias + here + g, inside, -float("inf"))
            r = tl.exp(tl.load(log_r + here + g, inside, 0.0))
            of_batch = here
        x = tl.load(logit + cell * n_features + g, inside, 0.0).to(tl.float32)
        share = tl.exp(b_bias + b_scale * x - tl.load(log_sum + cell))
        odds = share * tl.exp(tl.load(log_depth + cell)) / r
        d_a = r * odds / (1.0 + odds)
        d_y = d_a - share * tl.load(d_a_sum + cell)
        tl.store(d_logit + cell * n_features + g, d_y * b_scale, new)
        sum_scale += tl.where(new, d_y * x, 0.0)
        sum_bias += tl.where(new, d_y, 0.0)
        sum_log_r += tl.where(new, r * _log1p(odds) - d_a, 0.0)
    tl.atomic_add(d_scale + of_batch + g, sum_scale, inside)
    tl.atomic_add(d_bias + of_batch + g, sum_bias, inside)
    tl.atomic_add(d_log_r + of_batch + g, sum_log_r, inside)

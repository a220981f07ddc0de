"""The negative binomial likelihood: a dense form to read, and the fused sparse form that training uses.

With a = log(mean / r), r the inverse dispersion and x a count,

    -log NB(x) = (r + x) softplus(a) - x a - lgamma(x + r) + lgamma(r) + lgamma(x + 1),

which is r softplus(a) where x = 0: only non-zero counts need more than one exponential and one logarithm.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse import SparseRows

BLOCK_ELEMENTS = 2**21  # elements of a block of rows: bounds the temporaries (six of 8 MiB)
SMALLEST_SHARE = 1e-37  # of a feature in a cell's counts; below it is zero in single precision


def negative_binomial_nll(counts: Tensor, mean: Tensor, inverse_dispersion: Tensor) -> Tensor:
    """Negative log-likelihood of each count; all arguments broadcast to one shape (n_cells, n_features)."""
    r = inverse_dispersion
    a = mean.log() - r.log()
    constant = torch.lgamma(r) + torch.lgamma(counts + 1) - torch.lgamma(counts + r)
    return (r + counts) * F.softplus(a) - counts * a + constant


def softmax_negative_binomial(
    logit: Tensor, scale: Tensor, bias: Tensor, log_r: Tensor, batch: Tensor, counts: SparseRows, log_depth: Tensor
) -> Tensor:
    """Negative log-likelihood of counts, summed over features and averaged over cells; without lgamma(x + 1).

    In a cell of batch s: mean = depth * softmax(scale[s] * logit + bias[s]) over the features, and inverse dispersion
    exp(log_r[s]).

    Parameters
    ----------
    logit
        Shape (n_cells, n_features).
    scale, bias, log_r
        Shape (n_batches, n_features).
    batch
        Number of each cell's batch, of shape (n_cells,).
    counts
        n_cells x n_features.
    log_depth
        Log library size, of shape (n_cells,).
    """
    with_gradient = torch.is_grad_enabled()
    return _SoftmaxNegativeBinomial.apply(logit, scale, bias, log_r, batch, counts, log_depth, with_gradient)


class _SoftmaxNegativeBinomial(torch.autograd.Function):
    """Since the loss is a scalar, its gradients are made on the way forward, one block of rows at a time."""

    @staticmethod
    def forward(ctx, logit, scale, bias, log_r, batch, counts, log_depth, with_gradient):
        tables = (scale, bias, log_r, log_r.exp(), (-log_r).exp())
        gradients = [torch.empty_like(logit), *(torch.zeros_like(t) for t in (scale, bias, log_r))] if with_gradient else None
        nll = logit.new_zeros(())
        block = max(1, BLOCK_ELEMENTS // logit.shape[1])
        for start in range(0, len(logit), block):
            rows = slice(start, min(start + block, len(logit)))
            stored = slice(*counts.indptr[[rows.start, rows.stop]].tolist()) if len(logit) > block else slice(None)
            entries = (counts.rows[stored] - start, counts.indices[stored], counts.values[stored])
            here = None if gradients is None else (gradients[0][rows], *gradients[1:])
            nll += _block(logit[rows], *tables, batch[rows], log_depth[rows], entries, here)
        if with_gradient:
            ctx.save_for_backward(*gradients)
            ctx.n_cells = len(logit)
        return nll / len(logit)

    @staticmethod
    def backward(ctx, upstream):
        factor = upstream / ctx.n_cells
        return *(factor * g for g in ctx.saved_tensors), None, None, None, None


def _block(logit, scale, bias, log_r, r, inverse_r, batch, log_depth, entries, gradients) -> Tensor:
    """Summed loss of some rows. Fills their gradient of the logits, and adds to those of the tables, where wanted."""
    rows, columns, x = entries
    n_features = logit.shape[1]
    scale = scale.index_select(0, batch)  # (n, G)
    share = bias.index_select(0, batch).addcmul_(logit, scale).softmax(dim=1)
    odds = inverse_r.index_select(0, batch).mul_(share).mul_(log_depth.exp()[:, None])  # exp(a) = mean / r
    softplus = torch.log1p(odds)
    members = F.one_hot(batch, len(r)).to(logit.dtype).T  # (B, n): sums over the cells of each batch
    softplus_sum = members @ softplus
    at = (batch[rows], columns)
    r_x = r[at]
    a = share[rows, columns].clamp_min(SMALLEST_SHARE).log() + log_depth[rows] - log_r[at]
    nll = (softplus_sum * r).sum() + (x * F.softplus(-a) - torch.lgamma(x + r_x) + _at(torch.lgamma, r, at)).sum()
    if gradients is None:
        return nll
    d_logit, d_scale, d_bias, d_log_r = gradients
    d_a = r.index_select(0, batch).mul_(odds).div_(odds.add_(1))  # (n, G): r sigmoid(a)
    d_a.view(-1).index_add_(0, rows * n_features + columns, -x * torch.sigmoid(-a))
    d_log_r += r * softplus_sum - members @ d_a
    d_log_r.view(-1).index_add_(0, at[0] * n_features + columns, r_x * (_at(torch.digamma, r, at) - torch.digamma(x + r_x)))
    d_y = d_a.addcmul_(share, d_a.sum(dim=1, keepdim=True), value=-1)
    d_bias += members @ d_y
    d_scale += members @ torch.mul(d_y, logit, out=odds)
    torch.mul(d_y, scale, out=d_logit)
    return nll


def _at(function: Callable[[Tensor], Tensor], table: Tensor, index: tuple[Tensor, Tensor]) -> Tensor:
    """``function(table)[index]``, by whichever way calls the costly function less often."""
    return function(table)[index] if table.numel() < len(index[0]) else function(table[index])

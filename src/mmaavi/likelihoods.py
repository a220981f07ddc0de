"""The negative binomial likelihood: a dense form to read, and the fused sparse form that training uses.

With a = log(mean / r), r the inverse dispersion and x a count,

    -log NB(x) = (r + x) softplus(a) - x a - lgamma(x + r) + lgamma(r) + lgamma(x + 1),

which is r softplus(a) where x = 0: only non-zero counts need more than one exponential and one logarithm.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse import SparseRows

BLOCK_ELEMENTS = 2**21  # elements of a block of rows: bounds the temporaries (five of 8 MiB)


def negative_binomial_nll(counts: Tensor, mean: Tensor, inverse_dispersion: Tensor) -> Tensor:
    """Negative log-likelihood of each count; all arguments broadcast to one shape (n_cells, n_features)."""
    r = inverse_dispersion
    a = mean.log() - r.log()
    constant = torch.lgamma(r) + torch.lgamma(counts + 1) - torch.lgamma(counts + r)
    return (r + counts) * F.softplus(a) - counts * a + constant


@dataclass(frozen=True)
class Section:
    """Consecutive rows [start, stop) of a minibatch that belong to one batch."""

    batch: int
    start: int
    stop: int


def softmax_negative_binomial(
    hidden: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    log_r: Tensor,
    counts: SparseRows,
    log_depth: Tensor,
    sections: list[Section],
) -> Tensor:
    """Negative log-likelihood of counts, summed over features and averaged over cells, without dense temporaries.

    For the cells of batch s: mean = depth * softmax(scale[s] * (hidden @ weight.T) + bias[s]) over the features
    and inverse dispersion exp(log_r[s]).

    Parameters
    ----------
    hidden, weight
        Shapes (n_cells, k) and (n_features, k).
    scale, bias, log_r
        Shape (n_batches, n_features).
    counts
        n_cells x n_features.
    log_depth
        Log library size, of shape (n_cells,).
    sections
        The rows of each batch; together all rows.
    """
    with_gradient = torch.is_grad_enabled()
    return _SoftmaxNegativeBinomial.apply(hidden, weight, scale, bias, log_r, counts, log_depth, sections, with_gradient)


class _SoftmaxNegativeBinomial(torch.autograd.Function):
    """Since the loss is a scalar, its gradients are made on the way forward, one block of rows at a time.

    The one array of shape (n_cells, n_features) holds the logits, then their gradient.
    """

    @staticmethod
    def forward(ctx, hidden, weight, scale, bias, log_r, counts, log_depth, sections, with_gradient):
        logit = hidden @ weight.T  # (n, G)
        r = log_r.exp()
        n_cells, n_features = logit.shape
        block = max(1, BLOCK_ELEMENTS // n_features)
        gradients = [torch.zeros_like(t) for t in (scale, bias, log_r)] if with_gradient else [None] * 3
        nll = logit.new_zeros(())
        for s in sections:
            for start in range(s.start, s.stop, block):
                rows = slice(start, min(start + block, s.stop))
                first, last = counts.indptr[rows.start], counts.indptr[rows.stop]
                stored = slice(int(first), int(last))
                nll += _block(
                    logit[rows],
                    scale[s.batch],
                    bias[s.batch],
                    log_r[s.batch],
                    r[s.batch],
                    log_depth[rows],
                    (counts.rows[stored] - rows.start, counts.indices[stored], counts.values[stored]),
                    None if not with_gradient else [g[s.batch] for g in gradients],
                )
        if with_gradient:
            ctx.save_for_backward(logit @ weight, logit.T @ hidden, *gradients)
            ctx.n_cells = n_cells
        return nll / n_cells

    @staticmethod
    def backward(ctx, upstream):
        factor = upstream / ctx.n_cells
        return *(factor * g for g in ctx.saved_tensors), None, None, None, None


def _block(logit, scale, bias, log_r, r, log_depth, entries, gradients) -> Tensor:
    """Summed loss of a block of rows of one batch; ``logit`` becomes its own gradient where gradients are wanted."""
    rows, columns, x = entries
    y = torch.addcmul(bias, logit, scale)  # (n, G)
    peak = y.amax(dim=1, keepdim=True)
    share = y.sub_(peak).exp_()
    total = share.sum(dim=1, keepdim=True)  # softmax = share / total
    odds = share * (log_depth.exp()[:, None] / total) / r  # exp(a) = mean / r
    a = (
        (logit[rows, columns] * scale[columns] + bias[columns])
        - (peak + total.log() - log_depth[:, None])[rows, 0]
        - log_r[columns]
    )
    softplus = torch.log1p(odds)
    r_x = r[columns]
    nll = (softplus @ r).sum() + (
        x * F.softplus(-a) + torch.lgamma(r)[columns] + torch.lgamma(x + 1) - torch.lgamma(x + r_x)
    ).sum()
    if gradients is None:
        return nll
    d_scale, d_bias, d_log_r = gradients
    d_log_r += r * softplus.sum(dim=0)
    d_log_r.index_add_(0, columns, r_x * (torch.digamma(r)[columns] - torch.digamma(x + r_x)))
    d_a = odds.div_(odds + 1).mul_(r)  # (n, G): r sigmoid(a)
    d_a.index_put_((rows, columns), -x * torch.sigmoid(-a), accumulate=True)
    d_log_r -= d_a.sum(dim=0)
    d_y = d_a.sub_(share.mul_(d_a.sum(dim=1, keepdim=True) / total))
    d_bias += d_y.sum(dim=0)
    d_scale += (d_y * logit).sum(dim=0)
    torch.mul(d_y, scale, out=logit)
    return nll

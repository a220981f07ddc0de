"""The negative binomial likelihood: a dense form to read, and the fused sparse form that training uses.

With a = log(mean / r), r the inverse dispersion and x a count,

    -log NB(x) = (r + x) softplus(a) - x a - lgamma(x + r) + lgamma(r) + lgamma(x + 1),

which is r softplus(a) where x = 0: only non-zero counts need more than one exponential and one logarithm.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse import SparseRows

Runs = list[tuple[int, int, int]]  # batch, first row and row after the last of rows that stand together

BLOCK_ELEMENTS = 2**20  # elements of a block of rows: the temporaries (four of 4 MiB) stay near the processor
SMALLEST_SHARE = 1e-37  # of a feature in a cell's counts; below it is zero in single precision


def negative_binomial_nll(counts: Tensor, mean: Tensor, inverse_dispersion: Tensor) -> Tensor:
    """Negative log-likelihood of each count; all arguments broadcast to one shape (n_cells, n_features)."""
    r = inverse_dispersion
    a = mean.log() - r.log()
    constant = torch.lgamma(r) + torch.lgamma(counts + 1) - torch.lgamma(counts + r)
    return (r + counts) * F.softplus(a) - counts * a + constant


@cache
def triton_works() -> bool:
    """Whether Triton, which GPU builds of torch bring along, is there and can build kernels: it needs a C compiler."""
    if find_spec("triton") is None:
        return False
    try:
        from .negative_binomial_triton import summed_nll

        one, counts = torch.ones(1, 1, device="cuda"), SparseRows.from_scipy(sp.csr_array([[1.0]]), "cuda")
        summed_nll(one, (one, one, one), torch.zeros(1, dtype=torch.int64, device="cuda"), counts, one[0], True)
    except Exception as error:  # noqa: BLE001 - whatever is wrong, there is another way
        logging.warning("Triton builds no kernels here, and training on the GPU takes several times as long: %s", error)
        return False
    return True


def softmax_negative_binomial(
    logit: Tensor, scale: Tensor, bias: Tensor, log_r: Tensor, batch: Tensor, runs: Runs, counts: SparseRows, log_depth: Tensor
) -> Tensor:
    """Negative log-likelihood of counts, summed over features and averaged over cells; without lgamma(x + 1).

    In a cell of batch s: mean = depth * softmax(scale[s] * logit + bias[s]) over the features, and inverse dispersion
    exp(log_r[s]).

    Parameters
    ----------
    logit
        Shape (n_cells, n_features); its gradient has the same type, such as bfloat16.
    scale, bias, log_r
        Shape (n_batches, n_features).
    batch
        Number of each cell's batch, of shape (n_cells,).
    runs
        Cells of one batch stand together: the batch's number, its first row, and the row after its last.
    counts
        n_cells x n_features; stored zeros add nothing.
    log_depth
        Log library size, of shape (n_cells,).
    """
    with_gradient = torch.is_grad_enabled()
    return _SoftmaxNegativeBinomial.apply(logit, scale, bias, log_r, batch, runs, counts, log_depth, with_gradient)


class _SoftmaxNegativeBinomial(torch.autograd.Function):
    """Since the loss is a scalar, its gradients are made on the way forward."""

    @staticmethod
    def forward(ctx, logit, scale, bias, log_r, batch, runs, counts, log_depth, with_gradient):
        tables = (scale, bias, log_r)
        if logit.is_cuda and triton_works():
            from .negative_binomial_triton import summed_nll

            with torch.cuda.device_of(logit):  # the one that Triton launches on
                nll, gradients = summed_nll(logit, tables, batch, counts, log_depth, with_gradient)
        else:
            nll, gradients = _summed_nll(logit, tables, runs, counts, log_depth, with_gradient)
        if with_gradient:
            ctx.save_for_backward(*gradients)
            ctx.n_cells = len(logit)
        return nll / len(logit)

    @staticmethod
    def backward(ctx, upstream):
        factor = upstream / ctx.n_cells
        return *(factor * g for g in ctx.saved_tensors), *5 * (None,)


def _summed_nll(logit, tables, runs, counts, log_depth, with_gradient) -> tuple[Tensor, list[Tensor] | None]:
    """Sum over cells and features, and its gradients for the logits and each table; one block of cells of a batch at a time."""
    scale, bias, log_r = tables
    by_batch = (scale, bias, log_r, log_r.exp(), (-log_r).exp())
    gradients = [torch.empty_like(logit), *(torch.zeros_like(t) for t in tables)] if with_gradient else None
    nll = scale.new_zeros(())
    for b, rows in _blocks(runs, max(1, BLOCK_ELEMENTS // logit.shape[1])):
        stored = slice(*counts.indptr[[rows.start, rows.stop]].tolist())
        entries = (counts.rows[stored] - rows.start, counts.indices[stored], counts.values[stored])
        here = None if gradients is None else (gradients[0][rows], *(g[b] for g in gradients[1:]))
        nll += _block(logit[rows], *(t[b] for t in by_batch), log_depth[rows], entries, here)
    return nll, gradients


def _blocks(runs: Runs, size: int) -> Iterator[tuple[int, slice]]:
    for batch, start, stop in runs:
        for first in range(start, stop, size):
            yield batch, slice(first, min(first + size, stop))


def _block(logit, scale, bias, log_r, r, inverse_r, log_depth, entries, gradients) -> Tensor:
    """Summed loss of some cells (n, G) of one batch, whose tables have the shape (G,).

    Fills the cells' gradient of the logits, and adds to those of the tables, where gradients are wanted.
    """
    rows, columns, x = entries
    logit = logit.to(scale.dtype)
    share = torch.addcmul(bias, scale, logit).softmax(dim=1)  # (n, G)
    odds = torch.mul(share, inverse_r).mul_(log_depth.exp()[:, None])  # exp(a) = mean / r
    softplus_sum = torch.log1p(odds).sum(dim=0)  # (G,)
    r_x = r[columns]
    a = share[rows, columns].clamp_min(SMALLEST_SHARE).log() + log_depth[rows] - log_r[columns]
    nll = softplus_sum @ r + (x * F.softplus(-a) - torch.lgamma(x + r_x) + _at(torch.lgamma, r, columns)).sum()
    if gradients is None:
        return nll
    d_logit, d_scale, d_bias, d_log_r = gradients
    d_a = odds.div_(odds + 1).mul_(r)  # r sigmoid(a)
    d_a.view(-1).index_add_(0, rows * len(r) + columns, -x * torch.sigmoid(-a))
    d_log_r.addcmul_(r, softplus_sum).sub_(d_a.sum(dim=0))
    d_log_r.index_add_(0, columns, r_x * (_at(torch.digamma, r, columns) - torch.digamma(x + r_x)))
    d_y = d_a.addcmul_(share, d_a.sum(dim=1, keepdim=True), value=-1)
    d_bias += d_y.sum(dim=0)
    d_scale += torch.mul(d_y, logit, out=share).sum(dim=0)
    torch.mul(d_y, scale, out=d_logit)
    return nll


def _at(function: Callable[[Tensor], Tensor], table: Tensor, index: Tensor) -> Tensor:
    """``function(table)[index]``, by whichever way calls the costly function less often."""
    return function(table)[index] if len(table) < len(index) else function(table[index])

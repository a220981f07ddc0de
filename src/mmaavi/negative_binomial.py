"""The negative binomial likelihood: a dense form to read, and the fused sparse form that training uses.

With a = log(mean / r), r the inverse dispersion and x a count,

    -log NB(x) = (r + x) softplus(a) - x a - lgamma(x + r) + lgamma(r) + lgamma(x + 1),

which is r softplus(a) where x = 0: only non-zero counts need more than one exponential and one logarithm.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import groupby

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
        Cells of one batch stand together: the batch's number, its first row, and the row after its last; one run after the other.
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
    """Sum over cells and features, and its gradients for the logits and each table; one block of cells at a time."""
    scale, bias, log_r = tables
    by_batch = (scale, bias, log_r, log_r.exp(), (-log_r).exp())
    gradients = [torch.empty_like(logit), *(torch.zeros_like(t) for t in tables)] if with_gradient else None
    nll = scale.new_zeros(())
    for batches, rows in _blocks(runs, max(1, BLOCK_ELEMENTS // logit.shape[1])):
        shape = (len(batches), -1, logit.shape[1])  # (b, n, G)
        stored = slice(*counts.indptr[[rows.start, rows.stop]].tolist())
        entries = (counts.rows[stored] - rows.start, counts.indices[stored], counts.values[stored])
        d_logit = None if gradients is None else gradients[0][rows].view(shape)
        table_rows = torch.tensor(batches, device=logit.device)
        here = (t.index_select(0, table_rows) for t in by_batch)
        block_nll, d_tables = _block(logit[rows].view(shape), *here, log_depth[rows], entries, d_logit)
        nll += block_nll
        if gradients is not None:
            for total, d_table in zip(gradients[1:], d_tables, strict=True):
                total.index_add_(0, table_rows, d_table)
    return nll, gradients


def _blocks(runs: Runs, size: int) -> Iterator[tuple[list[int], slice]]:
    """Batches and the rows of as many cells of each, up to ``size`` in all: small batches are computed with together."""
    parts = [(batch, first, min(first + size, stop)) for batch, start, stop in runs for first in range(start, stop, size)]
    for n, alike in groupby(parts, key=lambda part: part[2] - part[1]):
        batches, starts, stops = zip(*alike, strict=True)
        for i in range(0, len(batches), size // n):
            here = slice(i, i + size // n)
            yield list(batches[here]), slice(starts[i], stops[here][-1])


def _block(logit, scale, bias, log_r, r, inverse_r, log_depth, entries, d_logit) -> tuple[Tensor, list[Tensor]]:
    """Summed loss of n cells of each of b batches (b, n, G), whose tables have the shape (b, G), and the tables' gradients.

    Fills the gradient of the logits; without one to fill, there are none.
    """
    (n_batches, n_cells, n_features), (rows, columns, x) = logit.shape, entries
    in_block = rows * n_features + columns  # place of each count among (b n, G)
    in_table = rows // n_cells * n_features + columns  # and among (b, G)
    logit = logit.to(scale.dtype)
    share = torch.addcmul(bias[:, None], scale[:, None], logit).softmax(dim=2)  # (b, n, G)
    odds = torch.mul(share, inverse_r[:, None]).mul_(log_depth.exp().view(n_batches, n_cells, 1))  # exp(a) = mean / r
    softplus_sum = torch.log1p(odds).sum(dim=1)  # (b, G)
    r_x = r.view(-1).index_select(0, in_table)  # quicker than take
    share_x = share.view(-1).index_select(0, in_block).clamp_min(SMALLEST_SHARE)
    a = share_x.log() + log_depth.index_select(0, rows) - log_r.view(-1).index_select(0, in_table)
    nll = (softplus_sum * r).sum() + (x * F.softplus(-a) - torch.lgamma(x + r_x) + _at(torch.lgamma, r, in_table)).sum()
    if d_logit is None:
        return nll, []
    d_a = odds.div_(odds + 1).mul_(r[:, None])  # r sigmoid(a)
    d_a.view(-1).index_add_(0, in_block, -x * torch.sigmoid(-a))
    d_log_r = r * softplus_sum - d_a.sum(dim=1)
    d_log_r.view(-1).index_add_(0, in_table, r_x * (_at(torch.digamma, r, in_table) - torch.digamma(x + r_x)))
    d_y = d_a.addcmul_(share, d_a.sum(dim=2, keepdim=True), value=-1)
    d_bias = d_y.sum(dim=1)
    d_scale = torch.mul(d_y, logit, out=share).sum(dim=1)
    torch.mul(d_y, scale[:, None], out=d_logit)
    return nll, [d_scale, d_bias, d_log_r]


def _at(function: Callable[[Tensor], Tensor], table: Tensor, index: Tensor) -> Tensor:
    """``function`` of the table's entries at ``index``, by whichever way calls the costly function less often."""
    table = table.view(-1)
    return function(table).index_select(0, index) if len(table) < len(index) else function(table.index_select(0, index))

"""The negative binomial likelihood: a dense form to read, and the fused sparse form that training uses.

With a = log(mean / r), r the inverse dispersion and x a count,

    -log NB(x) = (r + x) softplus(a) - x a - lgamma(x + r) + lgamma(r) + lgamma(x + 1),

which is r softplus(a) where x = 0: only non-zero counts need more than one exponential and one logarithm. The fused form is
written twice, for the CPU (``negative_binomial_numba``) and for the GPU (``negative_binomial_triton``). Shapes: n cells, G
features, B batches.
"""

import logging
import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import negative_binomial_numba
from .kernels import usable
from .negative_binomial_numba import SMALLEST_SHARE
from .sparse import SparseRows


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
    logit: Tensor, scale: Tensor, bias: Tensor, log_r: Tensor, batch: Tensor, counts: SparseRows, log_depth: Tensor
) -> Tensor:
    """Negative log-likelihood of counts, summed over features and averaged over cells; without lgamma(x + 1).

    In a cell of batch s: mean = depth * softmax(scale[s] * logit + bias[s]) over the features, and inverse dispersion
    exp(log_r[s]).

    Parameters
    ----------
    logit
        Shape (n, G); its gradient has the same type, such as bfloat16.
    scale, bias, log_r
        Shape (B, G).
    batch
        Number of each cell's batch, of shape (n,); quicker where cells of one batch stand together.
    counts
        n x G; stored zeros add nothing.
    log_depth
        Log library size, of shape (n,).
    """
    return _SoftmaxNegativeBinomial.apply(logit, scale, bias, log_r, batch, counts, log_depth, torch.is_grad_enabled())


class _SoftmaxNegativeBinomial(torch.autograd.Function):
    """Since the loss is a scalar, its gradients are made on the way forward."""

    @staticmethod
    def forward(ctx, logit, scale, bias, log_r, batch, counts, log_depth, with_gradient):
        tables = (scale.detach(), bias.detach(), log_r.detach())
        with torch.cuda.device_of(logit):  # the one that Triton launches on
            nll, gradients = _fused(logit)(logit.detach(), tables, batch, counts, log_depth, with_gradient)
        if with_gradient:
            ctx.save_for_backward(*gradients)
            ctx.n_cells = len(logit)
        return nll / len(logit)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        factor = upstream / ctx.n_cells
        return *(factor * g for g in ctx.saved_tensors), *4 * (None,)


def _fused(logit: Tensor) -> Callable[..., tuple[Tensor, list[Tensor] | None]]:
    """The summed loss and its gradients, as :func:`mmaavi.negative_binomial_numba.summed_nll` gives them, by the quickest way."""
    if logit.is_cuda and triton_works():
        from .negative_binomial_triton import summed_nll

        return summed_nll
    compiled = logit.device.type == "cpu" and logit.dtype in negative_binomial_numba.BITS and usable()
    return negative_binomial_numba.summed_nll if compiled else _summed_nll


def _summed_nll(logit, tables, batch, counts, log_depth, with_gradient) -> tuple[Tensor, list[Tensor] | None]:
    """The same by the dense form, in any precision and on any device."""
    with torch.set_grad_enabled(with_gradient):
        leaves = [t.detach().requires_grad_() for t in (logit, *tables)]
        of_logit, (scale, bias, log_r) = leaves[0], (t.index_select(0, batch) for t in leaves[1:])  # (n, G) each
        log_share = torch.addcmul(bias, scale, of_logit.to(scale.dtype)).log_softmax(dim=1)
        mean = (log_share.clamp_min(math.log(SMALLEST_SHARE)) + log_depth[:, None]).exp()  # (n, G)
        x = counts.to_dense()  # (n, G)
        nll = (negative_binomial_nll(x, mean, log_r.exp()) - torch.lgamma(x + 1)).sum()
        return nll.detach(), list(torch.autograd.grad(nll, leaves)) if with_gradient else None

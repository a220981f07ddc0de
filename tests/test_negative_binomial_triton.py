"""The GPU's form of the likelihood; without a GPU, by Triton's interpreter (``make test-triton``)."""

import os

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mmaavi.negative_binomial import softmax_negative_binomial
from mmaavi.sparse import SparseRows

pytest.importorskip("triton")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU here; make test-triton runs it by an interpreter", allow_module_level=True)
from mmaavi.negative_binomial_triton import summed_nll

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N, G, B = 70, 1300, 3


@pytest.fixture
def problem(rng):
    torch.manual_seed(0)
    x = sp.random_array((N, G), density=0.1, format="csr", rng=rng)
    x.data = np.ceil(5 * x.data)
    batch = torch.tensor([0, 1, 2, 0]).repeat_interleave(torch.tensor([20, 25, 10, 15]))
    parameters = [torch.randn(N, G), *(0.3 * torch.randn(B, G) for _ in range(3))]
    return parameters, batch, SparseRows.from_scipy(x), torch.tensor(np.log(x.sum(axis=1) + 1), dtype=torch.float32)


def by_triton(parameters, batch, counts, log_depth, with_gradient=True):
    logit, *tables = (p.to(DEVICE) for p in parameters)
    total, gradients = summed_nll(logit, tables, batch.to(DEVICE), counts.to(DEVICE), log_depth.to(DEVICE), with_gradient)
    return total.cpu(), None if gradients is None else [g.cpu() for g in gradients]


@pytest.mark.parametrize("spare", [0, 500])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_loss_and_gradients_are_those_of_double_precision(problem, spare, kind, tolerance):
    parameters, batch, counts, log_depth = problem
    parameters[0] = parameters[0].to(kind)
    padded = counts.take(torch.arange(N), len(counts.values) + spare)
    total, gradients = by_triton(parameters, batch, padded, log_depth)
    exact = [p.double().requires_grad_() for p in parameters]
    as_double = SparseRows(counts.indptr, counts.indices, counts.values.double(), G)
    oracle = N * softmax_negative_binomial(*exact, batch, as_double, log_depth.double())
    assert abs(total / oracle.item() - 1) < 1e-6
    assert [g.dtype for g in gradients] == [kind, *3 * [torch.float32]]
    of_logit, *of_tables = zip(gradients, torch.autograd.grad(oracle, exact), strict=True)
    for (mine, theirs), bound in ((of_logit, tolerance), *((pair, 1e-6) for pair in of_tables)):
        assert (mine - theirs).norm() / theirs.norm() < bound
    assert by_triton(parameters, batch, padded, log_depth, with_gradient=False) == (total, None)


def test_extreme_values_stay_finite(problem):
    _, batch, counts, log_depth = problem
    parameters = [torch.linspace(-300, 300, N * G).view(N, G), torch.ones(B, G), torch.zeros(B, G), torch.full((B, G), 12.0)]
    total, gradients = by_triton(parameters, batch, counts, log_depth)
    assert all(torch.isfinite(t).all() for t in (total, *gradients))

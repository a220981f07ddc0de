from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
import torch

from mmaavi import sparse
from mmaavi.negative_binomial import negative_binomial_nll, softmax_negative_binomial
from mmaavi.sparse import SparseRows, shifted_sparse_linear, sparse_linear


def sparse_counts(rng, n: int, g: int, dtype, density: float = 0.3) -> tuple[SparseRows, torch.Tensor]:
    x = sp.random_array((n, g), density=density, format="csr", rng=rng)
    x.data = np.ceil(5 * x.data)
    rows = SparseRows.from_scipy(x)
    return SparseRows(rows.indptr, rows.indices, rows.values.to(dtype), g), torch.as_tensor(x.toarray(), dtype=dtype)


def test_the_dense_form_is_scipys(rng):
    counts, mean, r = rng.poisson(3, (20, 5)), rng.gamma(2, 2, (20, 5)), rng.gamma(2, 2, 5)
    ours = negative_binomial_nll(*(torch.as_tensor(a, dtype=torch.float64) for a in (counts, mean, r)))
    np.testing.assert_allclose(ours, -scipy.stats.nbinom.logpmf(counts, r, r / (r + mean)), rtol=1e-9)


@pytest.fixture
def problem(rng):
    torch.manual_seed(0)
    n, g, n_batches, dtype = 11, 23, 3, torch.float64
    counts, dense = sparse_counts(rng, n, g, dtype)
    logit = torch.randn(n, g, dtype=dtype)
    per_batch = [0.3 * torch.randn(n_batches, g, dtype=dtype) for _ in range(3)]
    parameters = [p.requires_grad_() for p in (logit, *per_batch)]
    batch = torch.tensor([0, 0, 2, 2, 1, 1, 2, 0, 0, 0, 0])
    log_depth = torch.log(dense.sum(dim=1) + 1)
    return parameters, batch, counts, dense, log_depth


def dense_loss(parameters, batch, dense, log_depth):
    logit, scale, bias, log_r = parameters
    mean = log_depth.exp()[:, None] * torch.softmax(scale[batch] * logit + bias[batch], dim=1)
    nll = negative_binomial_nll(dense, mean, log_r[batch].exp()) - torch.lgamma(dense + 1)
    return nll.sum(dim=1).mean()


def test_the_fused_form_is_the_dense_one_with_its_gradients(problem):
    parameters, batch, counts, dense, log_depth = problem
    ours = softmax_negative_binomial(*parameters, batch, counts, log_depth)
    oracle = dense_loss(parameters, batch, dense, log_depth)
    torch.testing.assert_close(ours, oracle)
    for mine, theirs in zip(torch.autograd.grad(3 * ours, parameters), torch.autograd.grad(3 * oracle, parameters), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_fused_gradient_passes_gradcheck(problem):
    parameters, batch, counts, _, log_depth = problem
    assert torch.autograd.gradcheck(lambda *p: softmax_negative_binomial(*p, batch, counts, log_depth), parameters)


def test_without_gradients_the_loss_is_the_same(problem):
    parameters, batch, counts, _, log_depth = problem
    with torch.no_grad():
        alone = softmax_negative_binomial(*parameters, batch, counts, log_depth)
    torch.testing.assert_close(alone, softmax_negative_binomial(*parameters, batch, counts, log_depth).detach())


def test_extreme_values_stay_finite():
    counts, _ = sparse_counts(np.random.default_rng(1), 4, 6, torch.float32)
    logit = torch.linspace(-300, 300, 24).reshape(4, 6).requires_grad_()
    tables = [t.requires_grad_() for t in (torch.ones(1, 6), torch.zeros(1, 6), torch.full((1, 6), 12.0))]
    loss = softmax_negative_binomial(logit, *tables, torch.zeros(4, dtype=torch.int64), counts, torch.full((4,), 9.0))
    loss.backward()
    assert all(torch.isfinite(t).all() for t in (loss, logit.grad, *(t.grad for t in tables)))


@pytest.mark.parametrize(("density", "dense_elements"), [(0.05, 0), (0.3, 0), (0.05, 96)])  # sparse; above the share; small
def test_sparse_products_and_their_gradient_are_the_dense_ones(rng, density, dense_elements, monkeypatch):
    monkeypatch.setattr(sparse, "DENSE_ELEMENTS", dense_elements)
    x, dense = sparse_counts(rng, 8, 12, torch.float64, density)
    weight = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(sparse_linear(x, weight), dense @ weight)
    assert torch.autograd.gradcheck(lambda w: sparse_linear(x, w), weight)
    assert x.is_dense == (density > 0.1 or dense_elements > 0)
    shift, group = torch.randn(2, 12, dtype=torch.float64), torch.tensor([1, 0, 0, 1, 1, 1, 0, 1])
    torch.testing.assert_close(shifted_sparse_linear(x, shift, group, weight), (dense + shift[group]) @ weight)
    assert torch.autograd.gradcheck(lambda w: shifted_sparse_linear(x, shift, group, w), weight)


@pytest.mark.parametrize(("n", "g", "k"), [(8, 12, 3), (70, 1300, 256), (5, 40, 17)])
@pytest.mark.parametrize("density", [0, 0.05, 0.3])  # nothing stored; sparse; dense
@pytest.mark.usefixtures("parts")
def test_compiled_products_of_a_first_layer_are_those_of_double_precision(rng, n, g, k, density, monkeypatch):
    monkeypatch.setattr(sparse, "DENSE_ELEMENTS", 0)
    x, dense = sparse_counts(rng, n, g, torch.float32, density)
    shift, group, weight, of_out = (
        torch.randn(3, g),
        torch.arange(n) % 3,
        torch.randn(g, k, requires_grad=True),
        torch.randn(n, k),
    )
    out = shifted_sparse_linear(x, shift, group, weight)
    inputs = (dense + shift[group]).double()
    for mine, expected in (
        (out, inputs @ weight.double()),
        (torch.autograd.grad(out, weight, of_out)[0], inputs.T @ of_out.double()),
    ):
        assert mine.dtype == torch.float32
        assert (mine - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_taken_in_any_order_and_again(rng, dtype):
    _, dense = sparse_counts(rng, 8, 12, dtype)
    dense[3] = 0  # a row without a value
    x = SparseRows.from_scipy(sp.csr_array(dense.numpy()))
    x = replace(x, values=x.values.to(dtype))
    rows = torch.tensor([5, 0, 5, 3, 7, 3])
    torch.testing.assert_close(x.take(rows).matmul(torch.eye(12, dtype=dtype)), dense[rows])
    torch.testing.assert_close(x.take(rows).to_dense(), dense[rows])


@pytest.mark.parametrize("spare", [0, 1, 5, 100])
def test_rows_are_padded_with_zeros_to_a_number_that_is_given(rng, spare):
    x, dense = sparse_counts(rng, 8, 12, torch.float64)
    rows = torch.tensor([5, 0, 5, 7])
    taken = x.take(rows, len(x.take(rows).values) + spare)
    assert len(taken.values) == len(x.take(rows).values) + spare
    torch.testing.assert_close(taken.to_dense(), dense[rows])
    torch.testing.assert_close(taken.matmul(torch.eye(12, dtype=torch.float64)), dense[rows])
    torch.testing.assert_close(taken.transposed_matmul(torch.eye(4, dtype=torch.float64)), dense[rows].T)


def test_rows_without_a_value_are_padded_too():
    nothing = SparseRows.from_scipy(sp.csr_array((3, 12)))
    taken = nothing.take(torch.tensor([2, 0]), 5)
    assert taken.values.tolist() == [0] * 5
    torch.testing.assert_close(taken.matmul(torch.eye(12)), torch.zeros(2, 12))

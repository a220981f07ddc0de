"""The CPU's form of the likelihood, against the dense one in double precision."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmaavi.negative_binomial import softmax_negative_binomial
from mmaavi.negative_binomial_numba import _of_count, summed_nll
from mmaavi.sparse import SparseRows


def make(n: int, g: int, n_batches: int = 3, density: float = 0.1):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    x = sp.random_array((n, g), density=density, format="csr", rng=rng)
    x.data = np.ceil(5 * x.data)
    batch = torch.tensor(rng.integers(n_batches, size=n))
    parameters = [torch.randn(n, g), *(0.3 * torch.randn(n_batches, g) for _ in range(3))]
    return parameters, batch, SparseRows.from_scipy(x), torch.tensor(np.log(x.sum(axis=1) + 1), dtype=torch.float32)


def summed(parameters, batch, counts, log_depth, with_gradient=True):
    logit, *tables = parameters
    return summed_nll(logit, tuple(tables), batch, counts, log_depth, with_gradient)


def in_double(parameters, batch, counts, log_depth):
    exact = [p.double().requires_grad_() for p in parameters]
    as_double = SparseRows(counts.indptr, counts.indices, counts.values.double(), counts.n_columns)
    total = len(batch) * softmax_negative_binomial(*exact, batch, as_double, log_depth.double())
    return total.detach(), torch.autograd.grad(total, exact)


@pytest.mark.usefixtures("parts")
# Less than a lane, no multiple of one, more features than are taken at once, one cell, values nearly everywhere.
@pytest.mark.parametrize(("n", "g", "density"), [(5, 2, 0.5), (7, 3, 0.3), (70, 1300, 0.1), (1, 600, 0.1), (33, 40, 0.95)])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_loss_and_gradients_are_those_of_double_precision(n, g, density, kind, tolerance):
    parameters, *rest = make(n, g, density=density)
    parameters[0] = parameters[0].to(kind)
    total, gradients = summed(parameters, *rest)
    exact, exact_gradients = in_double(parameters, *rest)
    assert abs(total - exact) < 1e-6 * (n + exact.abs())  # the sum may all but vanish
    assert [d.dtype for d in gradients] == [kind, *3 * [torch.float32]]
    for mine, theirs, bound in zip(gradients, exact_gradients, [tolerance, *3 * [1e-6]], strict=True):
        assert (mine - theirs).norm() < bound * theirs.norm()
    alone, nothing = summed(parameters, *rest, with_gradient=False)
    assert abs(alone - exact) < 1e-6 * (n + exact.abs())
    assert nothing is None


@pytest.mark.parametrize("spare", [1, 500])
def test_stored_zeros_add_nothing(spare):
    parameters, batch, counts, log_depth = make(70, 1300)
    padded = counts.take(torch.arange(70), len(counts.values) + spare)
    total, gradients = summed(parameters, batch, padded, log_depth)
    plain, plain_gradients = summed(parameters, batch, counts, log_depth)
    torch.testing.assert_close(total, plain)
    torch.testing.assert_close(gradients, plain_gradients)


def test_as_many_threads_as_torch_has_take_part():
    problem = make(70, 1300)
    plain, (d_logit, *d_tables) = summed(*problem)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        total, (d_logit_2, *d_tables_2) = summed(*problem)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(total, plain)
    torch.testing.assert_close([d_logit_2, *d_tables_2], [d_logit, *d_tables], rtol=1e-5, atol=1e-6)


# Counts as they are, and beyond what products take; where r is large, log r's two terms all but cancel.
@pytest.mark.parametrize(("log_r", "times", "rounding"), [(-12, 1, 0), (12, 1, 0), (-12, 10, 0), (12, 10, 0), (18, 10, 1e-3)])
def test_extreme_values_stay_finite_and_right(log_r, times, rounding):
    parameters, batch, counts, log_depth = make(70, 1300)
    rest = batch, replace(counts, values=times * counts.values), log_depth
    parameters[0] = torch.linspace(-40, 40, 70 * 1300).view(70, 1300)
    parameters[3].fill_(log_r)
    total, gradients = summed(parameters, *rest)
    exact, exact_gradients = in_double(parameters, *rest)
    assert abs(total / exact - 1) < 1e-6
    for mine, theirs in zip(gradients, exact_gradients, strict=True):
        assert (mine - theirs).norm() < 1e-4 * theirs.norm() + rounding


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("table", [0, 1, 2, 3])
def test_what_is_not_finite_is_not_lost(bad, table):
    parameters, *rest = make(20, 40)
    parameters[table][1, 5] = bad
    total, (d_logit, *_) = summed(parameters, *rest)
    assert not (torch.isfinite(total) and torch.isfinite(d_logit).all())


@settings(deadline=None)  # the first call compiles
@given(x=st.one_of(st.integers(0, 50), st.integers(0, 10**6), st.floats(0, 50)), log_r=st.floats(-20, 20), a=st.floats(-80, 80))
def test_what_a_count_adds(x, log_r, a):
    x, r = np.float32(x), np.float32(np.exp(log_r))  # as they come
    loss, d_a, d_log_r = _of_count(x, r, a)
    x, r = float(x), float(r)
    gamma, digamma = (scipy.special.gammaln, scipy.special.psi)
    plain = x * np.logaddexp(0, -a) - (gamma(x + r) - gamma(r))
    assert loss == pytest.approx(plain, rel=1e-9, abs=1e-9 * (1 + abs(gamma(x + r))))
    assert d_a == pytest.approx(-x * scipy.special.expit(-a), rel=1e-9, abs=1e-30)
    slope = r * (digamma(r) - digamma(x + r)) - d_a
    assert d_log_r == pytest.approx(slope, rel=1e-9, abs=1e-9 * (1 + r * abs(digamma(r)) + abs(d_a)))

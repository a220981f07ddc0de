"""Every likelihood against scipy, through the modules that training uses."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
import torch
from scipy.special import gammaln, softmax

from mmaavi.likelihoods import LIKELIHOODS, Totals
from mmaavi.minibatch import ModalityRows
from mmaavi.sparse import SparseRows

N, G = 7, 5


def rows_of(dense: np.ndarray, batch: np.ndarray) -> ModalityRows:
    x = SparseRows.from_scipy(sp.csr_array(dense))
    as_double = SparseRows(x.indptr, x.indices, torch.tensor(sp.csr_array(dense).data), G)
    constant = torch.tensor(gammaln(np.maximum(dense, 0) + 1).sum(axis=1))
    depth = torch.tensor(np.log(np.maximum(dense.sum(axis=1), 1)))
    return ModalityRows(torch.arange(N), torch.tensor(batch), as_double, torch.zeros(2, G), as_double, depth, constant)


def values_of(name: str, rng) -> np.ndarray:
    counts = rng.poisson(1.5, (N, G)).astype(float)
    counts[0, 0] += 1
    return {
        "negative_binomial": counts,
        "poisson": counts,
        "bernoulli": (counts > 1) * 3.0,
        "normal": rng.normal(size=(N, G)),
        "zero_inflated_log_normal": counts * rng.lognormal(size=(N, G)),
    }[name]


def expected_nll(name: str, module, natural: np.ndarray, x: np.ndarray, batch: np.ndarray) -> np.ndarray:
    tables = {k: v.detach().numpy()[batch] for k, v in module.named_parameters()}
    mean = x.sum(axis=1, keepdims=True) * softmax(natural, axis=1)
    if name == "negative_binomial":
        r = np.exp(tables["log_r"])
        return -scipy.stats.nbinom.logpmf(x, r, r / (r + mean))
    if name == "poisson":
        return -scipy.stats.poisson.logpmf(x, mean)
    if name == "bernoulli":
        return -scipy.stats.bernoulli.logpmf(x > 0, 1 / (1 + np.exp(-natural)))
    sd = np.log1p(np.exp(tables["raw_sd"])) + 1e-3
    if name == "normal":
        return -scipy.stats.norm.logpdf(x, natural, sd)
    zero = 1 / (1 + np.exp(-tables["zero_logit"]))
    with np.errstate(divide="ignore"):
        return -np.where(x > 0, np.log(1 - zero) + scipy.stats.lognorm.logpdf(x, sd, scale=np.exp(natural)), np.log(zero))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_are_scipys(name, rng):
    torch.manual_seed(0)
    batch = np.array([0, 1, 1, 0, 0, 1, 0])
    x = values_of(name, rng)
    module = LIKELIHOODS[name](np.zeros((2, G))).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    logit = torch.randn(N, G, dtype=torch.float64, requires_grad=True)
    natural = module.natural(logit, torch.tensor(batch)).detach().numpy()
    ours = module.nll(logit, rows_of(x, batch))
    np.testing.assert_allclose(ours.item(), expected_nll(name, module, natural, x, batch).sum(axis=1).mean(), rtol=1e-6)
    ours.backward()
    assert torch.isfinite(logit.grad).all()
    assert logit.grad.any()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_untrained_likelihood_expects_the_batchs_mean(name, rng):
    x = np.concatenate([values_of(name, rng) for _ in range(60)])
    depth = x.sum(axis=1).mean()
    totals = Totals(len(x), x.sum(axis=0), (x > 0).sum(axis=0), np.log(np.where(x > 0, x, 1)).sum(axis=0))
    module = LIKELIHOODS[name](np.stack([LIKELIHOODS[name].start(totals)] * 2).astype(np.float32))
    mean = module.mean(torch.zeros(1, G), torch.tensor([1]), depth)[0].detach().numpy()
    expected = (x > 0).mean(axis=0) if name == "bernoulli" else x.mean(axis=0)
    if name == "zero_inflated_log_normal":  # of the start, only the mean log is the batch's own; zero or not starts even
        logs = np.array([np.log(column[column > 0]).mean() for column in x.T])
        expected = 0.5 * np.exp(logs + 0.5 * (1 + 1e-3) ** 2)
    np.testing.assert_allclose(mean, expected, rtol=0.06, atol=0.02)

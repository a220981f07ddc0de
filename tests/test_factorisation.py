"""UINMF: its least squares, its objective, and what it finds."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.optimize import nnls as scipys_nnls

from mmaavi.activity import links_between, with_gene_activity
from mmaavi.factorisation import nnls, quantile_align, uinmf


@pytest.mark.parametrize("kind", ["normal", "uniform", "collinear", "sparse"])
def test_nnls_is_scipys(rng, kind):
    a = rng.normal(size=(50, 15)) if kind == "normal" else rng.random((50, 15))
    if kind == "collinear":
        a[:, 1] = a[:, 0] + 0.01 * rng.random(50)
    b = rng.normal(size=(50, 80)) * (rng.random((50, 80)) < (0.1 if kind == "sparse" else 1))
    expected = np.stack([scipys_nnls(a, column)[0] for column in b.T], axis=1)
    np.testing.assert_allclose(nnls(a.T @ a, a.T @ b), expected, atol=1e-6)


def test_a_factor_that_nothing_uses_is_zero(rng):
    a = rng.random((30, 4))
    a[:, 2] = 0
    x = nnls(a.T @ a, a.T @ rng.random((30, 10)))
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x[2], 0, atol=1e-9)


def batches(rng, own: tuple[int, ...], n_shared: int = 60, n_cells: int = 150, k: int = 5):
    """Batches of planted non-negative factors: shared values, unshared values, and the cells' factors."""
    w = rng.gamma(0.3, size=(n_shared, k))
    shared, unshared, planted = [], [], []
    for n in own:
        h = rng.gamma(0.3, size=(n_cells, k))
        h[np.arange(n_cells), np.arange(n_cells) % k] += 2  # a factor of its own for each cell
        shared.append(sp.csr_array(h @ w.T))
        unshared.append(sp.csr_array(h @ rng.gamma(0.3, size=(n, k)).T))
        planted.append(h)
    return shared, unshared, planted


def test_the_objective_never_rises_and_is_what_it_says(rng):
    shared, unshared, _ = batches(rng, (0, 40, 25))
    penalty = 5.0
    found = uinmf(shared, unshared, k=8, penalty=penalty, n_iterations=25, seed=0)
    assert max(np.diff(found.objectives)) < 1e-9 * found.objectives[0]
    assert found.objectives[-1] < 0.9 * found.objectives[0]
    dense = 0.0
    for x, p, v, u, h in zip(shared, unshared, found.v, found.u, found.h, strict=True):
        dense += ((x.toarray().T - (found.w + v) @ h) ** 2).sum() + ((p.toarray().T - u @ h) ** 2).sum()
        dense += penalty * ((v @ h) ** 2).sum() + penalty * ((u @ h) ** 2).sum()
    assert found.objectives[-1] == pytest.approx(dense, rel=1e-9)
    for part in (found.w, *found.v, *found.u, *found.h):
        assert (part >= 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_factors_are_recovered(rng, seed):
    shared, unshared, planted = batches(rng, (30, 30))
    found = uinmf(shared, unshared, k=5, penalty=1.0, n_iterations=30, seed=seed)
    h, truth = np.concatenate([x.T for x in found.h]), np.concatenate(planted)
    correlation = np.corrcoef(h.T, truth.T)[:5, 5:]
    matched = correlation[linear_sum_assignment(-correlation)]
    assert matched.min() > 0.98, matched


def test_aligned_batches_have_the_quantiles_of_the_largest(rng):
    large, small = rng.gamma(2, size=(900, 3)), 3 * rng.gamma(2, size=(300, 3)) + 0.5
    for x in (large, small):
        x[np.arange(len(x)), np.arange(len(x)) % 3] += 60  # a cluster a factor
    reference, aligned = quantile_align([large, small])
    np.testing.assert_array_equal(reference, large)
    for cluster in range(3):
        for factor in range(3):
            a, b = (np.quantile(x[cluster::3, factor], [0.1, 0.5, 0.9]) for x in (large, aligned))
            np.testing.assert_allclose(a, b, rtol=0.05)


def test_gene_activity_is_the_sum_over_linked_peaks_where_genes_lack(mosaic):
    bridged = with_gene_activity(mosaic)
    lacks = (mosaic.measured["atac"] & ~mosaic.measured["rna"]).to_numpy()
    assert lacks.any()
    links = links_between(mosaic, "rna", "atac")
    gene = int(np.argmax(links.sum(axis=1)))
    peaks = np.flatnonzero(links[[gene]].toarray())
    expected = mosaic.counts["atac"][:, peaks].sum(axis=1)[lacks]
    np.testing.assert_allclose(bridged.counts["rna"][:, [gene]].toarray().ravel()[lacks], expected)
    assert (bridged.counts["rna"] - mosaic.counts["rna"])[~lacks].nnz == 0
    assert bridged.measured["rna"].sum() == (mosaic.measured["rna"] | lacks).sum()

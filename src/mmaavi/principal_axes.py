"""The first right singular vectors of transformed counts: exact in memory, by subspace iteration on disk."""

import logging
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA, TruncatedSVD

from .stored import Counts, StoredCounts, row_blocks

MOST_PASSES = 40  # over the file
SETTLED = 1e-4  # relative change of every eigenvalue asked for, from one pass to the next
N_SPARE = 20  # vectors beyond those that are asked for: the last ones turn slowly


def principal_axes(x: Counts, transformed: Callable[[sp.csr_array], sp.csr_array], n_axes: int, centred: bool) -> np.ndarray:
    """Axes of shape (n_columns, n_axes), float32: principal components where ``centred``, else singular vectors."""
    if isinstance(x, StoredCounts):
        axes = _subspace_iteration(x, transformed, n_axes, centred)
    else:
        method = (
            PCA(n_axes, svd_solver="arpack", random_state=0)
            if centred
            else TruncatedSVD(n_axes, algorithm="arpack", random_state=0)
        )
        axes = method.fit(transformed(x)).components_.T
    return np.ascontiguousarray(axes, dtype=np.float32)


def _subspace_iteration(x: StoredCounts, transformed: Callable, n_axes: int, centred: bool) -> np.ndarray:
    n, g = x.shape

    def covariance_times(basis: np.ndarray) -> np.ndarray:
        product, total = np.zeros_like(basis), np.zeros(g)
        for _, block in row_blocks(x):
            values = transformed(block).astype(np.float64)
            product += values.T @ (values @ basis)
            total += values.sum(axis=0)
        return product - centred * np.outer(total, total @ basis) / n

    return leading_eigenvectors(covariance_times, g, n_axes)


def leading_eigenvectors(times: Callable[[np.ndarray], np.ndarray], size: int, n: int) -> np.ndarray:
    """Eigenvectors (size, n) of the largest eigenvalues of a symmetric matrix, by subspace iteration (Halko et al. 2011, 4.4).

    ``times`` gives the matrix times any (size, k): for X'X in blocks of rows, that is one pass over X.
    """
    product = np.random.default_rng(0).normal(size=(size, min(n + N_SPARE, size)))
    before = np.zeros(n)
    for _ in range(MOST_PASSES):
        basis = np.linalg.qr(product)[0]  # (size, k)
        product = times(basis)
        values, vectors = np.linalg.eigh(basis.T @ product)
        largest = values[::-1][:n]
        if (abs(largest - before) <= SETTLED * abs(largest)).all():
            break
        before = largest
    else:
        logging.warning("the last of %d axes have not settled in %d passes over the file", n, MOST_PASSES)
    return basis @ vectors[:, ::-1][:, :n]  # of the largest eigenvalues first

"""The first right singular vectors of transformed counts: exact in memory, by subspace iteration on disk."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA, TruncatedSVD

from .stored import Counts, StoredCounts, row_blocks

N_PASSES = 12  # over the file
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
    """Eigenvectors of X'X (Halko et al. 2011, algorithm 4.4), whose product with a block of vectors takes one pass over X."""
    n, g = x.shape
    q = np.random.default_rng(0).normal(size=(g, min(n_axes + N_SPARE, n, g)))
    for _ in range(N_PASSES):
        basis = np.linalg.qr(q)[0]  # (G, k)
        q, total = np.zeros_like(basis), np.zeros(g)
        for _, block in row_blocks(x):
            values = transformed(block).astype(np.float64)
            q += values.T @ (values @ basis)
            total += values.sum(axis=0)
        if centred:
            q -= np.outer(total, total @ basis) / n
    vectors = np.linalg.eigh(basis.T @ q)[1][:, ::-1]  # of the largest eigenvalues first
    return basis @ vectors[:, :n_axes]

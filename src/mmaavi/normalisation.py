"""Counts at one library size."""

import numpy as np
import scipy.sparse as sp

from .stored import Counts, row_sums

SIGNED = "normal"  # the likelihood of values with a sign: they are never logged


def median_depth(x: Counts) -> float:
    """Median library size of the rows."""
    return float(np.median(row_sums(x)))


def log_normalised(x: sp.csr_array, depth: float, weight: np.ndarray | None = None) -> sp.csr_array:
    """log1p of counts scaled to a library size, times a weight of each feature; rows without a count stay zero."""
    own = x.sum(axis=1)
    per_entry = np.repeat(depth / np.where(own > 0, own, 1), np.diff(x.indptr))
    if weight is not None:
        per_entry = per_entry * weight[x.indices]
    return sp.csr_array((np.log1p(x.data * per_entry), x.indices, x.indptr), shape=x.shape)

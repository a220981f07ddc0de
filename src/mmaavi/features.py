"""What the networks read: log1p counts at one depth, z-scored within each batch, without a dense copy."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .mosaic import Mosaic

LARGEST_Z_SCORE = 10.0
SMALLEST_RELATIVE_SD = 1e-4  # below that a feature is constant, and rounding is all that varies


@dataclass(frozen=True)
class Scaling:
    """Depth normalisation and z-scoring of one modality within each batch, as fitted.

    Attributes
    ----------
    depth
        Library size to which cells are normalised: the median over the cells that have the modality.
    mean, sd
        Of the log1p-normalised counts in each batch; shape (n_batches, n_features). Batches without the modality have
        the average of those that have it.
    log_profile
        Log share of each feature in the counts of a batch (one pseudo-count), same shape: where the decoder's biases start.
    """

    depth: float
    mean: np.ndarray
    sd: np.ndarray
    log_profile: np.ndarray


def fit_scaling(mosaic: Mosaic, batch: np.ndarray, n_batches: int) -> dict[str, Scaling]:
    """Scaling of every modality; ``batch`` numbers each cell's batch."""
    scaling = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        target = median_depth(x[has])
        log = log_normalised(x, target)
        mean, sd, total = (np.zeros((n_batches, x.shape[1])) for _ in range(3))
        known = np.unique(batch[has])
        for b in known:
            total[b] = x[has & (batch == b)].sum(axis=0)
            part = log[has & (batch == b)].astype(np.float64)
            mean[b] = part.mean(axis=0)
            variance = np.maximum((part**2).mean(axis=0) - mean[b] ** 2, 0)
            varies = np.sqrt(variance) > SMALLEST_RELATIVE_SD * np.maximum(mean[b], 1)
            sd[b] = np.where(varies, np.sqrt(variance), 1.0)
        unknown = np.setdiff1d(np.arange(n_batches), known)
        for table in (mean, sd, total):
            table[unknown] = table[known].mean(axis=0)
        log_profile = np.log((total + 1) / (total + 1).sum(axis=1, keepdims=True))
        scaling[m] = Scaling(target, *(table.astype(np.float32) for table in (mean, sd, log_profile)))
    return scaling


def median_depth(x: sp.csr_array) -> float:
    """Median library size of the rows."""
    return float(np.median(x.sum(axis=1)))


def log_normalised(x: sp.csr_array, depth: float) -> sp.csr_array:
    """log1p of counts scaled to a library size; rows without a count stay zero."""
    own = x.sum(axis=1)
    per_entry = np.repeat(depth / np.where(own > 0, own, 1), np.diff(x.indptr))
    return sp.csr_array((np.log1p(x.data * per_entry), x.indices, x.indptr), shape=x.shape)


def scaled_entries(x: sp.csr_array, batch: np.ndarray, scaling: Scaling) -> np.ndarray:
    """For each stored count, its z-score (at most 10) minus the z-score of a zero; float32 of shape (nnz,).

    The z-score of a zero is ``-mean / sd``, one row a batch: the encoder adds it once for all of a cell's features,
    so that the dense input is never made.
    """
    value = log_normalised(x, scaling.depth).data
    b = np.repeat(batch, np.diff(x.indptr))
    zero = -scaling.mean[b, x.indices] / scaling.sd[b, x.indices]
    return (np.minimum(value / scaling.sd[b, x.indices] + zero, LARGEST_Z_SCORE) - zero).astype(np.float32)

"""What the networks read: values of one modality z-scored within each batch, without a dense copy.

Counts are brought to one depth and logged first (``log1p_norm``).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .likelihoods import LIKELIHOODS
from .mosaic import Mosaic

LARGEST_Z_SCORE = 10.0
SMALLEST_RELATIVE_SD = 1e-4  # below that a feature is constant, and rounding is all that varies


@dataclass(frozen=True)
class Scaling:
    """One modality as the networks see it, fitted to a mosaic.

    Attributes
    ----------
    likelihood
        Name of its distribution, a key of :data:`mmaavi.likelihoods.LIKELIHOODS`.
    depth
        Library size to which cells are normalised: the median over the cells that have the modality.
    mean, sd
        Of the transformed values in each batch; shape (n_batches, n_features). Batches without the modality have
        the average of those that have it.
    start
        Where the decoder's biases start, same shape: of the batch's own values, as the likelihood has it.
    known
        Boolean (n_batches,): whether the batch has the modality.
    """

    likelihood: str
    depth: float
    mean: np.ndarray
    sd: np.ndarray
    start: np.ndarray
    known: np.ndarray


def fit_scaling(mosaic: Mosaic, batch: np.ndarray, n_batches: int, depths: dict[str, float] | None = None) -> dict[str, Scaling]:
    """Scaling of every modality; ``batch`` numbers each cell's batch, ``depths`` are given where they are not the median."""
    return {m: _fit_modality(mosaic, m, batch, n_batches, (depths or {}).get(m)) for m in mosaic.modalities}


def _fit_modality(mosaic: Mosaic, modality: str, batch: np.ndarray, n_batches: int, depth: float | None) -> Scaling:
    x, likelihood = mosaic.counts[modality], mosaic.likelihood_of(modality)
    has = mosaic.measured[modality].to_numpy()
    depth = median_depth(x[has]) if depth is None else depth
    values = transformed(x, likelihood, depth)
    mean, sd, start = (np.zeros((n_batches, x.shape[1])) for _ in range(3))
    known = np.isin(np.arange(n_batches), batch[has])
    for b in np.flatnonzero(known):
        start[b] = LIKELIHOODS[likelihood].start(x[has & (batch == b)])
        part = values[has & (batch == b)].astype(np.float64)
        mean[b] = part.mean(axis=0)
        variance = np.maximum((part**2).mean(axis=0) - mean[b] ** 2, 0)
        varies = np.sqrt(variance) > SMALLEST_RELATIVE_SD * np.maximum(abs(mean[b]), 1)
        sd[b] = np.where(varies, np.sqrt(variance), 1.0)
    for table in (mean, sd, start):
        table[~known] = table[known].mean(axis=0)
    return Scaling(likelihood, depth, *(table.astype(np.float32) for table in (mean, sd, start)), known)


def transformed(x: sp.csr_array, likelihood: str, depth: float) -> sp.csr_array:
    """Counts logged at one depth; other values as they are, logged where they are above zero by nature."""
    if likelihood == "normal":
        return x
    return x.log1p() if likelihood == "zero_inflated_log_normal" else log_normalised(x, depth)


def median_depth(x: sp.csr_array) -> float:
    """Median library size of the rows."""
    return float(np.median(x.sum(axis=1)))


def log_normalised(x: sp.csr_array, depth: float) -> sp.csr_array:
    """log1p of counts scaled to a library size; rows without a count stay zero."""
    own = x.sum(axis=1)
    per_entry = np.repeat(depth / np.where(own > 0, own, 1), np.diff(x.indptr))
    return sp.csr_array((np.log1p(x.data * per_entry), x.indices, x.indptr), shape=x.shape)


def scaled_entries(x: sp.csr_array, batch: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's input in two parts: what stored values add, and what zeros give.

    Returns
    -------
    For each stored value, its z-score (at most 10) minus that of a zero, of shape (nnz,); and the z-score of a zero,
    ``-mean / sd``, of shape (n_batches, G). The encoder adds the latter once for all of a cell's features, so that the
    dense input is never made.
    """
    value = transformed(x, scaling.likelihood, scaling.depth).data
    b = np.repeat(batch, np.diff(x.indptr))
    zeros = -scaling.mean / scaling.sd
    zero = zeros[b, x.indices]
    z_score = np.clip(value / scaling.sd[b, x.indices] + zero, -LARGEST_Z_SCORE, LARGEST_Z_SCORE)
    return (z_score - zero).astype(np.float32), zeros

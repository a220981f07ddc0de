"""What the networks read: values of one modality z-scored within each batch, without a dense copy.

Counts are brought to one depth and logged first (``log1p_norm``); for very wide data they are then reduced to a few
dimensions, by PCA (``pca``) or by LSI, which weighs rare features up (``lsi``), fitted across all batches.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA, TruncatedSVD

from .likelihoods import LIKELIHOODS
from .mosaic import Mosaic
from .normalisation import log_normalised, median_depth

LARGEST_Z_SCORE = 10.0
SMALLEST_RELATIVE_SD = 1e-4  # below that a feature is constant, and rounding is all that varies
N_REDUCED = 50
LSI_DEPTH = 1e4


@dataclass(frozen=True)
class Scaling:
    """One modality as the networks see it, fitted to a mosaic.

    Attributes
    ----------
    likelihood
        Name of its distribution, a key of :data:`mmaavi.likelihoods.LIKELIHOODS`.
    depth
        Median library size of the cells that have the modality.
    input_depth
        Library size to which cells are normalised for the encoder: ``depth``, but for LSI.
    weight
        Of each feature before the logarithm, of shape (G,): 1, but for LSI, where it is the inverse document frequency.
    axes
        What values are reduced by, of shape (G, d); with d = 0 they are not.
    mean, sd
        Of the transformed values in each batch; shape (n_batches, G), or (n_batches, d) where they are reduced. Batches
        without the modality have the average of those that have it.
    start
        Where the decoder's biases start, of shape (n_batches, G): of the batch's own values, as the likelihood has it.
    known
        Boolean (n_batches,): whether the batch has the modality.
    """

    likelihood: str
    depth: float
    input_depth: float
    weight: np.ndarray
    axes: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    start: np.ndarray
    known: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.weight)

    @property
    def n_inputs(self) -> int:
        return self.mean.shape[1]

    def transformed(self, x: sp.csr_array) -> sp.csr_array:
        """Counts logged at one depth, reduced where that is wanted; values that are no counts as they are, or logged."""
        if self.likelihood == "normal":
            values = x
        elif self.likelihood == "zero_inflated_log_normal":
            values = x.log1p()
        else:
            values = log_normalised(x, self.input_depth, self.weight)
        return sp.csr_array(values @ self.axes) if self.axes.shape[1] else values


def fit_scaling(mosaic: Mosaic, batch: np.ndarray, n_batches: int) -> dict[str, Scaling]:
    """Scaling of every modality; ``batch`` numbers each cell's batch."""
    scaling = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        unfitted = _unfitted(x[has], mosaic.likelihood_of(m), mosaic.input_of(m))
        scaling[m] = fit_batches(unfitted, x, has, batch, n_batches)
    return scaling


def _unfitted(x: sp.csr_array, likelihood: str, reduction: str) -> Scaling:
    """Scaling that is fitted to the cells x of all batches, but to none of the batches yet."""
    n, g = x.shape
    none = np.zeros((0, g), dtype=np.float32)
    depth = median_depth(x)
    scaling = Scaling(likelihood, depth, depth, np.ones(g, np.float32), none.T[:, :0], none, none, none, np.zeros(0, bool))
    if reduction == "log1p_norm":
        return scaling
    d = min(N_REDUCED, n - 1, g - 1)
    if reduction == "lsi":
        inverse_frequency = np.log1p(n / (1 + np.bincount(x.indices, minlength=g))).astype(np.float32)
        scaling = replace(scaling, input_depth=LSI_DEPTH, weight=inverse_frequency)
        axes = TruncatedSVD(d, algorithm="arpack", random_state=0).fit(scaling.transformed(x)).components_
    else:
        axes = PCA(d, svd_solver="arpack", random_state=0).fit(scaling.transformed(x)).components_
    return replace(scaling, axes=np.ascontiguousarray(axes.T, dtype=np.float32))


def fit_batches(scaling: Scaling, x: sp.csr_array, has: np.ndarray, batch: np.ndarray, n_batches: int) -> Scaling:
    """The scaling with mean, sd and start of each batch.

    Parameters
    ----------
    scaling
        Gives likelihood, depth, weights and axes.
    x, has
        Values (n_cells, G), and which of the cells have the modality (n_cells,).
    batch
        Number of each cell's batch, of shape (n_cells,).
    n_batches
        How many there are.
    """
    values = scaling.transformed(x)
    mean, sd, start = (np.zeros((n_batches, width)) for width in (values.shape[1], values.shape[1], x.shape[1]))
    known = np.isin(np.arange(n_batches), batch[has])
    for b in np.flatnonzero(known):
        start[b] = LIKELIHOODS[scaling.likelihood].start(x[has & (batch == b)])
        part = values[has & (batch == b)].astype(np.float64)
        mean[b] = part.mean(axis=0)
        variance = np.maximum((part**2).mean(axis=0) - mean[b] ** 2, 0)
        varies = np.sqrt(variance) > SMALLEST_RELATIVE_SD * np.maximum(abs(mean[b]), 1)
        sd[b] = np.where(varies, np.sqrt(variance), 1.0)
    for table in (mean, sd, start):
        table[~known] = table[known].mean(axis=0)
    mean, sd, start = (table.astype(np.float32) for table in (mean, sd, start))
    return replace(scaling, mean=mean, sd=sd, start=start, known=known)


def encoder_input(x: sp.csr_array, batch: np.ndarray, scaling: Scaling) -> tuple[sp.csr_array, np.ndarray]:
    """The encoder's input in two parts: what stored values add, and what zeros give.

    Returns
    -------
    For each stored value, its z-score (at most 10) minus that of a zero, in a matrix (n_cells, n_inputs); and the z-score
    of a zero, ``-mean / sd``, of shape (n_batches, n_inputs). The encoder adds the latter once for all of a cell's
    features, so that the dense input is never made.
    """
    values = scaling.transformed(x)
    b = np.repeat(batch, np.diff(values.indptr))
    zeros = -scaling.mean / scaling.sd
    zero = zeros[b, values.indices]
    z_score = np.clip(values.data / scaling.sd[b, values.indices] + zero, -LARGEST_Z_SCORE, LARGEST_Z_SCORE)
    return sp.csr_array(((z_score - zero).astype(np.float32), values.indices, values.indptr), shape=values.shape), zeros

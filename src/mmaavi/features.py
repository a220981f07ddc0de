"""What the networks read: values of one modality z-scored within each batch, only the stored ones.

Counts are brought to one depth and logged first (``log1p_norm``); for very wide data they are then reduced to a few
dimensions, by PCA (``pca``) or by LSI, which weighs rare features up (``lsi``), fitted across all batches.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from .likelihoods import LIKELIHOODS, Totals
from .mosaic import Mosaic
from .normalisation import log_normalised, median_depth
from .principal_axes import principal_axes
from .stored import Counts, column_sizes, row_blocks

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

    @property
    def n_axes(self) -> int:
        """What values are reduced to; 0 where they are not."""
        return self.axes.shape[1]

    @property
    def zeros(self) -> np.ndarray:
        """Z-score of a zero in each batch, of shape (n_batches, n_inputs)."""
        return -self.mean / self.sd

    def transformed(self, x: sp.csr_array) -> sp.csr_array:
        """Counts logged at one depth, reduced where that is wanted; values that are no counts as they are, or logged."""
        if self.likelihood == "normal":
            values = x
        elif self.likelihood == "zero_inflated_log_normal":
            values = sp.csr_array((np.log1p(x.data), x.indices, x.indptr), shape=x.shape)
        else:
            values = log_normalised(x, self.input_depth, self.weight)
        return sp.csr_array(values @ self.axes) if self.n_axes else values


def fit_scaling(mosaic: Mosaic, batch: np.ndarray, n_batches: int) -> dict[str, Scaling]:
    """Scaling of every modality; ``batch`` numbers each cell's batch."""
    scaling = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        unfitted = _unfitted(x[has], mosaic.likelihood_of(m), mosaic.input_of(m))
        scaling[m] = fit_batches(unfitted, x[has], batch[has], n_batches)
    return scaling


def _unfitted(x: Counts, likelihood: str, reduction: str) -> Scaling:
    """Scaling that is fitted to the cells x of all batches, but to none of the batches yet."""
    n, g = x.shape
    none = np.zeros((0, g), dtype=np.float32)
    depth = median_depth(x)
    scaling = Scaling(likelihood, depth, depth, np.ones(g, np.float32), none.T[:, :0], none, none, none, np.zeros(0, bool))
    if reduction == "log1p_norm":
        return scaling
    if reduction == "lsi":
        inverse_frequency = np.log1p(n / (1 + column_sizes(x))).astype(np.float32)
        scaling = replace(scaling, input_depth=LSI_DEPTH, weight=inverse_frequency)
    axes = principal_axes(x, scaling.transformed, min(N_REDUCED, n - 1, g - 1), centred=reduction == "pca")
    return replace(scaling, axes=axes)


def fit_batches(scaling: Scaling, x: Counts, batch: np.ndarray, n_batches: int) -> Scaling:
    """The scaling with mean, sd and start of each batch.

    Parameters
    ----------
    scaling
        Gives likelihood, depth, weights and axes.
    x
        Values of the cells that have the modality, of shape (n_cells, G).
    batch
        Number of each cell's batch, of shape (n_cells,).
    n_batches
        How many there are.
    """
    total, squares = _sums_by_batch(x, scaling.transformed, batch, n_batches, (lambda v: v, np.square))
    n_cells = np.bincount(batch, minlength=n_batches)
    known = n_cells > 0
    n = np.maximum(n_cells, 1)[:, None]
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0)
    varies = np.sqrt(variance) > SMALLEST_RELATIVE_SD * np.maximum(abs(mean), 1)
    sd = np.where(varies, np.sqrt(variance), 1.0)
    sums = _sums_by_batch(x, lambda values: values, batch, n_batches, (lambda v: v, lambda v: v > 0, _log_if_positive))
    start = np.zeros_like(sums[0])
    for b in np.flatnonzero(known):
        start[b] = LIKELIHOODS[scaling.likelihood].start(Totals(n_cells[b], *(table[b] for table in sums)))
    for table in (mean, sd, start):
        table[~known] = table[known].mean(axis=0)
    mean, sd, start = (table.astype(np.float32) for table in (mean, sd, start))
    return replace(scaling, mean=mean, sd=sd, start=start, known=known)


def _sums_by_batch(
    x: Counts, transformed: Callable, batch: np.ndarray, n_batches: int, of: tuple[Callable, ...]
) -> list[np.ndarray]:
    """Sums over each batch of some functions of the stored values (0 at 0), each of shape (n_batches, n_columns), float64."""
    sums = None
    for rows, block in row_blocks(x):
        values = transformed(block)
        n_columns = values.shape[1]
        cell_of_table = np.repeat(batch[rows] * n_columns, np.diff(values.indptr)) + values.indices
        found = values.data.astype(np.float64)
        parts = [np.bincount(cell_of_table, f(found), minlength=n_batches * n_columns) for f in of]
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
    return [table.reshape(n_batches, -1) for table in sums]


def _log_if_positive(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values > 0, values, 1.0))


def encoder_input(x: sp.csr_array, batch: np.ndarray, scaling: Scaling) -> sp.csr_array:
    """What stored values add to the encoder's input: z-score (at most 10) minus that of a zero, (n_cells, n_inputs).

    The z-score of a zero is ``scaling.zeros``; the encoder adds it once for all of a cell's features, which leaves
    what is not stored at zero.
    """
    values = scaling.transformed(x)
    b = np.repeat(batch, np.diff(values.indptr))
    zero = scaling.zeros[b, values.indices]
    z_score = np.clip(values.data / scaling.sd[b, values.indices] + zero, -LARGEST_Z_SCORE, LARGEST_Z_SCORE)
    return sp.csr_array(((z_score - zero).astype(np.float32), values.indices, values.indptr), shape=values.shape)

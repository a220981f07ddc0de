"""PCA of the zero-filled mosaic: what no integration gives.

Input: log-normalised counts of all modalities side by side (values with a sign as they are), centred over the cells that have
the modality; unmeasured entries are zero, that is, the mean. Without centring they are plain zeros, and the modality pattern
dominates: the unintegrated data that the PCR score compares with.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds

from ..mosaic import Mosaic
from ..normalisation import SIGNED, log_normalised, median_depth
from ..principal_axes import leading_eigenvectors
from ..stored import cell_blocks, row_blocks
from . import Result


@dataclass(frozen=True)
class Centring:
    """Of one modality: the library size to which cells are scaled (None: values with a sign stay), and each feature's mean."""

    depth: float | None
    mean: np.ndarray

    def values(self, x: sp.csr_array) -> sp.csr_array:
        return x if self.depth is None else log_normalised(x, self.depth)


def zero_filled(mosaic: Mosaic, centring: dict[str, Centring]) -> LinearOperator:
    """The centred, zero-filled data of shape (n_cells, G): sparse values minus a mean where measured, never made dense."""
    values = sp.hstack([centring[m].values(x) for m, x in mosaic.counts.items()], format="csr")
    measured = mosaic.measured.to_numpy(dtype=float)  # (n_cells, M)
    means = sp.block_diag([centring[m].mean[None] for m in mosaic.modalities], format="csr")  # (M, G)
    return LinearOperator(
        values.shape,
        matvec=lambda v: values @ v - measured @ (means @ v),
        rmatvec=lambda v: values.T @ v - means.T @ (measured.T @ v),
        matmat=lambda v: values @ v - measured @ (means @ v),
        rmatmat=lambda v: values.T @ v - means.T @ (measured.T @ v),
        dtype=np.float64,
    )


def run(mosaic: Mosaic, seed: int, n_latent: int = 30, centred: bool = True) -> Result:
    """The first ``n_latent`` principal components; cells are scaled to the median depth of each modality."""
    centring = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        plain = Centring(None if mosaic.likelihood_of(m) == SIGNED else median_depth(x[has]), np.zeros(x.shape[1]))
        total = sum(plain.values(block).sum(axis=0) for _, block in row_blocks(x))
        centring[m] = replace(plain, mean=total / has.sum() * centred)
    size = sum(mosaic.n_features.values())
    n_latent = min(n_latent, len(mosaic.cells) - 1, size - 1)
    if mosaic.on_disk:

        def covariance_times(v: np.ndarray) -> np.ndarray:
            return sum(part.H.matmat(part.matmat(v)) for part in (zero_filled(cells, centring) for cells in cell_blocks(mosaic)))

        axes = leading_eigenvectors(covariance_times, size, n_latent)
    else:
        _, found, vectors = svds(zero_filled(mosaic, centring), n_latent, rng=np.random.default_rng(seed))
        axes = vectors[np.argsort(-found)].T  # (G, n_latent)

    def embed(cells: Mosaic) -> np.ndarray:
        parts = [zero_filled(part, centring).matmat(axes) for part in cell_blocks(cells)]
        return np.concatenate(parts).astype(np.float32)

    return Result(embedding=embed(mosaic), embed=embed)

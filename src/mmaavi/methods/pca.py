"""PCA of the zero-filled mosaic: what no integration gives.

Input: log-normalised counts of all modalities side by side, centred over the cells that have the modality; unmeasured
entries are zero, that is, the mean. Without centring they are plain zeros, and the modality pattern dominates: the
unintegrated data that the PCR score compares with.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds

from ..mosaic import Mosaic
from ..normalisation import log_normalised, median_depth
from . import Result


@dataclass(frozen=True)
class Centring:
    """Of one modality: the library size to which cells are scaled, and the mean of each feature's log1p values."""

    depth: float
    mean: np.ndarray


def zero_filled(mosaic: Mosaic, centring: dict[str, Centring]) -> LinearOperator:
    """The centred, zero-filled data of shape (n_cells, G): sparse values minus a mean where measured, never made dense."""
    values = sp.hstack([log_normalised(x, centring[m].depth) for m, x in mosaic.counts.items()], format="csr")
    measured = mosaic.measured.to_numpy(dtype=float)  # (n_cells, M)
    means = sp.block_diag([centring[m].mean[None] for m in mosaic.modalities], format="csr")  # (M, G)
    return LinearOperator(
        values.shape,
        matvec=lambda v: values @ v - measured @ (means @ v),
        rmatvec=lambda v: values.T @ v - means.T @ (measured.T @ v),
        matmat=lambda v: values @ v - measured @ (means @ v),
        dtype=np.float64,
    )


def run(mosaic: Mosaic, seed: int, n_latent: int = 30, centred: bool = True) -> Result:
    """The first ``n_latent`` principal components; cells are scaled to the median depth of each modality."""
    centring = {}
    for m, x in mosaic.counts.items():
        x = x[mosaic.measured[m].to_numpy()]
        depth = median_depth(x)
        centring[m] = Centring(depth, log_normalised(x, depth).mean(axis=0) * centred)
    filled = zero_filled(mosaic, centring)
    n_latent = min(n_latent, min(filled.shape) - 1)
    _, size, axes = svds(filled, n_latent, rng=np.random.default_rng(seed))
    axes = axes[np.argsort(-size)].T  # (G, n_latent)

    def embed(cells: Mosaic) -> np.ndarray:
        return zero_filled(cells, centring).matmat(axes).astype(np.float32)

    return Result(embedding=embed(mosaic), embed=embed)

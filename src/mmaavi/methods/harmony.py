"""Harmony (Korsunsky et al. 2019, Nature Methods 16, 1289) on the zero-filled PCA.

Input: the 30 principal components of :mod:`mmaavi.methods.pca` (log-normalised counts): how many is for the user to choose,
here as many as mmAAVI has dimensions. Settings are the defaults of harmonypy 2.1.0 (theta 2, at most 10 rounds), which uses one
thread here.
"""

import numpy as np

from ..mosaic import Mosaic
from . import Result, pca

PACKAGES = ("harmonypy",)
ENVIRONMENT = "peers"


def unsupported(mosaic: Mosaic) -> str | None:
    return "it removes differences between batches, and there is only one" if len(mosaic.batches) < 2 else None


def run(mosaic: Mosaic, seed: int, n_latent: int = 30, theta: float = 2.0, max_iter_harmony: int = 10) -> Result:
    """``n_latent`` is that of the PCA; the others are harmonypy's."""
    from harmonypy import run_harmony

    components = pca.run(mosaic, seed, n_latent).embedding.astype(np.float64)
    options = {"theta": theta, "max_iter_harmony": max_iter_harmony}
    corrected = run_harmony(components, mosaic.obs, "batch", random_state=seed, ncores=1, verbose=False, **options)
    return Result(np.asarray(corrected.result(), dtype=np.float32), settings={"n_latent": n_latent, **options})

"""Control: the rows of the zero-filled PCA in random order. What an embedding without any information scores."""

import numpy as np

from ..mosaic import Mosaic
from . import Result, pca


def run(mosaic: Mosaic, seed: int, n_latent: int = 30) -> Result:
    """Settings are those of :mod:`mmaavi.methods.pca`."""
    embedding = pca.run(mosaic, seed, n_latent).embedding
    return Result(embedding=np.random.default_rng(seed).permutation(embedding))

"""A mosaic with zeros where nothing was measured: how the models of scvi-tools are told that a modality is missing."""

import warnings

import anndata as ad
import mudata as md
import scipy.sparse as sp

from .mosaic import Mosaic


def zero_filled(mosaic: Mosaic) -> md.MuData:
    """Counts of all cells in each modality, in the mosaic's order; ``obs["batch"]`` of each modality names the batch."""
    parts = {}
    for m, x in mosaic.counts.items():
        var = mosaic.var[m][[]].set_axis(mosaic.unique_features(m))
        values = x.toarray() if m == "protein" else sp.csr_matrix(x)  # its mask of missing proteins needs the former
        parts[m] = ad.AnnData(values, obs=mosaic.obs[["batch"]].copy(), var=var)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return md.MuData(parts)


def batches_with(mosaic: Mosaic, modality: str) -> list[str]:
    """Batches in which the modality was measured, sorted."""
    return sorted(mosaic.obs["batch"][mosaic.measured[modality]].unique())

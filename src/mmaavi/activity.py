"""Gene activity: counts of genes where only their peaks were measured, by the guidance graph."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .mosaic import Mosaic


def links_between(mosaic: Mosaic, a: str, b: str) -> sp.csr_array:
    """The guidance graph's block of shape (G_a, G_b); empty without a graph."""
    starts = mosaic.feature_starts
    shape = (mosaic.n_features[a], mosaic.n_features[b])
    if mosaic.guidance is None:
        return sp.csr_array(shape, dtype=np.float32)
    return mosaic.guidance[starts[a] : starts[a] + shape[0], starts[b] : starts[b] + shape[1]]


def measured_with_activity(mosaic: Mosaic, genes: str = "rna", peaks: str = "atac") -> pd.DataFrame:
    """What :func:`with_gene_activity` makes of ``measured``; no count is read for it."""
    if not {genes, peaks} <= set(mosaic.modalities) or not links_between(mosaic, genes, peaks).nnz:
        return mosaic.measured
    return mosaic.measured.assign(**{genes: mosaic.measured[genes] | mosaic.measured[peaks]})


def with_gene_activity(mosaic: Mosaic, genes: str = "rna", peaks: str = "atac") -> Mosaic:
    """The mosaic in which cells with peaks and without genes have, as their genes, the sum over the linked peaks.

    Cells stay as they are where either modality does not exist or no link joins the two. scMoMaT (pseudo-scRNA-seq) and LIGER
    (gene activity) both bridge RNA and ATAC in this way.
    """
    measured = measured_with_activity(mosaic, genes, peaks)
    if measured.equals(mosaic.measured):
        return mosaic
    lacking = (measured[genes] & ~mosaic.measured[genes]).to_numpy()
    activity = mosaic.counts[peaks] @ abs(links_between(mosaic, genes, peaks)).T
    activity = sp.diags_array(lacking.astype(np.float32)) @ activity
    counts = mosaic.counts | {genes: sp.csr_array(mosaic.counts[genes] + activity)}
    return replace(mosaic, counts=counts, measured=measured)

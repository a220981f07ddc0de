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


def lacking_genes(mosaic: Mosaic, genes: str = "rna", peaks: str = "atac") -> np.ndarray:
    """Boolean (n_cells,): cells whose genes can be told from their peaks alone; none where no link joins the two modalities."""
    if not {genes, peaks} <= set(mosaic.modalities) or not links_between(mosaic, genes, peaks).nnz:
        return np.zeros(len(mosaic.cells), dtype=bool)
    return (mosaic.measured[peaks] & ~mosaic.measured[genes]).to_numpy()


def measured_with_activity(mosaic: Mosaic, genes: str = "rna", peaks: str = "atac") -> pd.DataFrame:
    """What :func:`with_gene_activity` makes of ``measured``; no count is read for it."""
    lacking = lacking_genes(mosaic, genes, peaks)
    return mosaic.measured.assign(**{genes: mosaic.measured[genes] | lacking}) if lacking.any() else mosaic.measured


def with_gene_activity(mosaic: Mosaic, genes: str = "rna", peaks: str = "atac") -> Mosaic:
    """The mosaic in which cells with peaks and without genes have, as their genes, the sum over the linked peaks.

    Cells stay as they are where either modality does not exist or no link joins the two. scMoMaT (pseudo-scRNA-seq) and LIGER
    (gene activity) both bridge RNA and ATAC in this way.
    """
    lacking = lacking_genes(mosaic, genes, peaks)
    if not lacking.any():
        return mosaic
    activity = mosaic.counts[peaks] @ abs(links_between(mosaic, genes, peaks)).T
    activity = sp.diags_array(lacking.astype(np.float32)) @ activity
    counts = mosaic.counts | {genes: sp.csr_array(mosaic.counts[genes] + activity)}
    return replace(mosaic, counts=counts, measured=measured_with_activity(mosaic, genes, peaks))

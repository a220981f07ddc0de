"""UINMF (Kriebel & Welch 2022, Nature Communications 13, 780): LIGER with unshared features, written here from the paper.

Input: counts at one depth, scaled within each batch by the root mean square of each feature and not centred. Batches with
ATAC and no RNA get gene activity from the guidance graph, as LIGER does. Features that all batches then have are shared, the
others unshared. Defaults are those of rliger 2's ``runUINMF`` and ``quantileNorm``: 20 factors, lambda 5, 30 iterations, 50
quantiles, 20 neighbours.
"""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..activity import measured_with_activity, with_gene_activity
from ..factorisation import quantile_align, uinmf
from ..mosaic import Mosaic
from . import Result, no_counts


def unsupported(mosaic: Mosaic) -> str | None:
    if not measured_with_activity(mosaic).all().any():
        return "no modality is shared by all batches, not even as gene activity"
    return no_counts(mosaic)


def scaled(x: sp.csr_array) -> sp.csr_array:
    """Shares of each cell, over the root mean square of each feature; features without a count stay zero."""
    depth = x.sum(axis=1)
    x = sp.csr_array(sp.diags_array(1 / np.where(depth > 0, depth, 1)) @ x)
    square = np.sqrt((x**2).sum(axis=0) / max(x.shape[0] - 1, 1))
    return sp.csr_array(x @ sp.diags_array(1 / np.where(square > 0, square, 1)))


def run(mosaic: Mosaic, seed: int, k: int = 20, penalty: float = 5.0, n_iterations: int = 30) -> Result:
    """``k`` factors, weight ``penalty`` (lambda) of the batches' own loadings, and rounds of updates."""
    bridged = with_gene_activity(mosaic)
    everywhere = [m for m in bridged.modalities if bridged.measured[m].all()]
    groups = bridged.groups.to_numpy()
    shared, unshared, rows = [], [], []
    for name in sorted(set(groups)):
        cells = np.flatnonzero(groups == name)
        has = bridged.measured.iloc[cells[0]]
        values = {m: scaled(x[cells]) for m, x in bridged.counts.items() if has[m]}
        nothing = sp.csr_array((len(cells), 0))
        own = [values[m] for m in values if m not in everywhere]
        shared.append(sp.hstack([values[m] for m in everywhere], format="csr"))
        unshared.append(sp.hstack(own, format="csr") if own else nothing)
        rows.append(cells)
    found = uinmf(shared, unshared, k, penalty, n_iterations, seed)
    embedding = np.empty((len(mosaic.cells), k), dtype=np.float32)
    for cells, factors in zip(rows, quantile_align([h.T for h in found.h]), strict=True):
        embedding[cells] = factors
    history = pd.DataFrame({"epoch": range(n_iterations), "phase": "train", "total": found.objectives})
    return Result(embedding, settings={"k": k, "penalty": penalty, "n_iterations": n_iterations}, history=history)

"""Datasets of a mosaic, which of them share features, and values carried from one to the next by least squares (StabMap)."""

from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.utils.sparsefuncs import mean_variance_axis

from .mosaic import Mosaic
from .normalisation import log_normalised

Moments = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Dataset:
    """Cells measured alike.

    Attributes
    ----------
    rows
        Their rows in the mosaic.
    values
        Shape (n, G), over all modalities, each feature over its ``sd``.
    has
        The features that they have, of shape (G,).
    mean
        What is taken from ``values`` before they are used, of shape (G,): they stay sparse.
    sd
        What each feature was divided by, of shape (G,).
    """

    rows: np.ndarray
    values: sp.csr_array
    has: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def moments_of(mosaic: Mosaic, depth: dict[str, float]) -> Moments:
    """Batch -> mean and standard deviation of each feature, of shape (G,), nan where it was not measured.

    ``depth`` is the library size of each modality.
    """
    found = {}
    for batch in mosaic.batches:
        parts = []
        for m, x in mosaic.counts.items():
            rows = (mosaic.measured[m] & (mosaic.obs["batch"] == batch)).to_numpy()
            if rows.any():
                values = log_normalised(x[rows], depth[m]).astype(np.float64)
                mean, variance = mean_variance_axis(values, axis=0)
                parts.append((mean, np.sqrt(variance)))
            else:
                parts.append(np.full((2, x.shape[1]), np.nan))
        found[batch] = tuple(np.hstack(parts))
    return found


def completed(known: Moments, own: Moments) -> Moments:
    """The moments of ``own``, but those that are known where there are any."""
    return {
        batch: tuple(np.where(np.isnan(old), new, old) for old, new in zip(known.get(batch, found), found, strict=True))
        for batch, found in own.items()
    }


def datasets_of(mosaic: Mosaic, depth: dict[str, float], moments: Moments | None) -> dict[str, Dataset]:
    """The datasets by name, sorted; with ``moments``, features are centred and scaled by those of their batch.

    Features that do not vary there are left out.
    """
    values = sp.hstack([log_normalised(x, depth[m]) for m, x in mosaic.counts.items()], format="csr")
    measured = np.repeat(mosaic.measured.to_numpy(), list(mosaic.n_features.values()), axis=1)
    plain = (np.zeros(values.shape[1]), np.ones(values.shape[1]))
    found = {}
    for name, rows in pd.Series(np.arange(len(mosaic.cells))).groupby(mosaic.groups.to_numpy()):
        mean, sd = moments[mosaic.obs["batch"].iloc[rows.iloc[0]]] if moments else plain
        has = measured[rows.iloc[0]] & (sd > 0)
        sd = np.where(has, sd, 1)
        scaled = sp.csr_array(values[rows.to_numpy()] @ sp.diags_array(1 / sd))
        found[name] = Dataset(rows.to_numpy(), scaled, has, np.where(has, mean / sd, 0), sd)
    return found


def topology(datasets: dict[str, Dataset]) -> nx.Graph:
    """Datasets that share features, joined; a path's cost is its hops, and less than one hop more the less its ends share."""
    graph = nx.Graph()
    graph.add_nodes_from(datasets)
    for a in datasets:
        for b in datasets:
            shared = int((datasets[a].has & datasets[b].has).sum())
            if a < b and shared:
                graph.add_edge(a, b, cost=1 + 1 / ((shared + 1) * len(datasets)))
    return graph


def pca(x, n: int) -> PCA:
    n = min(n, *(size - 1 for size in x.shape))
    return PCA(n, svd_solver="arpack", random_state=0).fit(x)


def hop(start: Dataset, end: Dataset, scores: np.ndarray, last: bool, n_subset: int, max_features: int) -> np.ndarray:
    """Scores of the cells of ``end``, from those of ``start`` (n, k) by least squares on what both datasets have.

    What they have is reduced to ``n_subset`` principal components of ``start``; in the ``last`` hop its ``max_features`` most
    variable features, before they were scaled, are read as they are, where there are more cells than these.
    """
    shared = np.flatnonzero(start.has & end.has)
    known, asked = start.values[:, shared], end.values[:, shared]
    if last and len(start.rows) > min(len(shared), max_features) + 1:
        variance = mean_variance_axis(known, axis=0)[1] * start.sd[shared] ** 2
        chosen = np.sort(np.argsort(-variance, kind="stable")[:max_features])
        known, asked = (x[:, chosen].toarray() - of.mean[shared[chosen]] for x, of in ((known, start), (asked, end)))
    else:
        axes = pca(known, n_subset).components_.T  # (n_shared, n_subset)
        known, asked = (x @ axes - of.mean[shared] @ axes for x, of in ((known, start), (asked, end)))
    known, asked = (np.column_stack([np.ones(len(x)), x]).astype(np.float64) for x in (known, asked))
    return asked @ np.linalg.lstsq(known, scores, rcond=None)[0]


def carry(path: list[Dataset], scores: np.ndarray, n_subset: int = 50, max_features: int = 1000) -> np.ndarray:
    """Scores (n, k) of the first dataset's cells, carried along a path to those of its last one."""
    for i, (start, end) in enumerate(pairwise(path)):
        scores = hop(start, end, scores, i == len(path) - 2, n_subset, max_features)
    return scores

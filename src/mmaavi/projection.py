"""Datasets of a mosaic, which of them share features, and values carried from one to the next by least squares (StabMap)."""

from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.decomposition import PCA

from .mosaic import Mosaic
from .normalisation import log_normalised


@dataclass(frozen=True)
class Dataset:
    """Cells measured alike: their rows in the mosaic, values (n, G) over all modalities, and the features that they have (G,)."""

    rows: np.ndarray
    values: sp.csr_array
    has: np.ndarray


def datasets_of(mosaic: Mosaic, depth: dict[str, float]) -> dict[str, Dataset]:
    """The datasets by name, sorted; ``depth`` is the library size of each modality."""
    values = sp.hstack([log_normalised(x, depth[m]) for m, x in mosaic.counts.items()], format="csr")
    groups = pd.Series(np.arange(len(mosaic.cells))).groupby(mosaic.groups.to_numpy())
    has = np.repeat(mosaic.measured.to_numpy(), list(mosaic.n_features.values()), axis=1)
    return {name: Dataset(rows.to_numpy(), values[rows.to_numpy()], has[rows.iloc[0]]) for name, rows in groups}


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
    variable features are read as they are, where there are more cells than these.
    """
    shared = np.flatnonzero(start.has & end.has)
    known, asked = start.values[:, shared], end.values[:, shared]
    if last and len(start.rows) > min(len(shared), max_features) + 1:
        variance = (known**2).mean(axis=0) - known.mean(axis=0) ** 2
        chosen = np.sort(np.argsort(-variance, kind="stable")[:max_features])
        known, asked = known[:, chosen].toarray(), asked[:, chosen].toarray()
    else:
        axes = pca(known, n_subset)
        known, asked = axes.transform(known), axes.transform(asked)
    known, asked = (np.column_stack([np.ones(len(x)), x]).astype(np.float64) for x in (known, asked))
    return asked @ np.linalg.lstsq(known, scores, rcond=None)[0]


def carry(path: list[Dataset], scores: np.ndarray, n_subset: int = 50, max_features: int = 1000) -> np.ndarray:
    """Scores (n, k) of the first dataset's cells, carried along a path to those of its last one."""
    for i, (start, end) in enumerate(pairwise(path)):
        scores = hop(start, end, scores, i == len(path) - 2, n_subset, max_features)
    return scores

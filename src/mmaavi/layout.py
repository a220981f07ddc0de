"""Embeddings for the eye: a layout in two dimensions, and clusters, of the same nearest neighbours."""

import random

import igraph
import numpy as np
import pandas as pd
from umap import UMAP

from .metrics import neighbours

N_NEIGHBOURS = 15
RESOLUTION = 1.0


def umap_and_clusters(x: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """``x, y`` of a UMAP and the ``cluster`` of each cell, by cell id.

    Clusters are Leiden's (Traag et al. 2019) at resolution 1 on the graph of 15 nearest cells, numbered by size from 1.

    Parameters
    ----------
    x
        Cell states, of shape (n_cells, d).
    cells
        Their ids.
    """
    near = neighbours(x, min(N_NEIGHBOURS, len(x)))  # exact, and without a minute of compilation
    layout = UMAP(n_neighbors=N_NEIGHBOURS, min_dist=0.5, precomputed_knn=(near.indices, near.distances), random_state=0)
    places = pd.DataFrame(layout.fit_transform(x), index=cells, columns=["x", "y"])
    edges = np.column_stack([np.repeat(near.indices[:, 0], near.indices.shape[1] - 1), near.indices[:, 1:].ravel()])
    graph = igraph.Graph(n=len(x), edges=np.unique(np.sort(edges, axis=1), axis=0))
    igraph.set_random_number_generator(random.Random(0))
    found = graph.community_leiden("modularity", resolution=RESOLUTION, n_iterations=5)
    member = pd.Series(found.membership, index=cells)
    by_size = {cluster: i + 1 for i, cluster in enumerate(member.value_counts().index)}
    return places.assign(cluster=member.map(by_size))

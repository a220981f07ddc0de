"""StabMap (Ghazanfar et al. 2023, Nature Biotechnology 42, 284): stabilised mosaic projection, written here from the paper.

Input: log-normalised counts of all modalities, each feature centred and scaled in its batch. Cells of one batch and modality
pattern are a dataset; datasets that share features are neighbours in the mosaic topology. Every dataset is a reference in
turn: its principal components (and, with labels, its linear discriminants) are carried to each other dataset along the
shortest path, by least squares on the features that two neighbours share. Of paths with as few hops, the one whose neighbours
share most features is taken. Defaults are those of the authors' R package: 50 components, of references and of shared
features alike; at most 1000 features, the most variable, in the last hop (the components too where there are fewer cells than
features, so that least squares has one solution); references weigh alike; 5 neighbours to impute. Two things are simpler than
there: features are ranked by their variance before scaling, not by its excess over a trend, and discriminants are those of
the components, not of the features.
"""

import networkx as nx
import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..imputation import knn_imputed
from ..mosaic import Mosaic
from ..normalisation import median_depth
from ..projection import carry, completed, datasets_of, moments_of, pca, topology
from . import Result, no_counts

N_NEIGHBOURS = 5


def unsupported(mosaic: Mosaic) -> str | None:
    masks = mosaic.measured.drop_duplicates().to_numpy(dtype=int)
    if not nx.is_connected(nx.from_numpy_array(masks @ masks.T)):
        return "some batches share no features with others, not even through a third"
    return no_counts(mosaic)


def run(
    mosaic: Mosaic,
    seed: int,
    labels: pd.Series | None = None,
    n_reference: int = 50,
    n_subset: int = 50,
    max_features: int = 1000,
    scale: bool = True,
) -> Result:
    """``labels``, where they are handed over, add discriminants to the references; nothing is drawn at random."""
    depth = {m: median_depth(x[mosaic.measured[m].to_numpy()]) for m, x in mosaic.counts.items()}
    moments = moments_of(mosaic, depth) if scale else None
    known = datasets_of(mosaic, depth, moments)
    spaces = {}  # name of a reference -> transformations of its values to scores
    for name, data in known.items():
        spaces[name] = [pca(data.values[:, data.has], n_reference).transform]
        label = pd.Series(index=mosaic.cells[data.rows]) if labels is None else labels.reindex(mosaic.cells[data.rows])
        if label.nunique() > 1:
            has = label.notna().to_numpy()
            lda = LinearDiscriminantAnalysis().fit(spaces[name][0](data.values[:, data.has])[has], label[has])
            spaces[name].append(lambda x, lda=lda, reduce=spaces[name][0]: lda.transform(reduce(x)))

    def embed(cells: Mosaic) -> np.ndarray:
        if cells is mosaic:
            asked = known
        else:
            asked = datasets_of(cells, depth, moments and completed(moments, moments_of(cells, depth)))
        blocks = []
        for reference, data in known.items():
            for space in spaces[reference]:
                own = space(data.values[:, data.has])
                block = np.empty((len(cells.cells), own.shape[1]))
                for name, target in asked.items():
                    everyone = known | {name: target}
                    path = [everyone[stop] for stop in nx.shortest_path(topology(everyone), reference, name, weight="cost")]
                    block[target.rows] = (
                        space(target.values[:, data.has]) if len(path) == 1 else carry(path, own, n_subset, max_features)
                    )
                blocks.append(block)
        return np.hstack(blocks)

    embedding = embed(mosaic)
    centre = embedding.mean(axis=0)
    embedding = embedding - centre

    def impute(cells: Mosaic, modality: str) -> np.ndarray:
        return knn_imputed(mosaic, embedding, cells.cells, modality, N_NEIGHBOURS)

    settings = {"n_reference": n_reference, "n_subset": n_subset, "max_features": max_features, "scale": scale}
    return Result(embedding, settings=settings, embed=lambda cells: embed(cells) - centre, impute=impute)

"""Scores of imputed modalities against what was hidden, and imputation by nearest neighbours in any embedding."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from .methods import Result
from .mosaic import Mosaic
from .normalisation import SIGNED, log_normalised
from .scores import Score, attempt
from .stored import in_memory, row_blocks

N_NEIGHBOURS = 15
MOST_CELLS = 1000  # scored, drawn at random where more were hidden
FEATURES_AT_ONCE = 2000
MEAN = "mean profile"  # the baseline: every cell gets the mean of all measured cells


def imputation_scores(mosaic: Mosaic, truth: Mosaic, result: Result, seed: int = 0) -> list[Score]:
    """How well hidden modalities are imputed in the cells that lost them.

    Parameters
    ----------
    mosaic
        What the method saw.
    truth
        What was hidden, in the cells that lost it.
    result
        Of the method; where it cannot impute, a cell gets the mean of its 15 nearest cells that have the modality.
    seed
        Of the draw of cells.

    Returns
    -------
    For each modality, and for the mean profile of the measured cells as baseline: ``impute_feature``, the Spearman
    correlation over cells, averaged over features (that of a constant is 0); ``impute_cell``, over features, averaged over
    cells; ``impute_auroc``, of telling values above zero from zeros in a cell, averaged over cells. Counts are compared as
    shares of their cell's, real ones after log1p. A note says where they are of some of the cells.
    """
    scores = []
    for m in mosaic.modalities:
        hidden = np.flatnonzero(truth.measured[m])
        if len(hidden) < 2:
            continue
        note = f"of {MOST_CELLS:,} cells" if len(hidden) > MOST_CELLS else ""
        hidden = np.sort(np.random.default_rng(seed).permutation(hidden)[:MOST_CELLS])
        known = mosaic.take(truth.cells[hidden])
        values = in_memory(truth.counts[m][hidden])
        real = values if mosaic.likelihood_of(m) == SIGNED else log_normalised(values, 1e4)
        imputed = result.impute(known, m) if result.impute else knn_imputed(mosaic, result.embedding, known.cells, m)
        imputed = _shares(imputed, mosaic.likelihood_of(m))  # some methods give a cell's own depth, others all cells the same
        found = _scores(m, real, imputed)
        shares = (_shares(block, mosaic.likelihood_of(m)) for _, block in row_blocks(mosaic.counts[m]))
        profile = sum(block.sum(axis=0) for block in shares) / mosaic.measured[m].sum()
        found += _scores(f"{m}: {MEAN}", real, np.broadcast_to(profile, real.shape))
        scores += [replace(score, note=score.note or note) for score in found]
    return scores


def knn_imputed(
    mosaic: Mosaic, embedding: np.ndarray, cells: pd.Index, modality: str, n_neighbours: int = N_NEIGHBOURS
) -> np.ndarray:
    """Mean share of each feature in the nearest cells that have the modality, of shape (len(cells), G_m); its mean value where
    values have a sign.
    """
    has = mosaic.measured[modality].to_numpy()
    model = NearestNeighbors(n_neighbors=min(n_neighbours, int(has.sum())), algorithm="brute").fit(embedding[has])
    near = model.kneighbors(embedding[mosaic.cells.get_indexer(cells)], return_distance=False)  # (n, k)
    n, k = near.shape
    used, place = np.unique(near, return_inverse=True)  # all that is read of the modality
    average = sp.csr_array((np.full(n * k, 1 / k), place.ravel(), np.arange(0, n * k + 1, k)), shape=(n, len(used)))
    values = in_memory(mosaic.counts[modality][np.flatnonzero(has)[used]])
    return (average @ _shares(values, mosaic.likelihood_of(modality))).toarray()


def _shares(x: sp.csr_array | np.ndarray, likelihood: str) -> sp.csr_array | np.ndarray:
    """Each row over its sum; values with a sign, which have no depth, as they are."""
    if likelihood == SIGNED:
        return x
    return sp.diags_array(1 / np.maximum(x.sum(axis=1), 1e-12)) @ x


def _scores(group: str, real: sp.csr_array, imputed: np.ndarray) -> list[Score]:
    return [
        attempt("impute_feature", lambda: _by_feature(real, imputed), group),
        attempt("impute_cell", lambda: np.mean(_spearman(real.toarray(), imputed)), group),
        attempt("impute_auroc", lambda: _auroc(real, imputed), group),
    ]


def _by_feature(real: sp.csr_array, imputed: np.ndarray) -> float:
    """Mean over the features that vary at all."""
    columns = real.tocsc()
    found = []
    for start in range(0, real.shape[1], FEATURES_AT_ONCE):
        part = slice(start, start + FEATURES_AT_ONCE)
        truth = columns[:, part].toarray().T
        varies = truth.std(axis=1) > 0
        found.append(_spearman(truth[varies], imputed[:, part].T[varies]))
    return float(np.mean(np.concatenate(found)))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation of each row of ``a`` with that of ``b``, 0 where one is constant; shape (n_rows,)."""
    x, y = (rankdata(v, axis=1) for v in (a, b))
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(x)), where=norm > 0)


def _auroc(real: sp.csr_array, imputed: np.ndarray) -> float:
    rows = [(real[[i]].toarray()[0] > 0, imputed[i]) for i in range(real.shape[0])]
    return float(np.mean([roc_auc_score(present, value) for present, value in rows if 0 < present.sum() < len(present)]))

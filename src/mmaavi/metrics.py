"""Integration scores: scib-metrics' functions called one by one, and what a mosaic needs beside them.

An undefined score is missing with its reason, and never stops the others.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from unittest import mock

import numpy as np
import pandas as pd
import scib_metrics
from scib_metrics.nearest_neighbors import NeighborsResults, pynndescent
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from .scores import AGGREGATES, BATCH, BIO, TRUTH, Score, attempt, no_scores

BIO_SHARE = 0.6  # of the total, as scib-metrics weighs it

MOST_EXACT = 50_000  # cells; of more, neighbours are approximate, and scores that compare all pairs are of a sample
N_SAMPLED = 20_000
MOST_NEIGHBOURS = 90  # of a cell, for the LISI scores
N_NEIGHBOURS = {"kbet": 50, "clusters": 15, "transfer": 15}
MATCHES_ALLOWED = 10


def integration_scores(
    embedding: np.ndarray, labels: np.ndarray | None, batch: np.ndarray, pattern: np.ndarray, unintegrated: np.ndarray
) -> list[Score]:
    """Bio conservation, batch correction and their total, as scib-metrics (Luecken et al. 2022) computes them.

    Of more than 50,000 cells, neighbours are approximate, and the scores that compare all pairs, and label transfer, are those of
    20,000, with the same share of each label in each batch; notes say which.

    Parameters
    ----------
    embedding, unintegrated
        Shapes (n_cells, d) and (n_cells, d'); the latter is the zero-filled PCA that PCR compares with.
    labels, batch, pattern
        Cell type, batch and modality pattern of each cell, of shape (n_cells,). Without labels (None) the scores that need
        them are missing.
    """
    x = np.ascontiguousarray(embedding, dtype=np.float32)
    if len(x) <= MOST_NEIGHBOURS:
        return no_scores(f"{len(x)} cells with a label are too few: more than {MOST_NEIGHBOURS} are needed")
    near = neighbours(x, MOST_NEIGHBOURS)
    clusters = near.subset_neighbors(N_NEIGHBOURS["clusters"])
    scores = [
        attempt("ilisi", lambda: _several(scib_metrics.ilisi_knn, near, batch, "batch")),
        attempt("ilisi_pattern", lambda: _several(scib_metrics.ilisi_knn, near, pattern, "modality pattern")),
        attempt("pcr", lambda: scib_metrics.pcr_comparison(unintegrated, x, batch, categorical=True)),
    ]
    if labels is None:
        asked = [m for m in [*BIO, *BATCH, "label_transfer"] if m not in {s.metric for s in scores}]
        scores += [Score(m, "all", np.nan, "the dataset has no labels") for m in asked]
        return scores + aggregates(scores)
    part = sampled(labels, batch)
    x_part, labels_part, batch_part = x[part], labels[part], batch[part]
    near_part = near if len(part) == len(x) else neighbours(x_part, N_NEIGHBOURS["kbet"])
    pairwise = [
        attempt("isolated_labels", lambda: scib_metrics.isolated_labels(x_part, labels_part, batch_part)),
        attempt("silhouette_label", lambda: scib_metrics.silhouette_label(x_part, labels_part)),
        attempt("bras", lambda: scib_metrics.bras(x_part, labels_part, batch_part)),
        attempt("kbet", lambda: _kbet(near_part.subset_neighbors(N_NEIGHBOURS["kbet"]), labels_part, batch_part)),
        *label_transfer(x_part, labels_part, batch_part),
    ]
    scores += [
        *_leiden(clusters, labels),
        attempt("clisi", lambda: scib_metrics.clisi_knn(near, labels)),
        attempt("graph_connectivity", lambda: scib_metrics.graph_connectivity(clusters, labels)),
        *pairwise,
    ]
    scores += [*aggregates(scores), *label_purity(clusters, labels)]
    if len(part) == len(x):
        return scores
    by_pairs = f"of {len(part):,} of {len(x):,} cells"
    notes = {s.metric: by_pairs for s in pairwise} | dict.fromkeys(AGGREGATES, f"partly {by_pairs}") | {"pcr": ""}
    return [replace(s, note="; ".join(filter(None, (s.note, notes.get(s.metric, "approximate neighbours"))))) for s in scores]


def sampled(labels: np.ndarray, batch: np.ndarray, seed: int = 0) -> np.ndarray:
    """Positions of the cells that scores of all pairs are made of, sorted; of each label in each batch the same share."""
    if len(labels) <= MOST_EXACT:
        return np.arange(len(labels))
    stratum = pd.Series(labels).groupby([labels, batch]).ngroup()
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = pd.Series(order).groupby(stratum.to_numpy()[order]).cumcount()  # of each cell among those of its stratum
    size = stratum.value_counts().reindex(stratum.to_numpy()[order]).to_numpy()
    return np.sort(order[rank.to_numpy() < np.ceil(size * N_SAMPLED / len(labels))])


def neighbours(x: np.ndarray, n_neighbors: int) -> NeighborsResults:
    """The nearest cells of each cell, itself first: by brute force, exact and without a minute of compilation, but for many."""
    if len(x) > MOST_EXACT:
        return pynndescent(x, n_neighbors, random_state=0, n_jobs=1)
    model = NearestNeighbors(n_neighbors=min(n_neighbors, len(x)), algorithm="brute").fit(x)
    distances, indices = model.kneighbors(x)
    return NeighborsResults(indices=indices, distances=distances)


def _several(function: Callable, near: NeighborsResults, groups: np.ndarray, what: str) -> float:
    if len(np.unique(groups)) < 2:
        raise ValueError(f"all cells have one {what}")
    return function(near, groups)


def _kbet(near: NeighborsResults, labels: np.ndarray, batch: np.ndarray) -> float:
    with mock.patch.object(scib_metrics.nearest_neighbors, "pynndescent", neighbours):  # in its diffusion space
        return scib_metrics.kbet_per_label(near, batch, labels)


def _leiden(near: NeighborsResults, labels: np.ndarray) -> list[Score]:
    try:
        both = scib_metrics.nmi_ari_cluster_labels_leiden(near, labels, optimize_resolution=True, seed=0)
    except Exception as error:  # noqa: BLE001 - as in `attempt`
        return [Score(m, "all", np.nan, f"{type(error).__name__}: {error}") for m in ("leiden_nmi", "leiden_ari")]
    return [Score(f"leiden_{name}", "all", float(both[name])) for name in ("nmi", "ari")]


def aggregates(scores: list[Score]) -> list[Score]:
    """Means of the two families over the scores that are defined, and the total (0.6 bio + 0.4 batch)."""
    value = {s.metric: s.value for s in scores}

    def mean(name: str, family: dict[str, str]) -> Score:
        missing = [m for m in family if not np.isfinite(value[m])]
        known = [value[m] for m in family if m not in missing]
        return Score(name, "all", float(np.mean(known)) if known else np.nan, f"without {', '.join(missing)}" if missing else "")

    bio, batch = mean("bio", BIO), mean("batch", BATCH)
    note = "; ".join(s.note for s in (bio, batch) if s.note)
    return [bio, batch, Score("total", "all", BIO_SHARE * bio.value + (1 - BIO_SHARE) * batch.value, note)]


def label_transfer(embedding: np.ndarray, labels: np.ndarray, batch: np.ndarray) -> list[Score]:
    """Balanced accuracy of labels carried by nearest neighbours from each batch to all others, and the mean of these."""
    scores = []
    for reference in np.unique(batch):
        known = batch == reference

        def transfer(known: np.ndarray = known) -> float:
            shared = np.isin(labels, np.unique(labels[known]))
            if known.all() or not (shared & ~known).any():
                raise ValueError("no other batch shares a label with this one")
            n = min(N_NEIGHBOURS["transfer"], int(known.sum()))
            model = KNeighborsClassifier(n).fit(embedding[known], labels[known])
            asked = shared & ~known
            return _balanced_accuracy(labels[asked], model.predict(embedding[asked]))

        scores.append(attempt("label_transfer", transfer, f"from {reference}"))
    values = [s.value for s in scores if np.isfinite(s.value)]
    mean = (
        Score("label_transfer", "all", float(np.mean(values)))
        if values
        else Score("label_transfer", "all", np.nan, scores[0].note)
    )
    return [*scores, mean]


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the labels that occur in ``truth``."""
    return float(np.mean([(predicted[truth == label] == label).mean() for label in np.unique(truth)]))


def label_purity(near: NeighborsResults, labels: np.ndarray) -> list[Score]:
    """For each label, the mean share of its cells' nearest cells that have it too: how far a population is kept apart."""
    same = (labels[near.indices[:, 1:]] == labels[:, None]).mean(axis=1)
    return [Score("purity", str(label), float(same[labels == label].mean())) for label in np.unique(labels)]


def matching_scores(halves: dict[str, np.ndarray], hidden: dict[str, np.ndarray]) -> list[Score]:
    """How near the halves of each cell are, each embedded from one modality without the others.

    Only cells that the method never saw with both halves count.

    Parameters
    ----------
    halves
        Modality -> embeddings of the same cells in the same order, of shape (n_cells, d); NaN rows where a cell has none.
    hidden
        Modality -> boolean (n_cells,): where it was hidden from the method.

    Returns
    -------
    For each pair of modalities, and their mean: ``foscttm``, the share of the other cells that are closer than the true
    match, averaged over both directions (0 is perfect, 0.5 is chance); ``matching``, the share of cells whose true match
    is among the ten nearest. Computed in blocks. Where not all cells with something hidden were embedded, notes say so.
    """
    scores = []
    embedded = np.any([np.isfinite(x).all(axis=1) for x in halves.values()], axis=0)
    some = bool((np.any(list(hidden.values()), axis=0) & ~embedded).any())
    for (a, x), (b, y) in combinations(halves.items(), 2):
        both = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1) & (hidden[a] | hidden[b])
        if both.any():
            ranks = np.concatenate([_ranks_of_match(x[both], y[both]), _ranks_of_match(y[both], x[both])])
            note = f"of {both.sum():,} cells" if some else ""
            scores.append(Score("foscttm", f"{a} - {b}", float(ranks.mean() / max(both.sum() - 1, 1)), note))
            scores.append(Score("matching", f"{a} - {b}", float((ranks < MATCHES_ALLOWED).mean()), note))
    note = "of some cells" if some else ""
    means = [Score(m, "all", float(np.mean([s.value for s in scores if s.metric == m])), note) for m in TRUTH if scores]
    return scores + means


def _ranks_of_match(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each row of x, how many rows of y are closer to it than the row of its own number."""

    def rank(distances: np.ndarray, start: int) -> np.ndarray:
        own = distances[np.arange(len(distances)), start + np.arange(len(distances))]
        return (distances < own[:, None]).sum(axis=1)

    return np.concatenate(list(pairwise_distances_chunked(x, y, reduce_func=rank, working_memory=256)))

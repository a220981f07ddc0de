"""Links between features of two modalities, scored by their embeddings (after Cao & Gao 2022), with a permutation null."""

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from .errors import InputError, listing

MOST_PAIRS = 5_000_000


def links(
    source: pd.DataFrame, target: pd.DataFrame, pairs: pd.DataFrame | None, rng: np.random.Generator, n_null: int = 100_000
) -> pd.DataFrame:
    """Score pairs of features by the cosine of their embeddings, less the mean embedding of their modality.

    What all features of a modality share says nothing of a pair.

    Parameters
    ----------
    source, target
        Feature embeddings of the two modalities, features x n_latent.
    pairs
        The columns ``source`` and ``target``: pairs to score, such as the peaks near a gene; by default all pairs.
    rng
        Source of the null.
    n_null
        Pairs of the null: sources and targets of ``pairs``, put together at random.

    Returns
    -------
    ``source, target, score`` in [-1, 1], ``p_value`` (share of the null that scores at least as high, one pseudo-count) and
    ``fdr`` (Benjamini & Hochberg 1995), best first.

    Raises
    ------
    InputError
        If a pair names an unknown feature.
    """
    if pairs is None and len(source) * len(target) > MOST_PAIRS:
        raise InputError(f"{len(source)} x {len(target)} pairs are too many; give 'pairs', such as the peaks near a gene")
    if pairs is None:
        pairs = pd.MultiIndex.from_product([source.index, target.index], names=["source", "target"]).to_frame(index=False)
    rows = {}
    for side, table in (("source", source), ("target", target)):
        rows[side] = table.index.get_indexer(pairs[side])
        if (rows[side] < 0).any():
            raise InputError(f"'{side}' names features without an embedding: {listing(pairs[side][rows[side] < 0].unique())}")
    a, b = (_directions(table.to_numpy(dtype=float)) for table in (source, target))
    score = np.einsum("ij,ij->i", a[rows["source"]], b[rows["target"]])
    null = np.einsum("ij,ij->i", a[rng.choice(rows["source"], n_null)], b[rng.choice(rows["target"], n_null)])
    p_value = (n_null - np.searchsorted(np.sort(null), score, side="left") + 1) / (n_null + 1)
    table = pairs[["source", "target"]].assign(score=score, p_value=p_value, fdr=false_discovery_control(p_value))
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _directions(v: np.ndarray) -> np.ndarray:
    """Each row's direction from the mean of all rows."""
    v = v - v.mean(axis=0)
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)

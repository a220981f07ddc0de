"""Links between features of two modalities, scored by what a model decodes for both, with a permutation null."""

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from .errors import InputError, listing

MOST_PAIRS = 5_000_000
PAIRS_AT_ONCE = 10_000


def links(
    source: pd.DataFrame, target: pd.DataFrame, pairs: pd.DataFrame | None, rng: np.random.Generator, n_null: int = 100_000
) -> pd.DataFrame:
    """Score pairs of features by the correlation of their profiles over cells, a cell less its mean over a modality's features.

    That mean says nothing of a pair: all features of the modality share it, and of counts, whose likelihood is a softmax over
    features, it is not even determined. So a modality of one feature has no links; its scores are 0.

    Parameters
    ----------
    source, target
        Profiles of the features of two modalities: their values in the same cells, features x cells.
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
        If there are no pairs, or too many, or one names an unknown feature.
    """
    if pairs is None and len(source) * len(target) > MOST_PAIRS:
        raise InputError(f"{len(source)} x {len(target)} pairs are too many; give 'pairs', such as the peaks near a gene")
    if pairs is None:
        pairs = pd.MultiIndex.from_product([source.index, target.index], names=["source", "target"]).to_frame(index=False)
    if pairs.empty:
        raise InputError("there are no pairs to score; give some, with the columns 'source' and 'target'")
    rows = {}
    for side, table in (("source", source), ("target", target)):
        rows[side] = table.index.get_indexer(pairs[side])
        if (rows[side] < 0).any():
            raise InputError(f"'{side}' names features without a profile: {listing(pairs[side][rows[side] < 0].unique())}")
    a, b = (_standardised(table.to_numpy()) for table in (source, target))
    score = _products(a, b, rows["source"], rows["target"])
    null = _products(a, b, rng.choice(rows["source"], n_null), rng.choice(rows["target"], n_null))
    p_value = (n_null - np.searchsorted(np.sort(null), score, side="left") + 1) / (n_null + 1)
    table = pairs[["source", "target"]].assign(score=score, p_value=p_value, fdr=false_discovery_control(p_value))
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _standardised(profiles: np.ndarray) -> np.ndarray:
    """Less the mean of each cell (column), then each row of mean 0 and norm 1, or 0 where it does not vary."""
    x = profiles - profiles.mean(axis=0)
    x -= x.mean(axis=1, keepdims=True)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _products(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The inner products of the rows a[i] and b[j], of shape (len(i),)."""
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(i), PAIRS_AT_ONCE)]
    return np.concatenate([np.einsum("ij,ij->i", a[i[part]], b[j[part]]) for part in parts])

"""Links between features of two modalities, scored by what a model decodes for both, with a permutation null."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.stats import false_discovery_control

from .errors import InputError, listing
from .mosaic import Mosaic

if TYPE_CHECKING:
    from .estimator import MMAAVI

MOST_CELLS, FEWEST_CELLS = 500, 10
MOST_PAIRS = 5_000_000
PAIRS_AT_ONCE = 10_000


def links(
    model: "MMAAVI",
    mosaic: Mosaic,
    source: str,
    target: str,
    pairs: pd.DataFrame | None,
    rng: np.random.Generator,
    n_null: int = 100_000,
) -> pd.DataFrame:
    """Score pairs of features of two modalities by the correlation over cells of the logits that a model decodes for them.

    Logits are averaged over the training's batches that have the modality, and each cell's are less their mean over the
    modality: what all features share says nothing of a pair. Where they are few, their scores depend on one another: those of
    two features are opposite, that of a single one is 0.

    Parameters
    ----------
    model
        Fitted.
    mosaic
        Its cells are decoded, at most 500, drawn at random; they need not have the modalities.
    source, target
        The modalities.
    pairs
        The columns ``source`` and ``target``: pairs to score, such as the peaks near genes; by default all pairs.
    rng
        Source of the cells and of the null.
    n_null
        Pairs of the null: features put together at random. So where all pairs are asked, hardly any can stand out.

    Returns
    -------
    ``source, target, score`` in [-1, 1], ``p_value`` (share of the null that scores at least as high, one pseudo-count),
    ``in_graph`` and ``fdr`` (Benjamini & Hochberg 1995), best first. The latter is among the pairs in the model's guidance
    graph, and among the others, each by themselves: the model was told of the former.

    Raises
    ------
    InputError
        For a modality or features that the model does not have, no pairs or too many, and fewer than ten cells.
    """
    modalities = (source, target)
    for m in modalities:
        model.check_modality(m)
    pairs = _checked(pairs, *(model.features[m] for m in modalities))
    if len(mosaic.cells) < FEWEST_CELLS:
        raise InputError(f"{len(mosaic.cells)} cells do not tell what goes together; give {FEWEST_CELLS} at least")
    cells = rng.permutation(len(mosaic.cells))[:MOST_CELLS]
    z = torch.tensor(model.embed(mosaic)["X_mmaavi"][cells], device=model.device)  # (n, d)
    profiles = [pd.DataFrame(model.decode_logits(z, m).cpu().numpy().T, model.features[m]) for m in modalities]
    numbers = model.network.by_modality(torch.arange(model.graph.shape[0]))  # of the features in the graph
    at = [numbers[m].numpy()[model.features[m].get_indexer(pairs[c])] for m, c in zip(modalities, pairs, strict=True)]
    return scored(*profiles, pairs.assign(in_graph=sp.csr_array(model.graph)[*at] != 0), rng, n_null)


def _checked(pairs: pd.DataFrame | None, source: pd.Index, target: pd.Index) -> pd.DataFrame:
    if pairs is None:
        if len(source) * len(target) > MOST_PAIRS:
            raise InputError(f"{len(source)} x {len(target)} pairs are too many; give 'pairs', such as the peaks near genes")
        return pd.MultiIndex.from_product([source, target], names=["source", "target"]).to_frame(index=False)
    if pairs.empty or not {"source", "target"} <= set(pairs):
        raise InputError(f"'pairs' needs the columns 'source' and 'target', and a row for each pair; it has {listing(pairs)}")
    for side, known in (("source", source), ("target", target)):
        unknown = ~pairs[side].isin(known)
        if unknown.any():
            raise InputError(f"'{side}' names features that the model does not have: {listing(pairs[side][unknown].unique())}")
    return pairs[["source", "target"]].reset_index(drop=True)


def scored(
    source: pd.DataFrame, target: pd.DataFrame, pairs: pd.DataFrame, rng: np.random.Generator, n_null: int = 100_000
) -> pd.DataFrame:
    """The pairs with ``score``, ``p_value`` and ``fdr``, as :func:`links` gives them.

    Parameters
    ----------
    source, target
        Profiles of all features of two modalities: their values in the same cells, features x cells.
    pairs
        The columns ``source, target, in_graph``.
    rng, n_null
        As there.
    """
    a, b = (_standardised(table.to_numpy()) for table in (source, target))
    score = _products(a, b, source.index.get_indexer(pairs["source"]), target.index.get_indexer(pairs["target"]))
    null = np.sort(_products(a, b, rng.integers(len(a), size=n_null), rng.integers(len(b), size=n_null)))
    p_value = (n_null - np.searchsorted(null, score, side="left") + 1) / (n_null + 1)
    fdr = pd.Series(p_value).groupby(pairs["in_graph"].to_numpy()).transform(false_discovery_control)
    table = pairs.assign(score=score, p_value=p_value, fdr=fdr.to_numpy())
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _standardised(profiles: np.ndarray) -> np.ndarray:
    """Less the mean of each cell (column), then each row of mean 0 and norm 1, or 0 where it does not vary but by rounding."""
    x = np.array(profiles, order="C")  # a copy, in which sums along rows round less and are quicker
    x -= x.mean(axis=0)
    x -= x.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    varies = norm > 1e-5 * np.abs(profiles).max(initial=0) * np.sqrt(x.shape[1])
    x *= np.divide(1, norm, out=np.zeros_like(norm), where=varies)
    return x


def _products(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The inner products of the rows a[i] and b[j], of shape (len(i),)."""
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(i), PAIRS_AT_ONCE)]
    return np.concatenate([np.einsum("ij,ij->i", a[i[part]], b[j[part]]) for part in parts]).clip(-1, 1)

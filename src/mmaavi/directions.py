"""Whether features that the guidance graph links differ in the same direction."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import spearmanr

from .mosaic import Mosaic

AGREEMENT = ["features", "group", "n", "share", "spearman", "null_share", "null_low", "null_high", "p_value"]
ALL = "all"  # clusters together


def linked_features(mosaic: Mosaic) -> dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]]:
    """Edges of the guidance graph by pair of modalities, then triples: a feature with edges into two other modalities.

    Returns
    -------
    (modality, another one[, a third]) -> positions of the features, of shape (n, 2 or 3); and signs of the edges from the first
    to the others, of shape (n, 1 or 2).
    """
    if mosaic.guidance is None:
        return {}
    edges, starts, sizes = {}, mosaic.feature_starts, mosaic.n_features
    for a, b in permutations(mosaic.modalities, 2):
        rows, columns = (slice(starts[m], starts[m] + sizes[m]) for m in (a, b))
        block = sp.coo_array(sp.csr_array(mosaic.guidance)[rows, columns])
        if block.nnz:
            edges[a, b] = pd.DataFrame({"hub": block.row, "feature": block.col, "sign": np.sign(block.data).astype(int)})
    linked = {pair: edges[pair] for pair in combinations(mosaic.modalities, 2) if pair in edges}
    for hub in mosaic.modalities:
        for b, c in combinations([b for a, b in edges if a == hub], 2):
            linked[hub, b, c] = edges[hub, b].merge(edges[hub, c], on="hub", suffixes=("", "_2"))
    arrays = {}
    for names, t in linked.items():
        features, signs = (t[[c for c in t if not c.startswith("sign")]], t[[c for c in t if c.startswith("sign")]])
        arrays[names] = features.to_numpy(), signs.to_numpy()
    return arrays


def agreement(
    table: pd.DataFrame, mosaic: Mosaic, rng: np.random.Generator, fdr: float = 0.05, n_null: int = 200
) -> pd.DataFrame:
    """Whether features that the guidance graph links differ in the same direction (times the sign of their edge).

    Parameters
    ----------
    table
        As :func:`mmaavi.markers.differential_features` gives it.
    mosaic
        Gives the graph.
    rng
        Source of the null.
    fdr
        Only edges both of whose ends differ at this rate count, cluster by cluster; of triples, all three.
    n_null
        Times that the targets of a kind of edges are exchanged among each other at random.

    Returns
    -------
    One row for each pair or triple of modalities (``features``) and cluster (``group``, or ``all`` together): ``n`` edges that
    count; ``share`` of them that agree; ``spearman`` correlation of the first feature's difference with that of its target (of a
    triple: with the mean of both); ``null_share``, the mean of the null, and its central 95% from ``null_low`` to ``null_high``;
    ``p_value``, the share of the null at least as high, with one pseudo-count.
    """
    groups, difference = list(dict.fromkeys(table["group"])), {}
    for m, part in table[table["fdr"] <= fdr].groupby("modality"):
        wide = part.pivot(index="feature", columns="group", values="difference")
        difference[m] = wide.reindex(index=mosaic.var[m].index, columns=groups).to_numpy()  # NaN: does not differ
    tables = []
    for names, (features, signs) in linked_features(mosaic).items():
        if not set(names) <= set(difference):
            continue
        first, *others = (difference[m][features[:, i]] for i, m in enumerate(names))
        others = [sign[:, None] * other for sign, other in zip(signs.T, others, strict=True)]
        n, share = _agreeing(first, others)
        null = np.array([_agreeing(first, [rng.permutation(o) for o in others])[1] for _ in range(n_null)])
        columns = [np.s_[:, i] for i in range(len(groups))] + [np.s_[:]]
        of_kind = {
            "features": " - ".join(names),
            "group": [*groups, ALL],
            "n": n,
            "share": share,
            "spearman": [_spearman(first[c].ravel(), np.mean([o[c].ravel() for o in others], axis=0)) for c in columns],
            "null_share": pd.DataFrame(null).mean(),  # of pandas: NaN where no edge counts
            **{f"null_{side}": pd.DataFrame(null).quantile(q) for side, q in (("low", 0.025), ("high", 0.975))},
            "p_value": np.where(n > 0, (1 + (null >= share).sum(axis=0)) / (1 + n_null), np.nan),
        }
        tables.append(pd.DataFrame(of_kind))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=AGREEMENT)


def _agreeing(first: np.ndarray, others: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Number of edges (rows) that count and share of these that agree, by cluster (columns), and at last over all."""
    known = np.isfinite(first) & np.all([np.isfinite(o) for o in others], axis=0)
    same = known & np.all([first * o > 0 for o in others], axis=0)
    n, n_same = (np.append(v.sum(axis=0), v.sum()) for v in (known, same))
    return n, np.divide(n_same, n, out=np.full(len(n), np.nan), where=n > 0)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    return spearmanr(a, b).statistic if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan

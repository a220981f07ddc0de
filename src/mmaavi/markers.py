"""What tells the clusters of a trained model apart, in all modalities."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from .differential import DRAWS_AT_ONCE, PSEUDO_SHARE
from .estimator import MMAAVI
from .mosaic import Mosaic
from .normalisation import log_normalised, median_depth
from .stored import row_blocks

DIFFERENTIAL = [
    "modality", "group", "n_cells", "reference", "feature", "mean_group", "mean_reference", "difference", "unit", "probability",
    "ln_bayes_factor", "fdr",
]  # fmt: skip
REST_MEAN = "mean of the rest"
TEXT = ("modality", "group", "reference", "feature", "unit", "features", "source", "target")
MAY_LACK = ("share", "spearman", "null_share", "null_low", "null_high", "p_value", "planted")
COUNTED = ("negative_binomial", "poisson")  # likelihoods whose values have a depth


def read_table(path: str) -> pd.DataFrame:
    """A table of this analysis as it was written; features may be called NA."""
    return pd.read_csv(
        path, sep="\t", dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=dict.fromkeys(MAY_LACK, "")
    )


def clusters(responsibilities: np.ndarray, labels: pd.DataFrame, smallest: int = 20, most: int | None = None) -> pd.Series:
    """The likeliest mixture component of each cell, as categories from the largest cluster to the smallest.

    Parameters
    ----------
    responsibilities
        Of shape (n_cells, K).
    labels
        ``batch, pattern`` and label columns by cell id, in the same order. They name the clusters for the reader, such as
        ``3: CD4 T`` after the most frequent first label, and change nothing else.
    smallest
        Cells of clusters with fewer cells get none.
    most
        Nor do cells of any but so many clusters, the largest.
    """
    component = pd.Series(np.asarray(responsibilities).argmax(axis=1), index=labels.index)
    sizes = component.value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    names = {}
    for c in sizes.index[sizes >= smallest][:most]:
        common = labels.iloc[:, 2][component == c].mode() if labels.shape[1] > 2 else []
        names[c] = f"{c}: {common[0]}" if len(common) else str(c)
    return component.map(names).astype(pd.CategoricalDtype(list(names.values()), ordered=True))


@torch.no_grad()
def differential_features(
    model: MMAAVI, mosaic: Mosaic, groups: pd.Series, delta: float = 0.25, most_cells: int = 5000
) -> pd.DataFrame:
    """Features of all modalities that tell the cells of a cluster from the mean of all other clusters' cells.

    :func:`mmaavi.differential.differential` takes the other cells one by one: where they are of many kinds, hardly any feature
    of a cluster lies above, or below, nearly all of them. Here each cell of the cluster, as it is decoded, is compared with the
    mean of the others.

    Parameters
    ----------
    model
        A fitted model.
    mosaic
        Its cells; they need not have the modality.
    groups
        As :func:`clusters` gives it; cells without a cluster are left out.
    delta
        Least difference that counts, in the table's ``unit``.
    most_cells
        Of a cluster, that are decoded; of a larger one, so many that are drawn.

    Returns
    -------
    The columns of :func:`mmaavi.differential.differential` for each ``modality`` and ``group``, with ``n_cells`` of the cluster
    and the ``unit`` of the difference; ``probability`` is the share of the cluster's cells that lie more than ``delta`` from
    the mean of the others in that direction. No rows where there are fewer than two clusters.
    """
    codes, names = groups.reindex(mosaic.cells).cat.codes.to_numpy(), groups.cat.categories
    if len(names) < 2:
        return pd.DataFrame(columns=DIFFERENTIAL)
    states = torch.tensor(model.embed(mosaic)["X_mmaavi"], device=model.device)
    rng = np.random.default_rng(0)
    cells = [np.sort(rng.permutation(np.flatnonzero(codes == k))[:most_cells]) for k in range(len(names))]
    parts = [states[torch.tensor(rows, device=model.device)] for rows in cells]
    n_cells, n = (np.array(sizes) for sizes in (np.bincount(codes[codes >= 0], minlength=len(names)), [len(p) for p in parts]))
    share = n_cells / n_cells.sum()
    tables = []
    for m in mosaic.modalities:
        plain, small = mosaic.likelihood_of(m) == "normal", PSEUDO_SHARE * model.scaling[m].depth  # as in differential.py
        mean = torch.stack([sum(a.double().sum(dim=0) for a in _decoded(model, part, m)) / len(part) for part in parts])
        overall = sum(w * row for w, row in zip(share, mean, strict=True))
        for k, part in enumerate(parts):
            rest = (overall - share[k] * mean[k]) / (1 - share[k])
            sums = torch.zeros(3, len(rest), dtype=torch.float64, device=rest.device)
            for a in _decoded(model, part, m):
                change = a - rest if plain else ((a + small) / (rest + small)).log2()
                sums += torch.stack([v.double().sum(dim=0) for v in (change, change > delta, change < -delta)])
            difference, up, down = (sums / n[k]).cpu().numpy()
            probability = np.where(difference > 0, up, down)
            at_most = np.clip(probability, 0.5 / n[k], 1 - 0.5 / n[k])  # as many cells cannot say more
            columns = {
                "feature": model.features[m],
                "mean_group": mean[k].cpu().numpy(),
                "mean_reference": rest.cpu().numpy(),
                "difference": difference,
                "probability": probability,
                "ln_bayes_factor": np.log(at_most) - np.log1p(-at_most),
            }
            table = pd.DataFrame(columns).sort_values("probability", ascending=False, kind="stable")
            table["fdr"] = np.cumsum(1 - table["probability"].to_numpy()) / np.arange(1, len(table) + 1)
            unit = "difference" if plain else "log2 fold change"
            tables.append(table.assign(modality=m, group=names[k], n_cells=n_cells[k], reference=REST_MEAN, unit=unit))
    return pd.concat(tables, ignore_index=True)[DIFFERENTIAL]


def _decoded(model: MMAAVI, states: torch.Tensor, modality: str) -> Iterator[torch.Tensor]:
    return (model.decode(z, modality) for z in states.split(DRAWS_AT_ONCE))


def measured_by_cluster(mosaic: Mosaic, modality: str, groups: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean value (counts: logged at one depth) and share of cells with a value that is not zero, clusters x features.

    Only cells in which the modality was measured count; a cluster without any has NaN.
    """
    here = mosaic.measured[modality].to_numpy()
    x = mosaic.counts[modality][here]
    codes = groups.reindex(mosaic.cells).cat.codes.to_numpy()[here]
    known = np.flatnonzero(codes >= 0)
    member = sp.csc_array((np.ones(len(known)), (codes[known], known)), shape=(len(groups.cat.categories), len(codes)))
    depth = median_depth(x) if mosaic.likelihood_of(modality) in COUNTED else None
    total, found = np.zeros((2, member.shape[0], x.shape[1]))
    for rows, block in row_blocks(x):
        values = block if depth is None else log_normalised(block, depth)
        total += (member[:, rows] @ values).toarray()
        found += (member[:, rows] @ (block != 0)).toarray()
    with np.errstate(invalid="ignore"):  # 0 / 0: not measured
        mean, share = (values / member.sum(axis=1)[:, None] for values in (total, found))
    return tuple(pd.DataFrame(v, groups.cat.categories, mosaic.var[modality].index) for v in (mean, share))


def dots(mosaic: Mosaic, table: pd.DataFrame, groups: pd.Series, fdr: float, n_markers: int, least: float = 0.05) -> pd.DataFrame:
    """Measured values of the markers of each cluster, for a dot plot.

    Parameters
    ----------
    mosaic
        The cells.
    table
        As :func:`differential_features` gives it.
    groups
        As :func:`clusters` gives it; its clusters are shown.
    fdr
        Expected share of false discoveries among the features that may be markers.
    n_markers
        For each cluster and modality: the largest differences upwards. A feature is shown once, in the largest cluster.
    least
        Share of the cluster's measured cells that must have a value; not asked where no cell was measured.

    Returns
    -------
    One row a marker and cluster: ``modality, marker_of, feature, group``; ``mean`` scaled to [0, 1] by feature; ``share``.
    """
    rows = []
    for m, of_modality in table[(table["fdr"] <= fdr) & (table["difference"] > 0)].groupby("modality", sort=False):
        mean, share = measured_by_cluster(mosaic, m, groups)
        scaled = (mean - mean.min()) / (mean.max() - mean.min()).replace(0, 1)
        seen = set()
        for name in groups.cat.categories:
            part = of_modality[of_modality["group"] == name].sort_values("difference", ascending=False)
            often = part["feature"][~(share.loc[name, part["feature"]].to_numpy() < least)]
            features = [f for f in often if f not in seen][:n_markers]
            seen.update(features)
            rows += [(m, name, f, g, scaled.loc[g, f], share.loc[g, f]) for f in features for g in groups.cat.categories]
    return pd.DataFrame(rows, columns=["modality", "marker_of", "feature", "group", "mean", "share"])

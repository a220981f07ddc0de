"""Scores: their names, how one is had (an undefined one is missing with its reason, and never stops the others), their means."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

BIO = {
    "isolated_labels": "Isolated labels",
    "leiden_nmi": "Leiden NMI",
    "leiden_ari": "Leiden ARI",
    "silhouette_label": "Silhouette label",
    "clisi": "cLISI",
}
BATCH = {
    "bras": "BRAS",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "graph_connectivity": "Graph connectivity",
    "pcr": "PCR comparison",
}
AGGREGATES = {"bio": "Bio conservation", "batch": "Batch correction", "total": "Total"}
MOSAIC = {"ilisi_pattern": "iLISI of patterns", "label_transfer": "Label transfer"}
TRUTH = {"foscttm": "FOSCTTM", "matching": "Match in 10"}
IMPUTATION = {
    "impute_feature": "Spearman by feature",
    "impute_cell": "Spearman by cell",
    "impute_auroc": "AUROC in a cell",
}
LOWER_IS_BETTER = frozenset({"foscttm"})


@dataclass(frozen=True)
class Score:
    """One score: its metric, the group it is about ('all': all cells), its value, and why it is missing or of which cells."""

    metric: str
    group: str
    value: float
    note: str = ""


def attempt(metric: str, function: Callable[[], float], group: str = "all") -> Score:
    """The score that ``function`` gives, or a missing one with the reason."""
    try:
        value = float(function())
    except Exception as error:  # noqa: BLE001 - the libraries raise many kinds; the reason is kept in the table
        return Score(metric, group, np.nan, f"{type(error).__name__}: {error}".replace("\n", " ")[:200])
    return Score(metric, group, value, "" if np.isfinite(value) else "not defined for these cells")


def no_scores(note: str) -> list[Score]:
    """All scores of an integration as missing, for one reason."""
    return [Score(m, "all", np.nan, note) for m in [*AGGREGATES, *BIO, *BATCH, *MOSAIC]]


def summarise(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean over seeds with a 95% interval (Student's t); the interval is missing for a single seed.

    Parameters
    ----------
    scores
        Tidy rows with the columns ``by``, ``seed`` and ``value``.
    by
        Columns that name what is averaged.

    Returns
    -------
    ``by``, ``mean``, ``low``, ``high``, ``n_seeds``.
    """
    groups = scores.groupby(by, sort=False, dropna=False)["value"]
    table = groups.agg(["mean", "std", "count"]).reset_index()
    with np.errstate(invalid="ignore"):
        half = t.ppf(0.975, table["count"] - 1) * table["std"] / np.sqrt(table["count"])
    return (
        table.assign(low=table["mean"] - half, high=table["mean"] + half).rename(columns={"count": "n_seeds"}).drop(columns="std")
    )

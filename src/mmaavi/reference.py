"""Fresh results beside the committed ones."""

import numpy as np
import pandas as pd

from .scores import AGGREGATES, IMPUTATION, TRUTH
from .transfer import METRICS as TRANSFER

KEY = ["dataset", "scenario", "method", "variant", "n_labelled", "metric", "group"]
LOSS, POPULATION, AGREEMENT = "validation_loss", "population", "agreement"
COMPARED = [*AGGREGATES, "label_transfer", *TRUTH, *TRANSFER, LOSS]
BY_GROUP = ["purity", *IMPUTATION, POPULATION, AGREEMENT]  # of each label, modality or pair of modalities
TOLERANCE = 0.03  # what seeds and machines differ by, where no interval says more
MOST = 0.1  # whatever the intervals say: those of two seeds are wide
OF_LOSS = 0.005  # of the loss itself


def components_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Validation losses by number of components, ``dataset, scenario, n_components, mean``, as rows of a summary."""
    k = "K = " + table["n_components"].astype(str)
    return table.assign(method="mmaavi", variant=k, metric=LOSS, group="all")


def populations_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Populations before and after some batches lost theirs, as the figure writes them, likewise."""
    return table.assign(scenario="", metric=POPULATION, group=table["panel"] + ", " + table["when"])


def agreement_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The share of linked features that agree, in all clusters together (their names change from run to run), likewise."""
    rows = table[table["group"] == "all"]
    return rows.assign(method="mmaavi", metric=AGREEMENT, group=rows["features"], mean=rows["share"])


AS_SCORES = {"components": components_as_scores, "populations": populations_as_scores, "agreement": agreement_as_scores}


def compare(fresh: pd.DataFrame, reference: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Scores that both have, and whether they moved.

    Parameters
    ----------
    fresh, reference
        Summaries: ``dataset, scenario, method, variant, metric, group, mean``; ``high`` of the 95% interval where there is one,
        and ``n_labelled`` where labels were transferred. Other tables become one by :data:`AS_SCORES`.
    tolerance
        Difference of means that is let pass; or the half widths of both 95% intervals together, where these are larger, but
        0.1 at most. Of validation losses, 0.5% of the reference is.

    Returns
    -------
    One row a score of all cells, of a label's purity, of an imputed modality, of a population or of linked features: its key,
    ``reference``, ``fresh``, ``difference``, ``allowed``, ``moved``. A fresh score that is missing moved.
    """
    fresh, reference = (table.reindex(columns=[*KEY, "mean", "high"]) for table in (fresh, reference))
    both = reference.merge(fresh, on=KEY, suffixes=("_reference", "_fresh"))
    of_all = both["metric"].isin(COMPARED) & (both["group"] == "all")
    both = both[of_all | both["metric"].isin(BY_GROUP)].dropna(subset="mean_reference")
    widths = sum((both[f"high_{name}"] - both[f"mean_{name}"]).fillna(0) for name in ("reference", "fresh"))
    difference = both["mean_fresh"] - both["mean_reference"]
    allowed = np.where(both["metric"] == LOSS, OF_LOSS * both["mean_reference"].abs(), widths.clip(tolerance, MOST))
    table = both[KEY].assign(reference=both["mean_reference"], fresh=both["mean_fresh"], difference=difference, allowed=allowed)
    return table.assign(moved=~(difference.abs() <= allowed))

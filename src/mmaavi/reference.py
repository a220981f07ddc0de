"""A fresh summary of scores beside the committed one."""

import numpy as np
import pandas as pd

from .scores import AGGREGATES, IMPUTATION, TRUTH
from .transfer import METRICS as TRANSFER

KEY = ["dataset", "scenario", "method", "variant", "n_labelled", "metric", "group"]
COMPARED = [*AGGREGATES, "label_transfer", *TRUTH, *TRANSFER]
BY_GROUP = ["purity", *IMPUTATION]  # of each label, or modality
TOLERANCE = 0.03  # what seeds and machines differ by, where no interval says more
MOST = 0.1  # whatever the intervals say: those of two seeds are wide


def compare(fresh: pd.DataFrame, reference: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Scores that both have, and whether they moved.

    Parameters
    ----------
    fresh, reference
        Summaries: ``dataset, scenario, method, variant, metric, group, mean, low, high, n_seeds``, and ``n_labelled`` where
        labels were transferred.
    tolerance
        Difference of means that is let pass; or the half widths of both 95% intervals together, where these are larger, but
        0.1 at most.

    Returns
    -------
    One row a score of all cells, of a label's purity or of an imputed modality: its key, ``reference``, ``fresh``,
    ``difference``, ``allowed``, ``moved``. A fresh score that is missing moved.
    """
    fresh, reference = (table.assign(n_labelled=table.get("n_labelled", np.nan)) for table in (fresh, reference))
    both = reference.merge(fresh, on=KEY, suffixes=("_reference", "_fresh"))
    of_all = both["metric"].isin(COMPARED) & (both["group"] == "all")
    both = both[of_all | both["metric"].isin(BY_GROUP)].dropna(subset="mean_reference")
    widths = sum((both[f"high_{name}"] - both[f"mean_{name}"]).fillna(0) for name in ("reference", "fresh"))
    difference = both["mean_fresh"] - both["mean_reference"]
    allowed = widths.clip(tolerance, MOST)
    table = both[KEY].assign(reference=both["mean_reference"], fresh=both["mean_fresh"], difference=difference, allowed=allowed)
    return table.assign(moved=~(difference.abs() <= allowed))

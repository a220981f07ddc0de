"""Fresh results beside the committed ones."""

import numpy as np
import pandas as pd

from .scores import AGGREGATES, IMPUTATION, TRUTH
from .transfer import METRICS as TRANSFER

KEY = ["dataset", "scenario", "method", "variant", "n_labelled", "metric", "group"]
RUN = KEY[:5]
LOSS, AGREEMENT = "validation_loss", "agreement"
POPULATION = ["purity_before", "purity_after", "total_before", "total_after"]
COMPARED = [*AGGREGATES, "label_transfer", *TRUTH, *TRANSFER, LOSS]
BY_GROUP = ["purity", *IMPUTATION, *POPULATION, AGREEMENT]  # of each label, modality or pair of modalities
TOLERANCE = 0.03  # what seeds and machines differ by, where no interval says more
MOST = 0.1  # whatever the intervals say: those of two seeds are wide
OF_LOSS = 0.001  # of the loss itself, likewise
DEVIATIONS = 3


def components_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Validation losses by number of components, ``dataset, scenario, n_components, mean, sd``, as rows of a summary."""
    k = "K = " + table["n_components"].astype(str)
    high = table["mean"] + DEVIATIONS * table["sd"]
    return table.assign(method="mmaavi", variant=k, metric=LOSS, group="all", high=high)


def populations_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Populations before and after some batches lost theirs, as :func:`mmaavi.analyses.removed_populations`, likewise."""
    return table.assign(metric=table["score"].str.split().str[0] + "_" + table["when"], group=table["score"])


def agreement_as_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The share of linked features that agree, in all clusters together (their names change from run to run), likewise."""
    rows = table[table["group"] == "all"]
    share = rows["share"]
    high = share + DEVIATIONS * np.sqrt(share * (1 - share) / rows["n"])
    return rows.assign(method="mmaavi", metric=AGREEMENT, group=rows["features"], mean=share, high=high)


AS_SCORES = {"components": components_as_scores, "populations": populations_as_scores, "agreement": agreement_as_scores}


def compare(fresh: pd.DataFrame, reference: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """The scores of those runs that both have, and whether they moved.

    Parameters
    ----------
    fresh, reference
        Summaries: ``dataset, scenario, method, variant, metric, group, mean``; ``high`` of the 95% interval where there is one,
        and ``n_labelled`` where labels were transferred. Other tables become one by :data:`AS_SCORES`.
    tolerance
        Difference of means that is let pass; or the half widths of both 95% intervals together, where these are larger, but
        0.1 at most. Of validation losses, 0.1% is, or three standard deviations of both.

    Returns
    -------
    One row a score of all cells, of a label's purity, of an imputed modality, of a population or of linked features: its key,
    ``reference``, ``fresh``, ``difference``, ``allowed``, ``moved``. A fresh score that is missing moved.
    """
    fresh, reference = (table.reindex(columns=[*KEY, "mean", "high"]) for table in (fresh, reference))
    reference = reference.merge(fresh[RUN].drop_duplicates(), on=RUN)
    both = reference.merge(fresh, on=KEY, how="left", suffixes=("_reference", "_fresh"))
    of_all = both["metric"].isin(COMPARED) & (both["group"] == "all")
    both = both[of_all | both["metric"].isin(BY_GROUP)].dropna(subset="mean_reference")
    widths = sum((both[f"high_{name}"] - both[f"mean_{name}"]).fillna(0) for name in ("reference", "fresh"))
    difference = both["mean_fresh"] - both["mean_reference"]
    of_loss = widths.clip(OF_LOSS * both["mean_reference"].abs())
    allowed = widths.clip(tolerance, MOST).where(both["metric"] != LOSS, of_loss)
    table = both[KEY].assign(reference=both["mean_reference"], fresh=both["mean_fresh"], difference=difference, allowed=allowed)
    return table.assign(moved=~(difference.abs() <= allowed))

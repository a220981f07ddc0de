"""Labels carried from a few labelled cells to all others, and how well."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from .calibration import expected_calibration_error
from .errors import InputError, nearest
from .scores import Score, attempt

AT_LEAST = 5  # labelled cells of a label
N_NEIGHBOURS = 5
METRICS = {
    "transfer_accuracy": "Accuracy",
    "transfer_balanced": "Balanced accuracy",
    "transfer_f1": "Macro F1",
    "transfer_auc": "AUC, one against rest",
    "transfer_calibration": "Calibration error (lower is better)",
}


def family(variant: str, learners: Collection[str]) -> str:
    """One name for variants that learn from more and more labels, such as ``labels`` of ``labels100``; any other as it is."""
    return (variant.rstrip("0123456789") or variant) if variant in learners else variant


def labelled_cells(table: pd.DataFrame, n: int, seed: int, batch: str | None = None) -> pd.DataFrame:
    """About n cells of one batch, each label as common as there, but at least five of each (or all that there are).

    Parameters
    ----------
    table
        ``batch, pattern`` and label columns by cell id; the first label is meant.
    n
        How many cells.
    seed
        Of the draw.
    batch
        Whose cells; by default those of the batch with most labels, of these the one with most cells.

    Returns
    -------
    The rows of these cells.

    Raises
    ------
    InputError
        If there are no labels, or no such batch.
    """
    if table.shape[1] < 3:
        raise InputError("labels are to be transferred, and the dataset has none")
    known = table[table.iloc[:, 2].notna()]
    label = known.iloc[:, 2]
    sizes = label.groupby(known["batch"]).agg(["nunique", "size"]).sort_values(["nunique", "size"], kind="stable")
    if batch is None:
        batch = sizes.index[-1]
    if batch not in sizes.index:
        raise InputError(f"'labelled_batch' is '{batch}', which has no labelled cells; {nearest(batch, sizes.index)}")
    here = label[known["batch"] == batch]
    rng = np.random.default_rng(seed)
    chosen = [
        part.sample(min(len(part), max(AT_LEAST, round(n * len(part) / len(here)))), random_state=rng)
        for _, part in here.groupby(here)
    ]
    return table.loc[pd.concat(chosen).index]


def carried_by_neighbours(embedding: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Share of each label (columns) among the five labelled cells that are nearest to each cell (rows).

    Parameters
    ----------
    embedding
        Cell states by cell id, of shape (n_cells, d).
    labels
        Labels of the labelled cells by cell id.
    """
    model = KNeighborsClassifier(min(N_NEIGHBOURS, len(labels))).fit(embedding.loc[labels.index].to_numpy(), labels.to_numpy())
    return pd.DataFrame(model.predict_proba(embedding.to_numpy()), embedding.index, model.classes_)


def transfer_scores(probabilities: pd.DataFrame, table: pd.DataFrame, labelled: pd.Index) -> list[Score]:
    """How right the most probable labels are, in the cells whose own label was not used.

    Parameters
    ----------
    probabilities
        Of each label (columns) by cell id; those of no known label (``new_1``, ...) are never right.
    table
        ``batch, pattern`` and label columns by cell id; the first label is the truth.
    labelled
        The cells whose labels were used.

    Returns
    -------
    ``METRICS`` for the group ``all``, each ``batch: <name>`` and each ``pattern: <name>``. AUC averages over the labels that
    occur in a group beside others; the calibration error is that of the largest probability, over ten bins.
    """
    asked = table[table.iloc[:, 2].notna() & ~table.index.isin(labelled)]
    groups = {"all": asked}
    for column in ("batch", "pattern"):
        groups |= {f"{column}: {name}": part for name, part in asked.groupby(column)}
    return [score for name, part in groups.items() for score in _of_group(name, probabilities.loc[part.index], part.iloc[:, 2])]


def _of_group(group: str, probabilities: pd.DataFrame, truth: pd.Series) -> list[Score]:
    predicted, real = probabilities.idxmax(axis=1).to_numpy(dtype=str), truth.to_numpy(dtype=str)
    names = np.unique(real)
    functions = {
        "transfer_accuracy": lambda: accuracy_score(real, predicted),
        "transfer_balanced": lambda: np.mean([(predicted[real == name] == name).mean() for name in names]),
        "transfer_f1": lambda: f1_score(real, predicted, labels=names, average="macro", zero_division=0),
        "transfer_auc": lambda: np.mean([_auc(probabilities, real, name) for name in names]),
        "transfer_calibration": lambda: expected_calibration_error(probabilities.max(axis=1).to_numpy(), predicted == real),
    }
    return [attempt(metric, function, group) for metric, function in functions.items()]


def _auc(probabilities: pd.DataFrame, real: np.ndarray, name: str) -> float:
    if (real == name).all():
        raise ValueError("all cells have one label")
    return roc_auc_score(real == name, probabilities.get(name, pd.Series(0.0, probabilities.index)))

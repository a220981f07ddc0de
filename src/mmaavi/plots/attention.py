"""Attention weights by label and batch."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .style import MISSING


def attention_heatmaps(attention: pd.DataFrame, labels: pd.DataFrame, title: str) -> Figure:
    """Mean attention weight by label (rows) and batch (columns), one panel a modality; grey where not measured.

    Parameters
    ----------
    attention
        Weights of shape (n_cells, n_modalities) by cell id, NaN where a modality was not measured.
    labels
        ``batch, pattern`` and label columns by cell id.
    title
        Of the dataset.
    """
    label = labels.columns[min(2, labels.shape[1] - 1)]
    groups = labels[label].fillna("unassigned")
    tables = {m: attention[m].groupby([groups, labels["batch"]]).mean().unstack() for m in attention}
    rows, columns = next(iter(tables.values())).shape
    figure = Figure(figsize=(len(tables) * (0.45 * columns + 0.7) + 1.7, 0.25 * rows + 1.4), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for i, (axis, (m, table)) in enumerate(zip(axes, tables.items(), strict=True)):
        axis.set_facecolor(MISSING)
        sns.heatmap(
            table, ax=axis, vmin=0, vmax=1, cmap="viridis", annot=True, fmt=".2f", annot_kws={"size": 6.5}, linewidths=0.5,
            cbar=i == len(tables) - 1, cbar_kws={"label": "mean attention weight"}, yticklabels=i == 0,
        )  # fmt: skip
        axis.set(title=m, xlabel="batch", ylabel=label.replace("_", " ") if i == 0 else "")
        axis.tick_params(axis="x", rotation=45)
        axis.tick_params(axis="y", rotation=0)
    figure.suptitle(f"{title}\ngrey: not measured in that batch, or no such cells")
    return figure

"""UMAPs of all methods on one mosaic."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, MISSING, NO_COLOURS, colours_of, method_name

CLUSTER = "cluster"


def umap_grid(
    umap: pd.DataFrame, labels: pd.DataFrame, methods: list[str], title: str, known: Mapping[str, str] = NO_COLOURS
) -> Figure:
    """One row of panels a method; columns coloured by batch, modality pattern, the first label and cluster.

    Parameters
    ----------
    umap
        ``x, y, cluster, method`` by cell id; without the methods that were not run.
    labels
        ``batch, pattern`` and label columns by cell id.
    methods
        Order of the rows.
    title
        Of the dataset.
    known
        Colours of labels that are the same in all datasets.
    """
    columns = [*labels.columns[:3], CLUSTER]
    order = np.random.default_rng(0).permutation(len(labels))  # no group is drawn on top of another
    size = float(np.clip(6000 / len(labels), 0.5, 6))
    figure = Figure(figsize=(2.5 * len(columns), 2.35 * len(methods) + 1.2), layout="constrained")
    axes = figure.subplots(len(methods), len(columns), squeeze=False)
    for row, method in zip(axes, methods, strict=True):
        points = umap[umap["method"] == method].reindex(labels.index).iloc[order]
        if points["x"].isna().all():
            row[0].text(0.5, 0.5, "not run", ha="center", va="center", color="0.45", transform=row[0].transAxes)
        for axis, column in zip(row, columns, strict=True):
            if column == CLUSTER:
                shade = points[CLUSTER].map(lambda c: COLOURS[int(c - 1) % len(COLOURS)], na_action="ignore")
                if points[CLUSTER].notna().any():
                    axis.set_xlabel(f"{points[CLUSTER].max():.0f} clusters")
            else:
                shade = labels[column].map(colours_of(labels[column], known)).iloc[order]
            axis.scatter(points["x"], points["y"], s=size, c=shade.fillna(MISSING), linewidth=0, rasterized=True)
            axis.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(method_name(method))
    for axis, column in zip(axes[-1], columns[:-1], strict=False):
        axis.set_xlabel("UMAP")
        colours = colours_of(labels[column], known)
        handles = [Line2D([], [], ls="", marker="o", ms=4, color=c, label=n) for n, c in colours.items()]
        if labels[column].isna().any():
            handles.append(Line2D([], [], ls="", marker="o", ms=4, color=MISSING, label="unassigned"))
        axis.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncols=2 if len(handles) > 3 else 1,
            handletextpad=0.1,
        )
    titles = {"batch": "Batch", "pattern": "Measured modalities", CLUSTER: "Leiden cluster, by size"}
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(titles.get(column, column.replace("_", " ").capitalize()))
    figure.suptitle(f"{title}, {len(labels):,} cells")
    return figure

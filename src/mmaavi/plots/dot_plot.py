"""The dot plot of the clusters' markers, as scanpy draws it (Wolf et al. 2018), one row of dots a cluster."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, MISSING
from .words import in_words

LARGEST = 46  # area of the largest dot, in square points


def dot_plot(table: pd.DataFrame, title: str) -> Figure:
    """Markers (columns, below the colour of the cluster that they mark) by cluster (rows), one panel a modality.

    The largest dot of a panel is its largest share, rounded up to a tenth: peaks are found in few cells. Grey: not measured.

    Parameters
    ----------
    table
        As :func:`mmaavi.markers.dots` gives it: ``mean`` is the colour, ``share`` the size.
    title
        Of the figure.
    """
    if table.empty:
        return in_words(title, "No feature tells a cluster from the others.")
    groups, modalities = list(dict.fromkeys(table["group"])), list(dict.fromkeys(table["modality"]))
    panels = [table[table["modality"] == m] for m in modalities]
    columns = [list(dict.fromkeys(zip(part["marker_of"], part["feature"], strict=True))) for part in panels]
    most = max(map(len, columns))
    figure = Figure(figsize=(0.165 * most + 3.0, sum(0.17 * len(groups) + 1.5 for _ in panels) + 0.4), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, m, part, order in zip(axes, modalities, panels, columns, strict=True):
        x = [order.index(pair) for pair in zip(part["marker_of"], part["feature"], strict=True)]
        y = part["group"].map(groups.index)
        top = part["share"].max()
        largest = np.ceil(10 * top - 1e-9) / 10 if top > 0 else 1.0
        drawn = axis.scatter(
            x, y, s=LARGEST * part["share"] / largest, c=part["mean"], cmap="Reds", vmin=0, vmax=1, lw=0.3, edgecolor="0.4"
        )
        for row in np.unique(y[part["share"].isna()]):
            axis.axhspan(row - 0.5, row + 0.5, color=MISSING, lw=0)
        for group in dict.fromkeys(g for g, _ in order):  # a bracket over the markers of each cluster
            own = [i for i, (g, _) in enumerate(order) if g == group]
            colour = COLOURS[groups.index(group) % len(COLOURS)]
            axis.plot([own[0] - 0.35, own[-1] + 0.35], [-0.85, -0.85], lw=2.5, color=colour, solid_capstyle="butt", clip_on=False)
        for i in range(len(groups)):
            axis.plot([-0.75], [i], "s", ms=4, color=COLOURS[i % len(COLOURS)], clip_on=False)
        axis.set(xlim=(-0.9, most - 0.4), ylim=(len(groups) - 0.5, -1.0), yticks=range(len(groups)), yticklabels=groups)
        axis.set_xticks(range(len(order)), [feature for _, feature in order], rotation=90, fontsize=6)
        axis.set_ylabel(m, fontweight="bold")
        sizes = [
            Line2D([], [], ls="", marker="o", color="0.6", ms=(LARGEST * s) ** 0.5, label=f"{s * largest:.2g}")
            for s in (0.25, 0.5, 1)
        ]
        axis.legend(
            handles=sizes,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            title="share of\nmeasured cells\nwith a count",
            title_fontsize=7,
        )
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.3, aspect=18, pad=0.01, label="mean logged value, scaled by feature")
    figure.suptitle(title)
    return figure

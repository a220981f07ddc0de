"""Whether linked features differ in the same direction, against exchanged links."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, MISSING
from .words import in_words


def agreement_panels(table: pd.DataFrame, title: str) -> Figure:
    """Share of links that agree, by cluster (rows), one panel a pair or triple of modalities; grey: the null's 95%.

    Parameters
    ----------
    table
        As :func:`mmaavi.directions.agreement` gives it.
    title
        Of the figure.
    """
    if table.empty:
        return in_words(title, "No features that the guidance graph links differ between clusters, or there is no graph.")
    kinds, groups = (list(dict.fromkeys(table[c])) for c in ("features", "group"))
    order = [groups[-1], *groups[:-1]]  # all together first
    figure = Figure(figsize=(2.5 * len(kinds) + 1.4, 0.23 * len(order) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axis, kind in zip(axes, kinds, strict=True):
        part = table[table["features"] == kind].set_index("group").loc[order]
        y = -np.arange(len(order))
        axis.barh(y, part["null_high"] - part["null_low"], left=part["null_low"], height=0.5, color=MISSING)
        axis.plot(part["null_share"], y, "|", ms=8, mew=1.2, color="0.4")
        axis.plot(part["share"], y, "o", ms=4.5, color=COLOURS[0], clip_on=False, zorder=3)
        for at, n in zip(y, part["n"], strict=True):
            axis.text(1.04, at, f"{n:,}", va="center", fontsize=6.5, color="0.3")
        axis.axhline(-0.5, lw=0.5, color="0.6")
        axis.set(title=kind, xlim=(0, 1.02), ylim=(0.6 - len(order), 0.6), yticks=y, xlabel="share that agrees")
        axis.text(1.04, 0.65, "n", fontsize=6.5, color="0.3", va="bottom")
        axis.set_yticklabels(["all clusters", *order[1:]])
        axis.grid(axis="x", lw=0.4, color="0.88")
        axis.set_axisbelow(True)
    handles = [
        Line2D([], [], ls="", marker="o", ms=4.5, color=COLOURS[0], label="linked by the graph"),
        Line2D([], [], ls="", marker="|", ms=8, mew=1.2, color="0.4", label="links exchanged at random: mean"),
        Line2D([], [], lw=6, color=MISSING, label="and central 95%"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure

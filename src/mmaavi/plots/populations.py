"""What becomes of a population that some batches lost."""

import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS, named


def population_panels(table: pd.DataFrame, title: str) -> Figure:
    """One panel a score: for each method an open circle before, a filled one after the removal; bars are 95% intervals.

    Parameters
    ----------
    table
        As :func:`mmaavi.analyses.removed_populations` gives it.
    title
        Of the dataset.
    """
    table = named(table.assign(panel=table["score"] + "\n" + table["scenario"]))
    names, panels = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["panel"]))
    width = min(4, len(panels))
    height = -(-len(panels) // width)
    figure = Figure(figsize=(2.2 * width + 1.4, height * (0.24 * len(names) + 0.9) + 0.7), layout="constrained")
    axes = figure.subplots(height, width, sharey=True, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    left = max(0.0, table[["mean", "low"]].min(axis=None) - 0.1)  # the same for all panels
    for axis, panel in zip(axes, panels, strict=False):
        rows = table[table["panel"] == panel].set_index(["name", "when"])
        before = rows["mean"][rows.index.get_level_values("when") == "before"].droplevel("when")
        for (name, when), row in rows.iterrows():
            y = -names.index(name) + (0.13 if when == "before" else -0.13)
            axis.plot([row["low"], row["high"]], [y, y], color="0.6", lw=1.2)
            fell = when == "after" and row["mean"] < before.get(name, -1)
            colour = COLOURS[5] if fell else COLOURS[0]
            axis.plot(row["mean"], y, "o", ms=5, mfc="white" if when == "before" else colour, mec=colour)
        axis.set(title=panel, yticks=[-i for i in range(len(names))], ylim=(-len(names) + 0.4, 0.6), xlim=(left, 1.03))
        axis.set_yticklabels(names)
        axis.grid(axis="x", lw=0.4, color="0.88")
    what = "open: integrated with all cells; filled: after the removal (orange: lower); bars: 95% intervals"
    figure.supxlabel(what, fontsize=7.5)
    figure.suptitle(title)
    return figure

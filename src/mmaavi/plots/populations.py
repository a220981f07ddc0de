"""What becomes of a population that some batches lost."""

import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS, named


def population_panels(table: pd.DataFrame, title: str) -> Figure:
    """One panel a score: for each method an open circle with all cells, a filled one after the removal.

    Parameters
    ----------
    table
        As :func:`mmaavi.analyses.removed_populations` gives it.
    title
        Of the dataset.
    """
    table = named(table)
    names, panels = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["panel"]))
    width = min(4, len(panels))
    height = -(-len(panels) // width)
    figure = Figure(figsize=(2.2 * width + 1.4, height * (0.24 * len(names) + 0.9) + 0.7), layout="constrained")
    axes = figure.subplots(height, width, sharey=True, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        for row in table[table["panel"] == panel].itertuples():
            y = -names.index(row.name)
            axis.plot([row.before, row.after], [y, y], color="0.6", lw=1.2)
            axis.plot(row.before, y, "o", ms=5, mfc="white", mec=COLOURS[0])
            axis.plot(row.after, y, "o", ms=5, color=COLOURS[5] if row.after < row.before else COLOURS[0])
        axis.set(title=panel, yticks=[-i for i in range(len(names))], ylim=(-len(names) + 0.4, 0.6), xlim=(0, 1.03))
        axis.set_yticklabels(names)
        axis.grid(axis="x", lw=0.4, color="0.88")
    figure.supxlabel("open: all cells; filled: after the removal (orange: lower than before)", fontsize=7.5)
    figure.suptitle(title)
    return figure

"""What each part of a method is worth: differences to the whole."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS
from .words import in_words


def differences(table: pd.DataFrame, reference: str, title: str) -> Figure:
    """Difference of each variant (rows) to the reference, one panel a score: seeds as dots, their mean as a bar.

    Parameters
    ----------
    table
        ``name, panel, difference`` and ``seed``; paired by seed.
    reference
        Name of the variant that is compared with.
    title
        Of the dataset.
    """
    table = table.dropna(subset="difference")
    if table.empty:
        return in_words(title, f"No variant has a score to compare with '{reference}'.")
    names, panels = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["panel"]))
    figure = Figure(figsize=(2.0 * len(panels) + 1.6, 0.26 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for i, name in enumerate(names):
            values = table.loc[(table["panel"] == panel) & (table["name"] == name), "difference"].dropna()
            if values.empty:
                continue
            mean = values.mean()
            colour = COLOURS[5] if mean < 0 else COLOURS[0]
            axis.plot(values, np.full(len(values), -i), "o", ms=2.5, color="0.55")
            axis.plot([0, mean], [-i, -i], lw=5, alpha=0.4, color=colour, solid_capstyle="butt")
            axis.text(mean, -i + 0.16, f"{mean:+.3f}", fontsize=6, ha="center", va="bottom")
        axis.axvline(0, color="0.3", lw=0.7)
        axis.grid(axis="x", lw=0.4, color="0.88")
        reach = 1.25 * max(table.loc[table["panel"] == panel, "difference"].abs().max(), 0.02)
        axis.set(title=panel, xlim=(-reach, reach), yticks=[-i for i in range(len(names))], ylim=(-len(names) + 0.4, 0.7))
    axes[0].set_yticklabels(names)
    figure.supxlabel(f"difference to '{reference}'", fontsize=8)
    figure.suptitle(title)
    return figure

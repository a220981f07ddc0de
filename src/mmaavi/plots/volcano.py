"""The volcano plot of differential features."""

import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS


def volcano(table: pd.DataFrame, title: str, fdr: float = 0.05, n_named: int = 8) -> Figure:
    """Difference against evidence, one panel a group; features below the false discovery rate in colour, the top ones named.

    Parameters
    ----------
    table
        As :func:`mmaavi.differential.differential` gives it.
    title
        Of the figure.
    fdr
        Expected share of false discoveries among the coloured features.
    n_named
        How many features to name in each direction.
    """
    groups = list(dict.fromkeys(table["group"]))
    width = min(3, len(groups))
    height = -(-len(groups) // width)
    figure = Figure(figsize=(2.6 * width + 0.4, 2.3 * height + 0.5), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False, sharey=True).ravel()
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    for axis, group in zip(axes, groups, strict=False):
        part = table[table["group"] == group]
        found = part["fdr"] <= fdr
        for rows, colour in (
            (~found, "0.75"),
            (found & (part["difference"] < 0), COLOURS[0]),
            (found & (part["difference"] > 0), COLOURS[5]),
        ):
            axis.scatter(part["difference"][rows], part["ln_bayes_factor"][rows], s=4, color=colour, linewidth=0, rasterized=True)
        for sign in (-1, 1):
            side = part[found & (sign * part["difference"] > 0)]
            named = side.assign(size=side["difference"].abs()).nlargest(n_named, ["ln_bayes_factor", "size"])[::-1]
            for i, (_, row) in enumerate(named.iterrows()):
                axis.annotate(
                    row["feature"],
                    (row["difference"], row["ln_bayes_factor"]),
                    (0.5 + sign * 0.48, 0.95 - 0.9 * (len(named) - 1 - i) / n_named),
                    textcoords="axes fraction",
                    ha="right" if sign > 0 else "left",
                    fontsize=5.5,
                    arrowprops={"arrowstyle": "-", "lw": 0.3, "color": "0.6", "shrinkA": 0, "shrinkB": 1},
                )
        reach = 1.9 * part["difference"].abs().max()
        axis.axvline(0, lw=0.4, color="0.7", zorder=0)
        axis.set(title=f"{group} against {part['reference'].iloc[0]}", xlim=(-reach, reach), xlabel="mean log2 fold change")
    axes[0].set_ylabel("ln Bayes factor")
    figure.suptitle(f"{title}: {fdr:.0%} false discoveries expected among the coloured")
    return figure

"""The volcano plot of differential features."""

import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS
from .words import in_words


def volcano(table: pd.DataFrame, title: str, fdr: float = 0.05, n_named: int = 8, most_groups: int | None = None) -> Figure:
    """Difference against evidence, one panel a group; features below the false discovery rate in colour, the top ones named.

    Parameters
    ----------
    table
        As :func:`mmaavi.differential.differential` gives it. With several values of a column ``modality``, panels of one are in
        a row; a column ``unit`` names the difference.
    title
        Of the figure.
    fdr
        Expected share of false discoveries among the coloured features.
    n_named
        How many features to name in each direction.
    most_groups
        Draw only so many groups, the first ones.
    """
    if table.empty:
        return in_words(title, "There are fewer than two clusters: there is nothing to compare.")
    table = table if "modality" in table else table.assign(modality="")
    modalities, groups = (list(dict.fromkeys(table[c])) for c in ("modality", "group"))
    shown = groups[:most_groups]
    width = min(3, len(shown)) if len(modalities) == 1 else len(shown)
    height = len(modalities) * -(-len(shown) // width)
    figure = Figure(figsize=(2.6 * width + 0.4, 2.3 * height + 0.5), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False, sharey="row").ravel()
    for axis in axes[len(modalities) * len(shown) :]:
        axis.set_visible(False)
    panels = [(m, group) for m in modalities for group in shown]
    for i, (axis, (m, group)) in enumerate(zip(axes, panels, strict=False)):
        part = table[(table["group"] == group) & (table["modality"] == m)]
        _panel(axis, part, fdr, n_named)
        axis.set_xlabel(f"mean {part['unit'].iloc[0] if 'unit' in part else 'log2 fold change'}")
        if i < len(shown):
            cells = f"({part['n_cells'].iloc[0]:,} cells)\n" if "n_cells" in part else ""
            axis.set_title(f"{group} {cells}against {part['reference'].iloc[0]}")
        if i % width == 0:
            axis.set_ylabel("ln Bayes factor" + (f", {m}" if m else ""))
    of = f"; {len(shown)} of {len(groups)} clusters, the largest" if len(shown) < len(groups) else ""
    figure.suptitle(f"{title}: {fdr:.0%} false discoveries expected among the coloured{of}")
    return figure


def _panel(axis, part: pd.DataFrame, fdr: float, n_named: int) -> None:
    found = part["fdr"] <= fdr
    for rows, colour in (
        (~found, "0.75"),
        (found & (part["difference"] < 0), COLOURS[0]),
        (found & (part["difference"] > 0), COLOURS[5]),
    ):
        axis.scatter(part["difference"][rows], part["ln_bayes_factor"][rows], s=4, color=colour, linewidth=0, rasterized=True)
    longest = 0
    for sign in (-1, 1):
        side = part[found & (sign * part["difference"] > 0)]
        named = side.assign(size=side["difference"].abs()).nlargest(n_named, ["ln_bayes_factor", "size"])[::-1]
        longest = max(longest, named["feature"].str.len().max() if len(named) else 0)
        for i, (_, row) in enumerate(named.iterrows()):
            axis.annotate(
                row["feature"],
                (row["difference"], row["ln_bayes_factor"]),
                (0.5 + sign * 0.48, 0.95 - 0.9 * (len(named) - 1 - i) / n_named),
                textcoords="axes fraction",
                ha="right" if sign > 0 else "left",
                fontsize=5.5,
                bbox={"facecolor": "w", "alpha": 0.6, "lw": 0, "pad": 0.3},
                arrowprops={"arrowstyle": "-", "lw": 0.3, "color": "0.6", "shrinkA": 0, "shrinkB": 1},
            )
    reach = part["difference"].abs().max() * max(1.9, 1 / (1 - 0.036 * min(longest, 20)))  # room for the names at the sides
    axis.axvline(0, lw=0.4, color="0.7", zorder=0)
    axis.set(xlim=(-reach, reach))

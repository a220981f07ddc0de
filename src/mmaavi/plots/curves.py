"""Scores against a number that the config varies: cells, labelled cells, or the share of cells with a modality."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from .style import METHOD_COLOURS, colours_of, named
from .words import in_words

MOST_IN_A_ROW = 3
MOST_TICKS = 8
MARKERS = "osD^vP*Xh<>dp"  # of methods
LINES = ("-", "--", ":", "-.")  # of a method's variants


def curves(table: pd.DataFrame, x_label: str, title: str, log_x: bool = False, log_y: tuple[str, ...] = ()) -> Figure:
    """One panel a measure, one line a method: mean over seeds with its 95% interval.

    Parameters
    ----------
    table
        ``method, variant, panel, x, mean, low, high``; panels in the order in which they come.
    x_label
        What ``x`` is, with its unit.
    title
        Of the dataset.
    log_x
        Whether ``x`` is shown on a logarithmic axis.
    log_y
        Panels whose values are.
    """
    table = named(table.dropna(subset="mean"))
    if table.empty:
        return in_words(title, "None of the methods was run here, or has scores.")
    names, panels = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["panel"]))
    colours, methods = colours_of(table["method"], METHOD_COLOURS), list(dict.fromkeys([*METHOD_COLOURS, *table["method"]]))
    method_of = dict(zip(table["name"], table["method"], strict=True))
    width = min(MOST_IN_A_ROW, len(panels))
    height = -(-len(panels) // width)
    figure = Figure(figsize=(2.7 * width + 0.3, 2.25 * height + 0.5 + 0.16 * len(names) / 3), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False, sharex=True).ravel()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        for name in names:
            part = table[(table["panel"] == panel) & (table["name"] == name)].dropna(subset="mean").sort_values("x")
            method = method_of[name]
            variant = [other for other in names if method_of[other] == method].index(name)
            line = {"color": colours[method], "ls": LINES[variant % len(LINES)], "lw": 1.2, "label": name}
            marker = MARKERS[methods.index(method) % len(MARKERS)]
            axis.plot(part["x"], part["mean"], **line, marker=marker, ms=4, fillstyle="none" if variant else "full")
            axis.fill_between(part["x"].to_numpy(float), part["low"], part["high"], color=colours[method], alpha=0.15, lw=0)
        axis.set_title(panel)
        axis.grid(lw=0.4, color="0.88")
        if log_x:
            axis.set_xscale("log")
        if table["x"].nunique() <= MOST_TICKS:
            axis.set_xticks(sorted(table["x"].unique()))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
            axis.xaxis.set_minor_locator(NullLocator())
        if panel in log_y:
            axis.set_yscale("log")
            low, high = axis.get_ylim()
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
    for axis in axes[max(0, len(panels) - width) : len(panels)]:
        axis.set_xlabel(x_label)
        axis.tick_params(labelbottom=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(names)))
    figure.suptitle(title)
    return figure

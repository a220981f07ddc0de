"""Curves of every loss term."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS


def training_curves(history: pd.DataFrame, title: str) -> Figure:
    """Every loss term by epoch: training solid, validation dashed, one line a run.

    Parameters
    ----------
    history
        ``run, epoch, phase`` and one column a loss term.
    title
        Of the dataset.
    """
    terms = [c for c in history if c not in ("run", "epoch", "phase", "seconds")]
    width = min(4, len(terms))
    height = -(-len(terms) // width)
    figure = Figure(figsize=(2.3 * width, 1.75 * height + 0.5), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).ravel()
    for axis in axes[len(terms) :]:
        axis.set_visible(False)
    for axis, term in zip(axes, terms, strict=False):
        for (phase, _run), line in history.groupby(["phase", "run"]):
            train = phase == "train"
            axis.plot(line["epoch"] + 1, line[term], "-" if train else "--", color=COLOURS[0 if train else 5], lw=1, alpha=0.8)
        axis.set(title=term.replace("_", " "), xlabel="epoch")
        shown = history.loc[history["epoch"] > 0.05 * history["epoch"].max(), term]
        if shown.max() > shown.min():  # the first epochs would flatten the rest
            margin = 0.08 * (shown.max() - shown.min())
            axis.set_ylim(shown.min() - margin, shown.max() + margin)
    axes[0].set_ylabel("nats a cell")
    handles = [Line2D([], [], ls=ls, color=COLOURS[c], label=n) for n, ls, c in (("training", "-", 0), ("validation", "--", 5))]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure

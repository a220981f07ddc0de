"""How well hidden modalities are imputed."""

import pandas as pd
from matplotlib.figure import Figure

from ..imputation import MEAN
from ..scores import IMPUTATION
from .style import COLOURS, named


def imputation_panels(scores: pd.DataFrame, title: str) -> Figure:
    """Modalities (rows of panels) x scores; seeds as dots, their mean as a circle, the mean profile as a dotted line.

    Parameters
    ----------
    scores
        Tidy scores with ``method, variant, seed, metric, group, value``; those of imputation are taken.
    title
        Of the dataset.
    """
    table = named(scores[scores["metric"].isin(IMPUTATION)])
    modalities = [group for group in dict.fromkeys(table["group"]) if ":" not in group]
    names = list(dict.fromkeys(table["name"]))
    size = (2.4 * len(IMPUTATION) + 1.4, max(1, len(modalities)) * (0.22 * len(names) + 0.6) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    if not modalities:
        figure.text(0.5, 0.4, "Nothing was hidden in this mosaic: there is nothing to compare with.", ha="center")
        return figure
    axes = figure.subplots(len(modalities), len(IMPUTATION), sharey=True, squeeze=False)
    for axis, text in zip(axes[0], IMPUTATION.values(), strict=True):
        axis.set_title(text)
    for row, modality in zip(axes, modalities, strict=True):
        for axis, metric in zip(row, IMPUTATION, strict=True):
            part = table[(table["metric"] == metric) & (table["group"] == modality)].dropna(subset="value")
            for name, values in part.groupby("name", sort=False)["value"]:
                axis.plot(values.mean(), -names.index(name), "o", ms=5.5, color=COLOURS[0], alpha=0.7)
                axis.plot(values, [-names.index(name)] * len(values), "o", ms=1.8, color="0.2")
            baseline = table[(table["metric"] == metric) & (table["group"] == f"{modality}: {MEAN}")]["value"].mean()
            axis.axvline(baseline, color="0.45", ls=":", lw=1)
            axis.set(yticks=[-i for i in range(len(names))], ylim=(-len(names) + 0.4, 0.6))
            axis.set_yticklabels(names)
            axis.grid(axis="x", lw=0.4, color="0.88")
        row[0].set_ylabel(modality, fontweight="bold")
    figure.supxlabel(f"dotted: {MEAN} of the measured cells", fontsize=7.5)
    return figure

"""Every score of every method on one mosaic."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..scores import AGGREGATES, BATCH, BIO, IMPUTATION, LOWER_IS_BETTER, MOSAIC, TRUTH
from .style import COLOURS, named


def score_panels(summary: pd.DataFrame, scores: pd.DataFrame, title: str) -> Figure:
    """Every score of every method on one mosaic: seeds as dots, mean and 95% interval as a bar.

    Parameters
    ----------
    summary
        ``method, variant, metric, group, mean, low, high, n_seeds``, as :func:`mmaavi.scores.summarise` gives it.
    scores
        The same before averaging, with ``seed``, ``value`` and ``note``. Methods that were not run, or failed, are named below
        the panels with the reason.
    title
        Of the dataset.
    """
    families = {"Aggregates": AGGREGATES, "Bio conservation": BIO, "Batch correction": BATCH, "Mosaic": MOSAIC | TRUTH}
    imputed = summary[summary["metric"].isin(IMPUTATION)]
    baseline = {_by_modality(m, g): mean for m, g, mean in imputed[["metric", "group", "mean"]].to_numpy() if ":" in g}
    families |= {
        f"Imputed {modality}": {_by_modality(m, modality): name for m, name in IMPUTATION.items()}
        for modality in dict.fromkeys(imputed["group"].str.split(":").str[0])
    }
    names = {metric: name for metrics in families.values() for metric, name in metrics.items()}
    summary, scores = (named(_one_row_a_metric(table)) for table in (summary, scores))
    methods = list(dict.fromkeys(summary["name"]))
    notes = scores[["name", "note"]].astype(str).drop_duplicates()
    notes = notes[notes["note"].str.match("not run: |failed: ")].set_index("name")["note"]
    place = {name: -i for i, name in enumerate(methods)}
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(methods)}
    families = {f: [m for m in metrics if (summary["metric"] == m).any()] for f, metrics in families.items()}
    families = {f: metrics for f, metrics in families.items() if metrics}
    width = max(map(len, families.values()))
    height = 0.28 * len(methods) + 0.75
    figure = Figure(figsize=(1.75 * width + 1.6, height * len(families) + 0.3), layout="constrained")
    axes = figure.subplots(len(families), width, squeeze=False)
    for row, (family, metrics) in zip(axes, families.items(), strict=True):
        for axis in row[len(metrics) :]:
            axis.set_visible(False)
        for i, (axis, metric) in enumerate(zip(row, metrics, strict=False)):
            part = summary[summary["metric"] == metric]
            for _, line in part.iterrows():
                y = place[line["name"]]
                if np.isfinite(line["mean"]):
                    axis.plot(
                        [line["low"], line["high"]], [y, y], color=colour[line["name"]], lw=2, alpha=0.45, solid_capstyle="butt"
                    )
                    axis.plot(line["mean"], y, "o", color=colour[line["name"]], ms=5)
                    axis.annotate(
                        f"{line['mean']:.2f}", (line["mean"], y), (0, 4), textcoords="offset points", ha="center", fontsize=6
                    )
                else:
                    status = notes[[line["name"]]].iloc[0].split(":")[0] if line["name"] in notes else "not defined"
                    axis.text(0.02, y, status, fontsize=6, va="center", color="0.45")
            dots = scores[scores["metric"] == metric]
            axis.scatter(dots["value"], dots["name"].map(place), s=5, color="0.25", zorder=3, linewidth=0)
            axis.set(xlim=(-0.03, 1.06), ylim=(-len(methods) + 0.4, 0.75), yticks=list(place.values()))
            axis.set_yticklabels(methods if i == 0 else [])
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="x", lw=0.4, color="0.88")
            if metric in baseline:
                axis.axvline(baseline[metric], color="0.45", ls=":", lw=1)
            axis.set_title(names[metric] + (" (lower is better)" if metric in LOWER_IS_BETTER else ""))
        row[0].set_ylabel(family, fontweight="bold", labelpad=8)
    figure.supxlabel("\n".join(f"{name} {note}" for name, note in notes.items()), fontsize=6.5, x=0.01, ha="left")
    figure.suptitle(title)
    return figure


def _by_modality(metric: str, group: str) -> str:
    return f"{metric} of {group.split(':')[0]}"


def _one_row_a_metric(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of all cells; those of imputation as one metric for each modality, without the baseline."""
    imputed = table["metric"].isin(IMPUTATION)
    table = table[(table["group"] == "all") | (imputed & ~table["group"].str.contains(":", na=False))]
    named = [_by_modality(m, g) if m in IMPUTATION else m for m, g in zip(table["metric"], table["group"], strict=True)]
    return table.assign(metric=named)

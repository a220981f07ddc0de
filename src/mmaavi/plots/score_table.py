"""The headline of an integration: a table of scores as a picture, and the ranking of methods over datasets."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..scores import AGGREGATES, BATCH, BIO
from .style import CONTROLS, named
from .words import in_words

FAMILIES = {"bio": (BIO, "#0072B2"), "batch": (BATCH, "#D55E00")}
TOTAL = "0.35"
DARK = 0.6  # of the colour scale: beyond it, text is white
ROW = 0.32  # inches


def score_table(summary: pd.DataFrame, title: str) -> Figure:
    """Methods (rows, best total first, controls last): a circle for each metric, a bar with its interval for each aggregate.

    Parameters
    ----------
    summary
        ``method, variant, metric, group, mean, low, high, n_seeds`` of one mosaic, as :func:`mmaavi.scores.summarise` gives it.
        Methods without a total (not run, or failed) are left out.
    title
        Of the dataset.
    """
    table = named(summary[summary["group"] == "all"])
    wide = {what: table.set_index(["name", "metric"])[what].unstack() for what in ("mean", "low", "high")}
    mean = wide["mean"].dropna(subset="total")
    if mean.empty:
        return in_words(title, "No method has a total here: there are no labels, or none was run.")
    control = table.drop_duplicates("name").set_index("name")["method"].isin(CONTROLS)[mean.index]
    order = mean.assign(control=control).sort_values(["control", "total"], ascending=[True, False]).index
    seeds = table.drop_duplicates("name").set_index("name")["n_seeds"]
    y = {name: -i - 0.35 * control[name] for i, name in enumerate(order)}
    figure = Figure(figsize=(11.2, ROW * len(order) + 1.5), layout="constrained")
    widths = [len(BIO), len(BATCH), 1.5, 1.5, 1.5]
    axes = figure.subplots(1, 5, sharey=True, width_ratios=widths)
    for axis, (family, colour) in zip(axes, FAMILIES.values(), strict=False):
        best = mean[~control].max()
        bold = (mean == best) & ~control.to_numpy()[:, None]
        _circles(axis, mean, bold, y, {m: text for m, text in family.items() if m in mean}, colour)
    for axis, metric in zip(axes[2:], AGGREGATES, strict=True):
        colour = TOTAL if metric == "total" else FAMILIES[metric][1]
        _bars(axis, *(wide[what].reindex(mean.index)[metric] for what in ("mean", "low", "high")), y, colour)
        axis.set_xlabel(AGGREGATES[metric].replace(" ", "\n"), fontweight="bold")
    axes[0].set_title("Bio conservation", color=FAMILIES["bio"][1], fontweight="bold")
    axes[1].set_title("Batch correction", color=FAMILIES["batch"][1], fontweight="bold")
    axes[2].set(yticks=list(y.values()), ylim=(min(y.values()) - 0.6, 0.6))
    axes[0].set_yticklabels([f"{name}  ({seeds[name]})" for name in y])
    for axis in axes:
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(title)
    return figure


def _circles(axis, mean: pd.DataFrame, bold: pd.DataFrame, y: dict, metrics: dict[str, str], colour: str) -> None:
    for i, metric in enumerate(metrics):
        values = mean.loc[list(y), metric]
        places = np.array(list(y.values()))
        shown = values.notna().to_numpy()
        axis.scatter(np.full(shown.sum(), i), places[shown], s=190 * values[shown].clip(0.02, 1), color=colour, alpha=0.3, lw=0)
        for name, place in y.items():
            text = "-" if np.isnan(values[name]) else f"{values[name]:.2f}"
            weight = "bold" if bold.loc[name, metric] else "normal"
            axis.text(i, place, text, ha="center", va="center", fontsize=6.5, fontweight=weight)
    axis.set(xticks=range(len(metrics)), xlim=(-0.6, len(metrics) - 0.4))
    axis.set_xticklabels([text.replace(" ", "\n") for text in metrics.values()], fontsize=6.5)


def _bars(axis, mean: pd.Series, low: pd.Series, high: pd.Series, y: dict, colour: str) -> None:
    for name, place in y.items():
        axis.barh(place, mean[name], height=0.62, color=colour, alpha=0.45)
        if np.isfinite(low[name]):
            axis.plot([low[name], high[name]], [place, place], color="0.15", lw=0.9)
        axis.text(0.02, place, f"{mean[name]:.3f}", va="center", fontsize=6.5)
    axis.set(xlim=(0, 1.02), xticks=[])


def ranking(summary: pd.DataFrame, cells: Mapping[tuple[str, str], str], title: str) -> Figure:
    """Mean total of each method (rows) on each dataset (columns), its rank there, and the mean rank; controls are left out.

    A single seed is marked; "no" where a method was asked for and gave none; empty where it was not asked for. Methods without
    any total are left out.

    Parameters
    ----------
    summary
        As for :func:`score_table`, of several mosaics, with ``dataset`` and ``scenario``.
    cells
        (dataset, scenario) -> how many cells, in words.
    title
        Of the figure.
    """
    table = named(summary[(summary["metric"] == "total") & (summary["group"] == "all") & ~summary["method"].isin(CONTROLS)])
    mosaic = table["dataset"] + np.where(table["scenario"] == "full", "", "\n" + table["scenario"])
    size = [cells[key] for key in zip(table["dataset"], table["scenario"], strict=True)]
    table = table.assign(mosaic=mosaic + "\n" + size)
    total = table.pivot_table(index="name", columns="mosaic", values="mean", sort=False)
    seeds = table.pivot_table(index="name", columns="mosaic", values="n_seeds", sort=False)
    rank = total.rank(ascending=False)
    mean_rank = rank.mean(axis=1)
    order = pd.DataFrame({"rank": mean_rank, "missing": rank.isna().sum(axis=1)}).sort_values(["missing", "rank"]).index
    total, rank = total.loc[order], rank.loc[order]
    figure = Figure(figsize=(1.15 * total.shape[1] + 3.2, ROW * len(order) + 1.2), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[total.shape[1], 1.3], sharey=True)
    image = axes[0].imshow(total, cmap="Blues", aspect="auto", vmin=total.min().min() - 0.1, vmax=1.0)
    for i, name in enumerate(order):
        for j, value in enumerate(total.loc[name]):
            n_seeds = seeds.loc[name].get(total.columns[j])
            text = f"{value:.3f}  #{rank.iloc[i, j]:.0f}" + (" *" if n_seeds == 1 else "")
            if np.isnan(value):
                text = "" if np.isnan(n_seeds) else "no"
            ink = "white" if image.norm(value) > DARK else "black"
            weight = "bold" if rank.iloc[i, j] == 1 else "normal"
            axes[0].text(j, i, text, ha="center", va="center", fontsize=7, fontweight=weight, color=ink)
        axes[1].barh(i, mean_rank[name], height=0.6, color=TOTAL, alpha=0.45)
        axes[1].text(
            0.08, i, f"{mean_rank[name]:.1f}" + ("" if rank.loc[name].notna().all() else " of some"), va="center", fontsize=7
        )
    axes[0].set(xticks=range(total.shape[1]), xticklabels=total.columns, yticks=range(len(order)), yticklabels=order)
    axes[0].xaxis.tick_top()
    axes[0].set_xlabel("* a single seed; no: not supported, not installed, or failed; empty: not run", fontsize=7)
    axes[1].set(xlim=(0, max(mean_rank.max(), 1) * 1.05), xticks=[])
    axes[1].set_title("mean rank\n(lower is better)", fontsize=7.5)
    for axis in axes:
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(title)
    return figure

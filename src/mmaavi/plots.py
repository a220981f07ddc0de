"""Figures: functions of tables that return a matplotlib Figure, in one colour-blind-safe palette."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .files import replacing
from .metrics import AGGREGATES, BATCH, BIO, IMPUTATION, LOWER_IS_BETTER, MOSAIC, TRUTH

mpl.use("Agg")
mpl.rcParams |= {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "mmaavi",
}
# Okabe & Ito 2008, then Tol's muted scheme: told apart with any common colour vision.
COLOURS = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288",
    "#88CCEE", "#117733", "#999933", "#CC6677", "#882255", "#AA4499", "#44AA99", "#7F7F7F", "#000000",
]  # fmt: skip
MISSING = "#D9D9D9"
METHOD_NAMES = {
    "mmaavi": "mmAAVI",
    "scmomat": "scMoMaT",
    "midas": "MIDAS",
    "multivi": "MultiVI",
    "totalvi": "totalVI",
    "glue": "GLUE",
    "stabmap": "StabMap",
    "uinmf": "UINMF",
    "multimap": "MultiMAP",
    "harmony": "Harmony",
    "pca": "PCA, zero-filled",
    "shuffled": "Shuffled (lower bound)",
    "cell_type": "Cell types (upper bound)",
}


def save(figure: Figure, paths) -> None:
    """Write the figure to each path, whose ending gives the format, under a temporary name first."""
    for path in map(Path, paths):
        with replacing(path) as partial:
            figure.savefig(
                partial, format=path.suffix[1:], bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None
            )


def colours_of(values: pd.Series) -> dict[str, str]:
    """A colour for each value, by its place in the alphabet, so that a value keeps it in every figure of a dataset."""
    names = sorted(values.dropna().unique())
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def method_name(method: str) -> str:
    base, _, variant = method.partition(" ")
    return METHOD_NAMES.get(base, base) + (f" {variant}" if variant else "")


def umap_grid(umap: pd.DataFrame, labels: pd.DataFrame, methods: list[str], title: str) -> Figure:
    """One row of panels a method; columns coloured by batch, modality pattern and the first label.

    Parameters
    ----------
    umap
        ``x, y, method`` by cell id; without the methods that were not run.
    labels
        ``batch, pattern`` and label columns by cell id.
    methods
        Order of the rows.
    title
        Of the dataset.
    """
    columns = list(labels.columns[:3])
    order = np.random.default_rng(0).permutation(len(labels))  # no group is drawn on top of another
    size = float(np.clip(6000 / len(labels), 0.5, 6))
    figure = Figure(figsize=(2.5 * len(columns), 2.35 * len(methods) + 1.2), layout="constrained")
    axes = figure.subplots(len(methods), len(columns), squeeze=False)
    for row, method in zip(axes, methods, strict=True):
        points = umap[umap["method"] == method].reindex(labels.index).iloc[order]
        if points["x"].isna().all():
            row[0].text(0.5, 0.5, "not run", ha="center", va="center", color="0.45", transform=row[0].transAxes)
        for axis, column in zip(row, columns, strict=True):
            colour = colours_of(labels[column])
            axis.scatter(
                points["x"], points["y"], s=size, linewidth=0, rasterized=True,
                c=labels[column].map(colour).fillna(MISSING).iloc[order],
            )  # fmt: skip
            axis.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(method_name(method))
    for axis, column in zip(axes[-1], columns, strict=True):
        axis.set_xlabel("UMAP")
        handles = [Line2D([], [], ls="", marker="o", ms=4, color=c, label=n) for n, c in colours_of(labels[column]).items()]
        if labels[column].isna().any():
            handles.append(Line2D([], [], ls="", marker="o", ms=4, color=MISSING, label="unassigned"))
        axis.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncols=2 if len(handles) > 3 else 1,
            handletextpad=0.1,
        )
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title({"batch": "Batch", "pattern": "Measured modalities"}.get(column, column.replace("_", " ").capitalize()))
    figure.suptitle(f"{title}, {len(labels):,} cells")
    return figure


def score_panels(summary: pd.DataFrame, scores: pd.DataFrame, title: str) -> Figure:
    """Every score of every method on one mosaic: seeds as dots, mean and 95% interval as a bar.

    Parameters
    ----------
    summary
        ``method, variant, metric, group, mean, low, high, n_seeds``, as :func:`mmaavi.metrics.summarise` gives it.
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
    summary, scores = (_named(_one_row_a_metric(table)) for table in (summary, scores))
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


def _named(table: pd.DataFrame) -> pd.DataFrame:
    variant = np.where(table["variant"] == "default", "", " (" + table["variant"] + ")")
    return table.assign(name=[method_name(m + v) for m, v in zip(table["method"], variant, strict=True)])


def attention_heatmaps(attention: pd.DataFrame, labels: pd.DataFrame, title: str) -> Figure:
    """Mean attention weight by label (rows) and batch (columns), one panel a modality; grey where not measured.

    Parameters
    ----------
    attention
        Weights of shape (n_cells, n_modalities) by cell id, NaN where a modality was not measured.
    labels
        ``batch, pattern`` and label columns by cell id.
    title
        Of the dataset.
    """
    label = labels.columns[min(2, labels.shape[1] - 1)]
    groups = labels[label].fillna("unassigned")
    tables = {m: attention[m].groupby([groups, labels["batch"]]).mean().unstack() for m in attention}
    rows, columns = next(iter(tables.values())).shape
    figure = Figure(figsize=(len(tables) * (0.45 * columns + 0.7) + 1.7, 0.25 * rows + 1.4), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for i, (axis, (m, table)) in enumerate(zip(axes, tables.items(), strict=True)):
        axis.set_facecolor(MISSING)
        sns.heatmap(
            table, ax=axis, vmin=0, vmax=1, cmap="viridis", annot=True, fmt=".2f", annot_kws={"size": 6.5}, linewidths=0.5,
            cbar=i == len(tables) - 1, cbar_kws={"label": "mean attention weight"}, yticklabels=i == 0,
        )  # fmt: skip
        axis.set(title=m, xlabel="batch", ylabel=label.replace("_", " ") if i == 0 else "")
        axis.tick_params(axis="x", rotation=45)
        axis.tick_params(axis="y", rotation=0)
    figure.suptitle(f"{title}\ngrey: not measured in that batch, or no such cells")
    return figure


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


def cost_panels(cost: pd.DataFrame) -> Figure:
    """Seconds of fitting and peak memory of each method, by dataset; one dot a seed.

    Parameters
    ----------
    cost
        ``dataset, method, variant, seed, fit_seconds, peak_memory_gib``; rows without a time are left out.
    """
    cost = _named(cost.dropna(subset="fit_seconds"))
    methods, datasets = list(dict.fromkeys(cost["name"])), list(dict.fromkeys(cost["dataset"]))
    figure = Figure(figsize=(7.2, 0.3 * len(methods) * len(datasets) ** 0.5 + 1.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (column, label) in zip(
        axes, {"fit_seconds": "fitting time, seconds", "peak_memory_gib": "peak memory of the job, GiB"}.items(), strict=True
    ):
        for i, dataset in enumerate(datasets):
            part = cost[cost["dataset"] == dataset]
            offset = 0.5 * ((i + 0.5) / len(datasets) - 0.5)
            y = np.array([-methods.index(name) for name in part["name"]]) - offset
            axis.plot(part[column], y, "o", ms=4, color=COLOURS[i % len(COLOURS)], alpha=0.8, label=dataset)
        axis.set(xlabel=label, yticks=[-i for i in range(len(methods))], ylim=(-len(methods) + 0.4, 0.6))
        axis.set_yticklabels(methods)
        axis.grid(lw=0.4, color="0.88")
    axes[0].set_xscale("log")
    axes[1].set_xlim(left=0)
    if len(datasets) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(datasets))
    figure.suptitle("Cost of one run" + (f" on {datasets[0]}" if len(datasets) == 1 else ""))
    return figure

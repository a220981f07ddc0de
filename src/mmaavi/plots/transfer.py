"""Labels carried from few cells: where they are right, and where not."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import MISSING, NO_COLOURS, colours_of, method_name, named
from .words import in_words

NEW = "#000000"  # components of the mixture that belong to no label


def transfer_groups(table: pd.DataFrame, title: str) -> Figure:
    """A score of each method (rows, best first) over all cells, by batch and by modality pattern (columns).

    Parameters
    ----------
    table
        ``method, variant, group, mean``; the score is named by the title.
    title
        Of the figure.
    """
    wide = named(table).pivot_table(index="name", columns="group", values="mean", sort=False)
    if wide.empty:
        return in_words(title, "None of the methods was run here.")
    wide = wide.sort_values("all", ascending=False)
    figure = Figure(figsize=(0.85 * wide.shape[1] + 2.6, 0.27 * len(wide) + 1.5), layout="constrained")
    axis = figure.subplots()
    sns.heatmap(
        wide, ax=axis, cmap="viridis", vmin=0, vmax=1, annot=True, fmt=".2f", annot_kws={"size": 7}, linewidths=0.5,
        cbar_kws={"label": "higher is better"},
    )  # fmt: skip
    axis.set(xlabel="", ylabel="")
    axis.set_xticklabels([c.replace(": ", "\n") for c in wide.columns], rotation=0)
    axis.tick_params(axis="y", rotation=0)
    figure.suptitle(title)
    return figure


def confusion(tables: dict[str, pd.DataFrame], title: str) -> Figure:
    """Share of the cells of each label (rows) that got each label (columns) in %, one panel a method.

    Parameters
    ----------
    tables
        Method -> ``truth, predicted`` by cell id, of the same cells.
    title
        Of the figure.
    """
    if not tables:
        return in_words(title, "None of the methods was run here.")
    labels = sorted({name for table in tables.values() for name in pd.unique(table[["truth", "predicted"]].to_numpy().ravel())})
    n_cells = next(iter(tables.values()))["truth"].value_counts().sort_index()
    rows = list(n_cells.index)
    width = min(3, len(tables))
    height = -(-len(tables) // width)
    side = 0.25 * len(labels) + 0.4
    figure = Figure(figsize=(side * width + 2.6, (0.21 * len(rows) + 0.6) * height + 1.3), layout="constrained")
    axes = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False).ravel()
    for axis in axes[len(tables) :]:
        axis.set_visible(False)
    for axis, (method, table) in zip(axes, tables.items(), strict=False):
        share = pd.crosstab(table["truth"], table["predicted"], normalize="index").reindex(
            index=rows, columns=labels, fill_value=0
        )
        texts = (100 * share).round().astype(int).astype(str).replace("0", "")
        options = {"xticklabels": True, "yticklabels": [f"{name} ({n:,})" for name, n in n_cells.items()]}
        sns.heatmap(
            share, ax=axis, cmap="Blues", vmin=0, vmax=1, annot=texts, fmt="", annot_kws={"size": 5.5}, cbar=False, **options
        )
        axis.set(title=method_name(method), xlabel="", ylabel="")
        axis.tick_params(labelsize=6.5, length=0)
        axis.tick_params(axis="y", rotation=0)
    figure.supxlabel("label given, % of the cells of each own label")
    figure.supylabel("own label (cells)")
    figure.suptitle(title)
    return figure


def transfer_umap(layout: pd.DataFrame, cells: pd.DataFrame, title: str, known: Mapping[str, str] = NO_COLOURS) -> Figure:
    """UMAP by own label, label given and its probability; the labelled cells as stars.

    Parameters
    ----------
    layout
        ``x, y`` by cell id.
    cells
        ``truth, predicted, probability`` and ``labelled`` (boolean) by cell id.
    title
        Of the figure.
    known
        Colours of labels that are the same in all datasets.
    """
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    axes = figure.subplots(1, 3)
    order = np.random.default_rng(0).permutation(len(cells))
    x, y = (layout.loc[cells.index, c].to_numpy() for c in ("x", "y"))
    size = float(np.clip(6000 / len(cells), 0.5, 6))
    colour = colours_of(cells["truth"], known)
    unknown = sorted(set(cells["predicted"].dropna()) - set(colour))
    colour |= dict.fromkeys(unknown, NEW)
    for axis, (column, name) in zip(axes, {"truth": "own label", "predicted": "label given"}.items(), strict=False):
        shade = cells[column].map(colour).fillna(MISSING).to_numpy()
        axis.scatter(x[order], y[order], s=size, c=shade[order], linewidth=0, rasterized=True)
        axis.set_title(name)
    drawn = axes[2].scatter(
        x[order], y[order], s=size, c=cells["probability"].to_numpy()[order], cmap="viridis", vmin=0, vmax=1, linewidth=0,
        rasterized=True,
    )  # fmt: skip
    axes[2].set_title("its probability")
    figure.colorbar(drawn, ax=axes[2], shrink=0.7)
    stars = cells["labelled"].to_numpy()
    axes[0].scatter(
        x[stars], y[stars], marker="*", s=28, c=cells["truth"].map(colour).to_numpy()[stars], edgecolor="k", linewidth=0.4
    )
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlabel="UMAP", aspect="equal", adjustable="datalim")
        axis.spines[:].set_visible(False)
    handles = [Line2D([], [], ls="", marker="o", ms=4, color=c, label=n) for n, c in colour.items() if n not in unknown]
    if unknown:
        handles.append(Line2D([], [], ls="", marker="o", ms=4, color=NEW, label="no known label"))
    handles.append(Line2D([], [], ls="", marker="*", ms=7, mfc="w", mec="k", label=f"labelled ({stars.sum()} cells)"))
    if cells["truth"].isna().any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, color=MISSING, label="unassigned"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), handletextpad=0.1)
    figure.suptitle(title)
    return figure

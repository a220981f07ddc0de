"""The block picture of a mosaic: which batch has which modality, how many cells, and what the graph reaches."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..summary import HIDDEN, MEASURED
from .style import COLOURS, MISSING


def mosaic_blocks(
    blocks: pd.DataFrame, cells: pd.Series, labelled: pd.Series, edges: pd.DataFrame, reach: pd.DataFrame, title: str
) -> Figure:
    """Batches (rows) x modalities (columns), filled where measured; bars of cells and of features.

    Parameters
    ----------
    blocks
        As :func:`mmaavi.summary.blocks` gives it.
    cells
        Number of cells by batch.
    labelled
        Share of them with the first label, by batch; NaN where there is none.
    edges, reach
        As :func:`mmaavi.summary.reach` gives them.
    title
        Of the dataset.
    """
    modalities = list(dict.fromkeys(blocks["modality"]))
    state = blocks.pivot(index="batch", columns="modality", values="state")[modalities]
    order = (state == MEASURED).sort_values(modalities, ascending=False, kind="stable").index  # batches of one pattern together
    colour = dict(zip(modalities, COLOURS, strict=False))
    n, width = len(order), len(modalities)
    figure = Figure(figsize=(1.35 * width + 3.9, 0.34 * n + 2.3), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[0.9, 0.34 * n + 0.2], width_ratios=[1.35 * width, 2.4])
    tiles = figure.add_subplot(grid[1, 0])
    by_block = blocks.set_index(["batch", "modality"])
    for y, batch in enumerate(order):
        for x, m in enumerate(modalities):
            row = by_block.loc[batch, m]
            shown = row["state"] in (MEASURED, HIDDEN)
            tiles.add_patch(
                Rectangle(
                    (x - 0.46, y - 0.42), 0.92, 0.84, lw=0.8, edgecolor=colour[m] if shown else MISSING,
                    facecolor=colour[m] if row["state"] == MEASURED else "none", hatch="////" if row["state"] == HIDDEN else None,
                )
            )  # fmt: skip
            if shown:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2} if row["state"] == HIDDEN else None
                ink = "white" if row["state"] == MEASURED and _dark(colour[m]) else "black"
                text = f"{_short(row['depth'])} · {row['density']:.1%}"
                tiles.text(x, y, text, ha="center", va="center", size=6.5, color=ink, bbox=box)
    tiles.set(xlim=(-0.5, width - 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=range(n), yticklabels=order)
    tiles.spines[:].set_visible(False)
    tiles.tick_params(length=0)

    right = figure.add_subplot(grid[1, 1], sharey=tiles)
    total = cells.loc[order].to_numpy()
    right.barh(range(n), total, height=0.6, color="0.75")
    right.barh(range(n), total * labelled.reindex(order).fillna(0).to_numpy(), height=0.6, color="0.4")
    for y, count in enumerate(total):
        right.text(count, y, f" {count:,}", va="center", size=6.5)
    right.set(xlim=(0, total.max() * 1.3), xticks=[], xlabel="cells" + (" (dark: labelled)" if labelled.notna().any() else ""))
    right.tick_params(left=False, labelleft=False)
    right.spines[:].set_visible(False)

    top = figure.add_subplot(grid[0, 0], sharex=tiles)
    features, reached = reach["features"].to_numpy(), reach["reached"].to_numpy()
    top.bar(range(width), np.sqrt(features), width=0.6, color=[colour[m] for m in modalities], alpha=0.35)
    top.bar(range(width), np.sqrt(reached), width=0.6, color=[colour[m] for m in modalities])
    for x, (m, count, share) in enumerate(zip(modalities, features, reach["share"], strict=True)):
        top.text(x, np.sqrt(count), f"{m}\n{count:,} features, {share:.0%} linked", ha="center", va="bottom", size=6.5)
    top.set(ylim=(0, np.sqrt(features.max()) * 1.9), yticks=[])
    top.tick_params(bottom=False, labelbottom=False)
    top.spines[:].set_visible(False)

    corner = figure.add_subplot(grid[0, 1])
    corner.axis("off")
    lines = [f"{row.pair}: {row.edges:,}" for row in edges.itertuples()] or ["none"]
    corner.text(0, 1, "edges of the graph\n" + "\n".join(lines), va="top", size=7)
    handles = [Patch(facecolor="0.5", label="measured"), Patch(facecolor="none", edgecolor=MISSING, label="absent")]
    if (blocks["state"] == HIDDEN).any():
        handles.insert(1, Patch(facecolor="none", edgecolor="0.3", hatch="////", label="hidden, kept as truth"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, title="in each block: median depth · density", title_fontsize=7
    )
    figure.suptitle(title)
    return figure


def _short(depth: float) -> str:
    return f"{depth:,.0f}" if depth >= 10 else f"{depth:.2g}"


def _dark(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140

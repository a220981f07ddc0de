"""Links between a gene and the peaks near it, along the genome."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, MISSING
from .words import in_words

KB = 1000
MARGIN = 30 * KB  # least that is shown on both sides
IN_GRAPH, NEW = COLOURS[0], COLOURS[5]


def best_genes(links: pd.DataFrame, p_value: float, n: int) -> list[str]:
    """Genes with the best pairs that the graph does not hold, then with the best of all."""
    drawn = links[links["p_value"] <= p_value]
    drawn = drawn if len(drawn) else links
    return list(drawn.sort_values(["in_graph", "score"], ascending=[True, False])["source"].unique()[:n])


def in_numbers(links: pd.DataFrame, fdr: float, p_value: float) -> str:
    """How many pairs of the graph, and of those beyond it, are linked, and how many of the latter were planted, where known."""
    known = links.astype({"in_graph": bool, "planted": float})
    lines = []
    for where, inside in (("in the graph", True), ("not in it", False)):
        pairs = known[known["in_graph"] == inside]
        linked = pairs[pairs["fdr"] <= fdr]
        if len(pairs):
            high = f"{(pairs['p_value'] <= p_value).mean():.1%} score above {1 - p_value:.0%} of random pairs"
            lines.append(f"{len(pairs):,} near pairs {where}: {high}, linked (FDR \u2264 {fdr:.0%}): {len(linked):,}")
        if not inside and linked["planted"].notna().any():
            lines.append(
                f"{linked['planted'].mean():.0%} of these were planted, and {pairs['planted'].mean():.0%} of all not in it"
            )
    return "\n".join(lines)


def genome_tracks(
    links: pd.DataFrame, genes: pd.DataFrame, peaks: pd.DataFrame, share: pd.DataFrame, title: str, fdr: float = 0.05,
    p_value: float = 0.01, n_genes: int = 4, most_peaks: int = 30,
) -> Figure:  # fmt: skip
    """For a few genes: arcs to the peaks of high scores, as high as their score; gene and peaks;
    accessibility of each peak by cluster, relative to the cluster in which it is highest: promoters are open in tens of times as
    many cells as other peaks.

    Parameters
    ----------
    links
        As :func:`mmaavi.peak_links.peak_links` gives it.
    genes, peaks
        ``chrom, start, end`` (and ``strand``) by feature name, in bases.
    share
        Share of measured cells with a count, clusters x peaks.
    title
        Of the figure.
    fdr
        Pairs up to this false discovery rate count as linked in the title.
    p_value
        Pairs up to this p-value have an arc: most are no discoveries.
    n_genes
        How many genes to draw; see :func:`best_genes`.
    most_peaks
        Of a gene, so many near peaks with the best scores.
    """
    if links.empty:
        return in_words(title, "This mosaic has no genes with coordinates and peaks near them: there are no links to draw.")
    if share.empty:
        return in_words(title, "No cluster has enough cells to show the accessibility of its peaks.")
    shown = best_genes(links, p_value, n_genes)
    windows = [_window(gene, links[links["source"] == gene], genes, peaks, p_value, most_peaks) for gene in shown]
    width = min(2, len(shown))
    height = -(-len(shown) // width)
    ratios = [0.55, 1.3, 0.2, 0.125 * len(share), 0.3]  # inches: axis, arcs, lines to the heat map, heat map, number of peaks
    inches = sum(ratios) * height + 1.05
    figure = Figure(figsize=(3.9 * width + 0.4, inches))
    grid = figure.add_gridspec(
        5 * height, width, height_ratios=ratios * height, hspace=0, wspace=0.08, top=1 - 0.6 / inches, bottom=0.45 / inches
    )
    for i, (gene, (at, limits)) in enumerate(zip(shown, windows, strict=True)):
        row, column = 5 * (i // width), i % width
        arcs, fan, heat = (figure.add_subplot(grid[row + k, column]) for k in (1, 2, 3))
        _arcs(arcs, genes.loc[gene], at, limits, p_value)
        edges = np.linspace(*limits, len(at) + 1)
        middle = (at["start"] + at["end"]).to_numpy() / 2 / KB
        lines = [[(a, 1), (b, 0)] for a, b in zip(middle, (edges[1:] + edges[:-1]) / 2, strict=True)]
        fan.add_collection(LineCollection(lines, colors="0.6", linewidths=0.5))
        fan.set(xlim=limits, ylim=(0, 1))
        fan.axis("off")
        heat.set_facecolor(MISSING)
        highest = share[at.index].max()
        relative = share[at.index] / highest.where(highest > 0)
        drawn = heat.pcolormesh(edges, np.arange(len(share) + 1), relative, cmap="viridis", vmin=0, vmax=1, ec="w", lw=0.4)
        heat.set(xlim=limits, ylim=(len(share), 0), yticks=np.arange(len(share)) + 0.5, xticks=[])
        heat.set_yticklabels(share.index if column == 0 else [], fontsize=6.5)
        heat.tick_params(axis="y", length=0)
        heat.set_xlabel(f"{len(at)} peaks, highest share {highest.min():.1%} to {highest.max():.1%}", labelpad=2)
        arcs.xaxis.tick_top()
        arcs.xaxis.set_major_locator(MaxNLocator(5, prune="both"))
        arcs.xaxis.set_label_position("top")
        arcs.spines["top"].set_visible(True)
        arcs.spines["bottom"].set_visible(False)
        arcs.set(xlim=limits)
        arcs.set_xlabel(f"{gene}: {genes.loc[gene, 'chrom']}, kb", fontsize=8.5)
        arcs.tick_params(axis="y", labelleft=column == 0)
        if column == 0:
            arcs.set_ylabel("score of the pair")
    bar = figure.add_axes((0.93, 0.4, 0.012, 0.25))
    figure.colorbar(drawn, cax=bar, label="share of measured cells with a count,\nof the highest of a peak")
    handles = [
        Line2D([], [], color=colour, lw=2, label=f"pair {name}")
        for colour, name in ((IN_GRAPH, "of the guidance graph"), (NEW, "that is not in the graph"))
    ]
    if links["planted"].notna().any():
        handles.append(Line2D([], [], color="0.3", lw=1.5, ls=":", label="not planted in the simulation"))
    figure.legend(handles=handles, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 0.0))
    figure.suptitle(f"{title}\n{in_numbers(links, fdr, p_value)}", y=1, va="top")
    return figure


def _window(
    gene: str, links: pd.DataFrame, genes: pd.DataFrame, peaks: pd.DataFrame, p_value: float, most_peaks: int
) -> tuple[pd.DataFrame, tuple[float, float]]:
    """The near peaks around a gene's body and the peaks with an arc, by place; and from where to where, in kb."""
    at = links.set_index("target").join(peaks[["start", "end"]].astype(float))
    drawn = at[at["p_value"] <= p_value] if (at["p_value"] <= p_value).any() else at.head(1)
    low, high = (f([*drawn[side], genes.loc[gene, side]]) for f, side in ((min, "start"), (max, "end")))
    margin = max(MARGIN, 0.5 * (high - low))
    at = at[(at["start"] >= low - margin) & (at["end"] <= high + margin)].head(most_peaks).sort_values("start")
    return at, ((low - margin) / KB, (high + margin) / KB)


def _arcs(axis, gene: pd.Series, at: pd.DataFrame, window: tuple[float, float], p_value: float) -> None:
    """Arcs from the transcription start to peaks of high scores, above the gene (an arrow on its strand) and peaks (boxes)."""
    forward = gene["strand"] != "-"
    start, end = gene["start"] / KB, gene["end"] / KB
    tss, tail = (start, end) if forward else (end, start)
    half = np.linspace(0, np.pi, 60)
    for row in at[at["p_value"] <= p_value].sort_values("score").itertuples():
        to = (row.start + row.end) / 2 / KB
        axis.plot(
            (tss + to) / 2 + (to - tss) / 2 * np.cos(half), row.score * np.sin(half), lw=0.4 + 1.6 * max(row.score, 0),
            color=IN_GRAPH if row.in_graph else NEW, ls=":" if row.planted == 0 else "-",
        )  # fmt: skip
    axis.annotate(
        "", (tail, -0.13), (tss, -0.13), arrowprops={"arrowstyle": "-|>", "lw": 2.2, "color": "0.25", "shrinkA": 0, "shrinkB": 0}
    )
    axis.plot([tss, tss], [-0.2, -0.06], lw=1.2, color="0.25")
    least = 0.004 * (window[1] - window[0])  # narrower boxes would not be seen
    for row in at.itertuples():
        centre, half_width = (row.start + row.end) / 2 / KB, max((row.end - row.start) / KB, least) / 2
        axis.plot([centre - half_width, centre + half_width], [-0.32, -0.32], lw=5, color="0.45", solid_capstyle="butt")
    axis.axhline(0, lw=0.4, color="0.7")
    axis.set(ylim=(-0.42, 1.05), yticks=[0, 0.5, 1])

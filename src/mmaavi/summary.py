"""What a mosaic is made of, and what can be done with it: the tables behind ``snakemake check``."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .methods import unsupported
from .mosaic import Mosaic
from .normalisation import median_depth
from .stored import column_sizes

MEASURED, HIDDEN, ABSENT = "measured", "hidden", "absent"


def blocks(mosaic: Mosaic, truth: Mosaic) -> pd.DataFrame:
    """One row for each batch and modality.

    Parameters
    ----------
    mosaic
        What methods see.
    truth
        What was hidden from them.

    Returns
    -------
    ``batch, modality, state`` (measured, hidden or absent), ``cells`` that have the modality, ``features`` with a count in any of
    them, ``depth`` (median sum of values of a cell) and ``density`` (share of values that are not zero).
    """
    rows = []
    for batch in mosaic.batches:
        for m in mosaic.modalities:
            state, x = ABSENT, mosaic.counts[m][:0]
            for name, of in ((HIDDEN, truth), (MEASURED, mosaic)):
                has = ((of.obs["batch"] == batch) & of.measured[m]).to_numpy()
                if has.any():
                    state, x = name, of.counts[m][np.flatnonzero(has)]
            depth, sizes = median_depth(x) if x.shape[0] else np.nan, column_sizes(x)
            density = sizes.sum() / max(x.shape[0] * x.shape[1], 1)
            rows.append((batch, m, state, x.shape[0], np.count_nonzero(sizes), depth, density))
    return pd.DataFrame(rows, columns=["batch", "modality", "state", "cells", "features", "depth", "density"])


def label_coverage(labels: pd.DataFrame) -> pd.DataFrame:
    """Share of the cells of each batch (rows) that have a label, for each label column."""
    known = labels.drop(columns=["batch", "pattern"]).notna()
    return known.groupby(labels["batch"]).mean()


def reach(mosaic: Mosaic) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the guidance graph links.

    Returns
    -------
    Edges by pair of modalities: ``pair, edges, negative``; and the features that it reaches by modality: ``modality, features,
    reached, share``.
    """
    sizes = mosaic.n_features
    graph = sp.csr_array((sum(sizes.values()),) * 2) if mosaic.guidance is None else sp.csr_array(mosaic.guidance)
    reached = np.diff(graph.indptr) > 0
    modalities = [
        (m, sizes[m], int(reached[a : a + sizes[m]].sum()), reached[a : a + sizes[m]].sum() / max(sizes[m], 1))
        for m, a in mosaic.feature_starts.items()
    ]
    upper = sp.coo_array(sp.triu(graph, 1))
    owner = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    names = np.array(mosaic.modalities)
    pairs = pd.DataFrame(
        {
            "pair": [f"{a} - {b}" for a, b in zip(names[owner[upper.row]], names[owner[upper.col]], strict=True)],
            "negative": upper.data < 0,
        }
    )
    by_pair = pairs.groupby("pair", sort=False)["negative"].agg(edges="size", negative="sum").reset_index()
    return by_pair, pd.DataFrame(modalities, columns=["modality", "features", "reached", "share"])


def abilities(mosaic: Mosaic, methods: list[str]) -> dict[str, str]:
    """Method -> 'can run', or why it cannot."""
    return {method: f"cannot run: {reason}" if (reason := unsupported(method, mosaic)) else "can run" for method in methods}


def report(name: str, mosaic: Mosaic, truth: Mosaic, labels: pd.DataFrame, assemblies: pd.DataFrame, methods: list[str]) -> str:
    """All of this as text, for a terminal."""
    table = blocks(mosaic, truth)
    cells = mosaic.obs.groupby("batch").size()
    lines = [f"{name}: {len(mosaic.cells):,} cells in {len(cells)} batches, {len(mosaic.modalities)} modalities"]
    wide = pd.DataFrame({"cells": cells.map("{:,}".format)})
    for m in mosaic.modalities:
        of = table[table["modality"] == m].set_index("batch")
        wide[m] = [_block(row) for row in of.loc[wide.index].itertuples()]
    for label, share in label_coverage(labels).items():
        wide[label] = share.map("{:.0%}".format)
    wide.index = wide.index.rename(None)
    lines += ["", "  by batch: features with counts / median depth / density; share of cells with a label", _table(wide)]
    edges, modalities = reach(mosaic)
    shares = ", ".join(f"{r.reached:,} of {r.features:,} {r.modality} ({r.share:.0%})" for r in modalities.itertuples())
    lines += ["", "  guidance graph: none" if edges.empty else f"  guidance graph: reaches {shares}"]
    negative = {pair: f", {n:,} of them negative" if n else "" for pair, n in edges[["pair", "negative"]].to_numpy()}
    lines += [f"    {r.pair}: {r.edges:,} edges{negative[r.pair]}" for r in edges.itertuples()]
    if len(assemblies):
        lines += ["", "  share of peaks that touch a gene of the mosaic, by assembly"]
        lines += [f"    {r.Index}: {r.share_touching:.1%} ({r.genes_found:,} genes known)" for r in assemblies.itertuples()]
    lines += ["", "  methods", *(f"    {method}: {text}" for method, text in abilities(mosaic, methods).items())]
    return "\n".join(lines) + "\n"


def _block(row) -> str:
    if row.state == ABSENT:
        return "-"
    text = f"{row.features:,} / {row.depth:,.0f} / {row.density:.1%}"
    return f"({text}, hidden)" if row.state == HIDDEN else text


def _table(table: pd.DataFrame) -> str:
    return "\n".join(f"    {line}" for line in table.to_string().splitlines())

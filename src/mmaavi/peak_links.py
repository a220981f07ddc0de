"""Which peaks near a gene go with it, by what a trained model decodes for both."""

import bioframe
import numpy as np
import pandas as pd
import scipy.sparse as sp

from .estimator import MMAAVI
from .guidance import COORDINATES
from .mosaic import Mosaic

LINKS = ["source", "target", "score", "p_value", "fdr", "distance", "in_graph", "planted"]
LOCUS = COORDINATES[:3]


def genes_and_peaks(mosaic: Mosaic) -> tuple[str, str] | None:
    """The modalities whose features have coordinates, with a strand (genes) and without one (peaks); None without both."""
    located = [m for m, table in mosaic.var.items() if set(LOCUS) <= set(table.columns)]
    stranded = [m for m in located if mosaic.var[m].get("strand", pd.Series(dtype=object)).isin(["+", "-"]).any()]
    peaks = [m for m in located if m not in stranded]
    return (stranded[0], peaks[0]) if stranded and peaks else None


def nearby(genes: pd.DataFrame, peaks: pd.DataFrame, within: int) -> pd.DataFrame:
    """Pairs ``source`` (gene), ``target`` (peak) less than ``within`` bases apart, and their ``distance``: 0 where they overlap.

    Parameters
    ----------
    genes, peaks
        ``chrom, start, end`` by feature name; features without coordinates have no pairs.
    within
        Bases between the gene's body and the peak.
    """
    wide, peaks = (t.dropna(subset=LOCUS)[LOCUS].astype({"chrom": str, "start": int, "end": int}) for t in (genes, peaks))
    wide = wide.rename_axis("source").reset_index().assign(gene_start=wide["start"].to_numpy(), gene_end=wide["end"].to_numpy())
    wide = wide.assign(start=(wide["start"] - within).clip(lower=0), end=wide["end"] + within)
    peaks = peaks.rename_axis("target").reset_index()
    pairs = bioframe.overlap(wide, peaks, how="inner", suffixes=("", "_peak"))
    gap = np.maximum(pairs["start_peak"] - pairs["gene_end"], pairs["gene_start"] - pairs["end_peak"]).clip(lower=0)
    table = pd.DataFrame({"source": pairs["source"], "target": pairs["target_peak"], "distance": gap}).astype({"distance": int})
    return table.sort_values(["source", "distance", "target"], ignore_index=True)


def peak_links(model: MMAAVI, mosaic: Mosaic, truth: Mosaic, within: int = 100_000) -> pd.DataFrame:
    """Scores of all pairs of a gene and a peak near it, best first; no rows where the mosaic has no genes and peaks.

    Parameters
    ----------
    model
        A fitted model.
    mosaic
        Gives cells and coordinates.
    truth
        Its graph, over the same features, holds the planted links of a simulation.
    within
        As in :func:`nearby`.

    Returns
    -------
    The table of :func:`mmaavi.links.links` with ``distance`` in bases, and whether the pair was ``planted`` (missing where that
    is not known).
    """
    found = genes_and_peaks(mosaic)
    pairs = nearby(*(mosaic.var[m] for m in found), within) if found else pd.DataFrame()
    if pairs.empty:
        return pd.DataFrame(columns=LINKS)
    table = model.links(mosaic, *found, pairs).merge(pairs, on=["source", "target"], how="left")
    at = [mosaic.feature_starts[m] + mosaic.var[m].index.get_indexer(table[c]) for m, c in zip(found, LINKS[:2], strict=True)]
    table["planted"] = np.nan if truth.guidance is None else sp.csr_array(truth.guidance)[*at] != 0
    return table[LINKS]

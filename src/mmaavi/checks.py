"""What a mosaic must fulfil before any long work starts."""

from collections import Counter

import numpy as np
import scipy.sparse as sp

from .errors import InputError, listing
from .mosaic import Mosaic
from .stored import column_sizes, row_blocks

COUNT_LIKELIHOODS = frozenset({"negative_binomial", "poisson"})
NEGATIVE_ALLOWED = frozenset({"normal"})


def check_mosaic(mosaic: Mosaic, mixed_batches: bool = False) -> None:
    """Raise InputError with every problem that would spoil or break a training."""
    problems = [*check_trainable(mosaic, mixed_batches), *_check_empty(mosaic)]
    if problems:
        raise InputError("; ".join(problems))


def check_trainable(mosaic: Mosaic, mixed_batches: bool = True) -> list[str]:
    """Problems that no training can live with: values, mask and guidance graph."""
    graph = [] if mosaic.guidance is None else check_guidance(mosaic)
    return [*_check_structure(mosaic, mixed_batches), *_check_values(mosaic), *graph]


def _check_structure(mosaic: Mosaic, mixed_batches: bool) -> list[str]:
    problems = []
    for m in mosaic.modalities:
        if not mosaic.measured[m].any():
            problems.append(f"{_named(mosaic, m)} is measured in no batch; remove it from the dataset config")
    unmeasured = mosaic.cells[~mosaic.measured.any(axis=1).to_numpy()]
    if len(unmeasured):
        problems.append(f"{len(unmeasured)} cells have no modality ({listing(unmeasured)}); remove them")
    if not mixed_batches:
        for batch, mask in mosaic.measured.groupby(mosaic.obs["batch"]):
            n_patterns = mask.drop_duplicates().shape[0]
            if n_patterns > 1:
                problems.append(
                    f"the cells of batch '{batch}' disagree about their modalities ({n_patterns} patterns); "
                    "split the batch, or set 'mixed_batches: true' in the dataset config"
                )
    return problems


def _named(mosaic: Mosaic, modality: str) -> str:
    files = mosaic.provenance.get("files", {}).get(modality)
    return f"modality '{modality}'" + (f" (from {files})" if files else "")


def _check_values(mosaic: Mosaic) -> list[str]:
    problems = []
    for m, x in mosaic.counts.items():
        found: dict[str, list[np.ndarray]] = {}  # what is wrong -> rows with such values
        n_bad: Counter = Counter()
        for rows, block in row_blocks(x):
            finite = np.isfinite(block.data)
            bad = {"NaN or infinite": ~finite}
            if mosaic.likelihood_of(m) not in NEGATIVE_ALLOWED:
                bad["negative"] = finite & (block.data < 0)
            if mosaic.likelihood_of(m) in COUNT_LIKELIHOODS:
                bad["non-integer"] = finite & (block.data != np.round(block.data))
            for what, where in bad.items():
                if where.any():
                    row = rows.start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
                    found.setdefault(what, []).append(np.unique(row[where]))
                    n_bad[what] += int(where.sum())
        for what, parts in found.items():
            row = np.concatenate(parts)
            batches = sorted(mosaic.obs["batch"].iloc[row].unique())
            problems.append(
                f"{_named(mosaic, m)} has {n_bad[what]} {what} values, in batch {listing(batches)} (first cell "
                f"{mosaic.cells[row[0]]}); give raw counts, or choose another likelihood for '{m}'"
            )
    return problems


def empty_cells(mosaic: Mosaic) -> np.ndarray:
    """Boolean (n_cells): cells without a single count in all of their modalities."""
    return sum(np.concatenate([np.diff(block.indptr) for _, block in row_blocks(x)]) for x in mosaic.counts.values()) == 0


def empty_features(mosaic: Mosaic) -> dict[str, np.ndarray]:
    """Modality -> boolean (n_features): features without a single count."""
    return {m: column_sizes(x) == 0 for m, x in mosaic.counts.items()}


def _check_empty(mosaic: Mosaic) -> list[str]:
    problems = []
    cells = empty_cells(mosaic)
    advice = "set 'drop_empty: true' in the dataset config to leave them out"
    if cells.any():
        batches = sorted(mosaic.obs["batch"][cells].unique())
        problems.append(f"{cells.sum()} cells of batch {listing(batches)} are empty in all modalities; {advice}")
    for m, empty in empty_features(mosaic).items():
        if empty.any():
            names = mosaic.var[m].index[empty]
            problems.append(f"{_named(mosaic, m)} has {empty.sum()} features without a count ({listing(names)}); {advice}")
    return problems


def check_guidance(mosaic: Mosaic) -> list[str]:
    """Problems of the guidance graph: shape, symmetry, weights, modalities it does not reach."""
    graph = sp.csr_array(mosaic.guidance)
    total = sum(mosaic.n_features.values())
    if graph.shape != (total, total):
        return [f"the guidance graph is {graph.shape} where the mosaic has {total} features; rebuild it"]
    problems = []
    if not np.isfinite(graph.data).all() or (graph.data == 0).any():
        return ["the guidance graph has zero, NaN or infinite weights; give each edge a positive weight and a sign"]
    if abs(graph - graph.T).max() > 0:
        problems.append("the guidance graph is asymmetric; add each edge in both directions with one weight")
    off_diagonal = sp.csr_array(graph - sp.diags_array(graph.diagonal()))
    off_diagonal.eliminate_zeros()
    degree = np.diff(off_diagonal.indptr)
    start = 0
    for m, size in mosaic.n_features.items():
        full = mosaic.var[m].index[degree[start : start + size] >= total - 1]
        if len(full):
            problems.append(f"the guidance graph links '{full[0]}' of '{m}' to all other features; thin it out")
        if len(mosaic.modalities) > 1 and not degree[start : start + size].any():
            problems.append(
                f"the guidance graph leaves modality '{m}' unconnected (0 of {size} features have an edge); "
                "check the feature names, the assembly and the graph recipe"
            )
        start += size
    return problems

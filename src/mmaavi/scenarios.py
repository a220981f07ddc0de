"""Named changes of a dataset: what is hidden from every method, and what is left out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import InputError, nearest
from .mosaic import Mosaic
from .stored import in_memory


def hide(mosaic: Mosaic, hidden: dict[str, list[str]]) -> tuple[Mosaic, Mosaic]:
    """Hide modalities in some batches.

    Parameters
    ----------
    mosaic
        The mosaic as measured.
    hidden
        Batch -> modalities that no method shall see in it.

    Returns
    -------
    The mosaic without the hidden measurements, and the truth: the cells that lost something, with *only* what they
    lost (no cells where nothing is hidden).
    """
    visible = mosaic.measured.copy()
    for batch, modalities in hidden.items():
        if batch not in mosaic.batches:
            raise InputError(f"'hide' names a batch '{batch}'; {nearest(batch, mosaic.batches)}")
        for m in modalities:
            if m not in mosaic.modalities:
                raise InputError(f"'hide' names a modality '{m}' in batch '{batch}'; {nearest(m, mosaic.modalities)}")
            visible.loc[(mosaic.obs["batch"] == batch).to_numpy(), m] = False
    taken = mosaic.measured & ~visible
    return mosaic.with_measured(visible), mosaic.with_measured(taken).take(taken.any(axis=1).to_numpy())


def batches_to_hide(mosaic: Mosaic, modality: str, n_batches: int) -> list[str]:
    """The first ``n_batches`` batches, by name, whose cells have the modality and another one.

    Raises
    ------
    InputError
        If the modality does not exist, or fewer batches can lose it.
    """
    if modality not in mosaic.modalities:
        raise InputError(f"'hide_from' names a modality '{modality}'; {nearest(modality, mosaic.modalities)}")
    several = mosaic.measured[modality] & (mosaic.measured.sum(axis=1) > 1)
    spare = several.groupby(mosaic.obs["batch"]).all()
    can = list(spare.index[spare])
    if n_batches > len(can):
        raise InputError(f"'hide_from' hides '{modality}' from {n_batches} batches; {len(can)} have it beside another one: {can}")
    return can[:n_batches]


def without_unmeasured(mosaic: Mosaic) -> Mosaic:
    """The mosaic without the modalities that no cell has (any more)."""
    kept = [m for m in mosaic.modalities if mosaic.measured[m].any()]
    return mosaic if kept == mosaic.modalities else mosaic.of_modalities(kept)


def remove(mosaic: Mosaic, labels: pd.Series, removed: dict[str, list[str]]) -> Mosaic:
    """The mosaic without the cells of some labels in some batches.

    Parameters
    ----------
    mosaic
        The mosaic as measured.
    labels
        Label of each cell by cell id, missing where there is none.
    removed
        Batch -> labels whose cells are left out.

    Raises
    ------
    InputError
        If there are no such cells.
    """
    gone = np.zeros(len(mosaic.cells), dtype=bool)
    label = labels.reindex(mosaic.cells).to_numpy(dtype=object, na_value=None)
    batch = mosaic.obs["batch"].to_numpy()
    for name, unwanted in removed.items():
        if name not in mosaic.batches:
            raise InputError(f"'remove' names a batch '{name}'; {nearest(name, mosaic.batches)}")
        for one in unwanted:
            cells = (batch == name) & (label == one)
            if not cells.any():
                here = sorted(pd.unique(pd.Series(label[batch == name]).dropna()))
                raise InputError(f"'remove' names the label '{one}', of which batch '{name}' has no cells; {nearest(one, here)}")
            gone |= cells
    return mosaic.take(~gone)


def subsample(mosaic: Mosaic, n_cells: int, seed: int = 0) -> Mosaic:
    """A random subset of the cells, with the same share from each batch."""
    if n_cells >= len(mosaic.cells):
        return mosaic
    rng = np.random.default_rng(seed)
    share = n_cells / len(mosaic.cells)
    keep = [
        rng.choice(rows, size=max(1, round(share * len(rows))), replace=False)
        for rows in mosaic.obs.groupby("batch").indices.values()
    ]
    return mosaic.take(np.sort(np.concatenate(keep)))


def only(mosaic: Mosaic, truth: Mosaic, modality: str) -> Mosaic:
    """The cells of the truth with one modality alone, be it measured or hidden; cells without it are left out."""
    visible = mosaic.take(truth.cells)
    has = visible.measured[modality].to_numpy() | truth.measured[modality].to_numpy()
    measured = visible.measured.assign(**{m: has if m == modality else False for m in mosaic.modalities})
    counts = {
        m: in_memory(x) + in_memory(truth.counts[m]) if m == modality else sp.csr_array(x.shape, dtype=np.float32)
        for m, x in visible.counts.items()
    }
    return replace(visible, counts=counts, measured=measured).take(has)

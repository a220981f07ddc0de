"""Published file formats -> one AnnData of one modality. The dataset config says which reader reads what.

A reader is called with ``locate``, which gives the file of a path in the config, with ``intake``, which keeps the matrix
block by block (:mod:`mmaavi.intake`), with the modality, and with the keys of the input. No more than blocks are held beside what
``intake`` keeps, but of scipy's npz, which is read whole.
"""

from collections.abc import Callable
from pathlib import Path

import anndata as ad

from .. import simulate
from ..errors import InputError, nearest
from ..intake import Intake
from .hdf5 import read_h5ad, read_h5mu, read_hdf5
from .tables import attach_cells, read_csv, read_npz
from .tenx import read_10x_h5, read_10x_mtx

Locate = Callable[[str], Path]  # path in the dataset config -> where the file lies


def read_simulated(_locate: Locate, _intake: Intake, modality: str, **settings) -> ad.AnnData:
    """One modality of the simulated data set; ``settings`` are those of :func:`mmaavi.simulate.simulate`."""
    parts = simulate.simulate(**settings).parts
    if modality not in parts:
        raise InputError(f"the simulated data set has no modality '{modality}'; {nearest(modality, parts)}")
    return parts[modality]


IN_MEMORY = Intake()
READERS = {
    "npz": read_npz,
    "csv": read_csv,
    "hdf5": read_hdf5,
    "h5ad": read_h5ad,
    "h5mu": read_h5mu,
    "10x_h5": read_10x_h5,
    "10x_mtx": read_10x_mtx,
    "simulate": read_simulated,
}


def read_part(
    locate: Locate, modality: str, reader: str, cells: str | None = None, intake: Intake = IN_MEMORY, **settings
) -> ad.AnnData:
    """One input: what the reader gives, with the columns of the table ``cells`` where one is named; values as ``intake`` keeps
    them, by default in memory.
    """
    if reader == "npz":  # the format has no names of cells: they are those of the table
        settings, cells = settings | {"cells": cells}, None
    part = READERS[reader](locate, intake, modality, **settings)
    source = settings.get("counts", "the simulation")
    if not (part.n_obs and part.n_vars):
        raise InputError(f"{source} has {part.n_obs} cells x {part.n_vars} features; get it anew, or keep more of them")
    for what, names in (("cell", part.obs_names), ("feature", part.var_names)):
        if any("\0" in name for name in names):  # HDF5 keeps no such text
            raise InputError(f"{source}: a {what} name has a zero byte in it; get the file anew")
    return part if cells is None else attach_cells(part, locate(cells), cells, source)

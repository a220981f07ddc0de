"""Published file formats -> one AnnData of one modality. The dataset config says which reader reads what."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from . import simulate
from .errors import InputError, listing, nearest

Locate = Callable[[str], Path]  # path in the dataset config -> where the file lies


def read_npz(
    locate: Locate, _modality: str, counts: str, features: str, cells: str, features_in_rows: bool = False
) -> ad.AnnData:
    """Scipy's sparse npz with the names of the features (one a line) and a table of the cells (ids in column 1)."""
    try:
        x = sp.csr_array(sp.load_npz(locate(counts)))
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{counts} is no sparse matrix saved by scipy.sparse.save_npz ({error})") from error
    advice = "'features_in_rows' says which way it lies"
    return _with_names(counts, x.T if features_in_rows else x, read_lines(locate(features)), read_cells(locate(cells)), advice)


def read_hdf5(locate: Locate, _modality: str, counts: str, group: str = "matrix", cells: str | None = None) -> ad.AnnData:
    """HDF5 with ``<group>/{data, features, barcodes}``, data being a dense array of features x cells.

    ``cells``, where given, is a table of the same cells in the same order: that is the only link the format has.
    """
    with _opened(counts, lambda: h5py.File(locate(counts))) as file:
        missing = {"data", "features", "barcodes"} - set(file.get(group, {}))
        if missing:
            raise InputError(f"{counts} lacks {listing(f'{group}/{name}' for name in sorted(missing))}; {nearest(group, file)}")
        node = file[group]
        data = node["data"]
        blocks = [sp.csr_array(data[i : i + 1000]) for i in range(0, data.shape[0], 1000)]
        features, barcodes = (node[k].asstr()[:] for k in ("features", "barcodes"))
    x = sp.vstack(blocks, format="csr")
    obs = pd.DataFrame(index=barcodes)
    if cells is not None:
        table = read_cells(locate(cells))
        if len(table) != len(obs):
            raise InputError(f"{cells} has {len(table)} rows for the {len(obs)} cells of {counts}")
        obs = table.set_axis(obs.index)
    return _with_names(counts, x.T, features, obs, "the file contradicts itself: get it anew")


def read_h5mu(locate: Locate, _modality: str, counts: str, name: str) -> ad.AnnData:
    """One modality, by its name in the file, of a MuData file."""
    mdata = _opened(counts, lambda: md.read_h5mu(locate(counts)))
    if name not in mdata.mod:
        raise InputError(f"{counts} has no modality '{name}'; {nearest(name, mdata.mod)}")
    return mdata.mod[name]


def read_simulated(_locate: Locate, modality: str, **settings) -> ad.AnnData:
    """One modality of the simulated data set; ``settings`` are those of :func:`mmaavi.simulate.simulate`."""
    parts = simulate.simulate(**settings).parts
    if modality not in parts:
        raise InputError(f"the simulated data set has no modality '{modality}'; {nearest(modality, parts)}")
    return parts[modality]


READERS = {"npz": read_npz, "hdf5": read_hdf5, "h5mu": read_h5mu, "simulate": read_simulated}


def read_lines(path: Path) -> pd.Index:
    """Names, one a line."""
    return pd.Index([line.strip() for line in path.read_text().splitlines() if line.strip()])


def read_cells(path: Path) -> pd.DataFrame:
    """A comma- or tab-separated table with a header and cell ids in its first column."""
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str)
    return table.set_index(table.columns[0])


def _opened(name: str, reader: Callable):
    try:
        return reader()
    except (OSError, KeyError) as error:
        raise InputError(f"{name} cannot be opened ({error}); it may be cut off: remove it and run again") from error


def _with_names(source: str, x: sp.sparray, features: pd.Index, cells: pd.DataFrame, advice: str) -> ad.AnnData:
    if x.shape != (len(cells), len(features)):
        raise InputError(
            f"{source} is {x.shape[0]} cells x {x.shape[1]} features, but {len(cells)} cells and {len(features)} features "
            f"are named; {advice}"
        )
    return ad.AnnData(sp.csr_matrix(x).astype(np.float32), obs=cells, var=pd.DataFrame(index=pd.Index(features).astype(str)))

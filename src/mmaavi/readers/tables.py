"""Text files and scipy's npz."""

import logging
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.abc import CSRDataset

from ..errors import InputError, listing, nearest
from ..files import SAFE_NUMBERS
from ..intake import Intake, by_feature
from .blocks import BLOCK_VALUES, LARGEST_COMPRESSION


def read_npz(
    locate, intake: Intake, _modality: str, counts: str, features: str, cells: str, features_in_rows: bool = False
) -> ad.AnnData:
    """Scipy's sparse npz with the names of the features (one a line) and a table of the cells (ids in column 1)."""
    path = locate(counts)
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > LARGEST_COMPRESSION * path.stat().st_size:
            raise InputError(f"{counts} claims {claimed:,} bytes, more than it can hold; get it anew")
        x = sp.load_npz(path)  # without pickle
        x = x if x.format in ("csr", "csc") else x.tocsr()
        x.check_format()
        if (x.indptr[1:] < x.indptr[:-1]).any():  # a difference may overflow
            raise ValueError("its rows end before they begin")
    except InputError:
        raise
    except Exception as error:  # whatever numpy, scipy or zipfile raise at bytes that they do not understand
        raise InputError(f"{counts} is no sparse matrix saved by scipy.sparse.save_npz ({error}); get it anew") from error
    advice = "'features_in_rows' says which way it lies"
    x = sp.csr_array(x.T if features_in_rows else x).astype(np.float32, copy=False)
    return with_names(counts, intake.keep([x], x.shape[1]), read_lines(locate(features)), read_cells(locate(cells)), advice)


def read_csv(locate, intake: Intake, _modality: str, counts: str, features_in_rows: bool = False) -> ad.AnnData:
    """A comma- or tab-separated matrix (gzipped or not) with names in its first row and column, some rows at a time."""
    tables, names = _rows(locate(counts), counts), []
    first = next(tables, pd.DataFrame())

    def blocks() -> Iterator[sp.csr_array]:
        for table in chain([first], tables):
            names.extend(table.index)
            yield sp.csr_array(_numbers(table, counts, len(names) - len(table)))

    columns = first.columns.astype(str)
    if features_in_rows:
        by_cell = intake.by_cell(by_feature(blocks()), len(columns))  # all names are read then
        x, cells, features = intake.keep(by_cell, len(names)), columns, pd.Index(names).astype(str)
    else:
        x, cells, features = intake.keep(blocks(), len(columns)), pd.Index(names).astype(str), columns
    return with_names(counts, x, features, pd.DataFrame(index=cells), "the file contradicts itself: get it anew")


def _rows(path: Path, source: str) -> Iterator[pd.DataFrame]:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    separator = "\t" if plain.suffix in (".tsv", ".txt") else ","
    options = {"sep": separator, "index_col": 0, "low_memory": False, "float_precision": SAFE_NUMBERS}
    try:
        n_columns = pd.read_csv(path, nrows=0, **options).shape[1]
        yield from pd.read_csv(path, chunksize=max(1, BLOCK_VALUES // max(n_columns, 1)), **options)
    except (ValueError, OSError, EOFError, zlib.error) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{source} cannot be read as a table ({' '.join(str(error).split())}); get it anew") from error


def _numbers(table: pd.DataFrame, source: str, n_before: int) -> np.ndarray:
    """The values of some rows; the first that is no number is named by its line."""
    if not all(dtype.kind in "iufb" for dtype in table.dtypes):
        for column in table.columns[[dtype.kind not in "iufb" for dtype in table.dtypes]]:
            bad = pd.to_numeric(table[column], errors="coerce").isna().to_numpy()
            if bad.any():
                line = n_before + int(np.argmax(bad)) + 2
                raise InputError(f"{source}, line {line}, column '{column}': '{table[column].iloc[np.argmax(bad)]}' is no number")
    return table.to_numpy(dtype=np.float32)


def read_lines(path: Path) -> pd.Index:
    """Names, one a line."""
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text ({error}); get it anew") from error
    return pd.Index([line.strip() for line in text.splitlines() if line.strip()])


def read_cells(path: Path) -> pd.DataFrame:
    """A comma- or tab-separated table with a header and cell ids in its first column."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    try:
        table = pd.read_csv(path, sep="\t" if plain.suffix in (".tsv", ".txt") else ",", dtype=str)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as a table of cells ({' '.join(str(error).split())})") from error
    return table.set_index(table.columns[0])


def attach_cells(part: ad.AnnData, path: Path, cells: str, source: str) -> ad.AnnData:
    """The part with the columns of a table of its cells, joined by id, or by position where the table has row numbers.

    R writes tables with the row numbers 1, 2, ... in the first column: the only link to the cells is then their order.
    """
    table = read_cells(path)
    if list(table.index) == [str(i + 1) for i in range(len(table))]:
        if len(table) != part.n_obs:
            raise InputError(f"{cells} has {len(table)} rows for the {part.n_obs} cells of {source}")
        table = table.set_axis(part.obs_names)
    else:
        repeated = table.index[table.index.duplicated()].unique()
        if len(repeated):
            raise InputError(f"{cells} has {len(repeated)} cell ids more than once ({listing(repeated)}); make them unique")
        missing = part.obs_names.difference(table.index, sort=False)
        if len(missing) == part.n_obs:
            raise InputError(
                f"{cells} has none of the cells of {source} ({listing(missing)}); {nearest(missing[0], table.index)}"
            )
        if len(missing):
            logging.warning("%s lacks %d of the %d cells of %s", cells, len(missing), part.n_obs, source)
    part.obs = part.obs.drop(columns=table.columns, errors="ignore").join(table)
    return part


def with_names(source: str, x: sp.csr_matrix | CSRDataset, features: pd.Index, cells: pd.DataFrame, advice: str) -> ad.AnnData:
    """Values of shape (n_cells, n_features) with the names of both."""
    if x.shape != (len(cells), len(features)):
        raise InputError(
            f"{source} is {x.shape[0]} cells x {x.shape[1]} features, but {len(cells)} cells and {len(features)} features "
            f"are named; {advice}"
        )
    return ad.AnnData(
        x,
        obs=cells.set_axis(cells.index.astype(str).rename(None)),
        var=pd.DataFrame(index=pd.Index(features).astype(str).rename(None)),
    )

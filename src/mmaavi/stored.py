"""Counts that stay on disk: rows and columns are chosen now, and read when they are needed."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSRDataset

from .files import reading

if TYPE_CHECKING:
    from .mosaic import Mosaic

BLOCK_ENTRIES = 2**24  # of a block of rows: 128 MiB as a CSR matrix
LARGEST_GAP = 3  # rows
READ_GIB = 2  # of a training's counts: a mosaic of more stays on disk where it is only looked at
UNCACHED = 0  # bytes of HDF5's cache: what it cannot write when it closes a dataset, it only warns of
BYTES_AN_ENTRY = 32  # of counts in a training: 8 of the mosaic's own, 16 on the device, and what is made on the way


class StoredCounts:
    """A CSR matrix of a file, indexed like one in memory; nothing is read before :meth:`read`.

    Parameters
    ----------
    stored
        The matrix in the file, of shape (n_stored, n_stored_columns).
    place
        Its row for each row of this one, -1 for a row without entries; shape (n_rows,).
    columns
        Its column for each column of this one; None for all of them.
    """

    def __init__(self, stored: CSRDataset, place: np.ndarray, columns: np.ndarray | None = None):
        self._stored, self._place, self._columns = stored, place, columns

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._place), self._stored.shape[1] if self._columns is None else len(self._columns)

    def __getitem__(self, key) -> "StoredCounts":
        """The matrix of some rows, or of some columns (``[:, columns]``), by position or boolean mask."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        return StoredCounts(
            self._stored, self._place[rows], self._all_columns[columns] if isinstance(key, tuple) else self._columns
        )

    @property
    def _all_columns(self) -> np.ndarray:
        return np.arange(self._stored.shape[1]) if self._columns is None else self._columns

    def without(self, rows: np.ndarray) -> "StoredCounts":
        """The matrix with some rows empty, by boolean mask."""
        return StoredCounts(self._stored, np.where(rows, -1, self._place), self._columns)

    @property
    def row_sizes(self) -> np.ndarray:
        """Entries that the file holds for each row, of shape (n_rows,)."""
        sizes = np.append(np.diff(self._stored.group["indptr"][:]), 0)
        return sizes[self._place]

    def read(self) -> sp.csr_array:
        """The matrix in memory, float32; rows that lie together in the file are read together."""
        stored = np.unique(self._place[self._place >= 0])
        wanted = np.zeros(self._stored.shape[0], dtype=bool)
        wanted[stored] = True
        close = np.flatnonzero(np.diff(stored) <= LARGEST_GAP + 1)  # what lies between is quicker read than left out
        for gap in range(1, LARGEST_GAP + 1):
            wanted[np.minimum(stored[close] + gap, stored[close + 1])] = True
        with reading(self._stored.group.file.filename):
            found = sp.csr_array(self._stored[wanted]).astype(np.float32, copy=False)
        row = np.append(np.cumsum(wanted) - 1, -1)[self._place]
        x = take_rows(found, row)
        x = x if self._columns is None else sp.csr_array(x[:, self._columns])
        x.sort_indices()
        return x


Counts = sp.csr_array | StoredCounts


def spread_rows(x, rows: np.ndarray, n_rows: int) -> Counts:
    """A CSR array of ``n_rows`` rows whose row ``rows[i]`` is row i of ``x``; other rows are empty."""
    place = np.full(n_rows, -1)
    place[rows] = np.arange(len(rows))
    if isinstance(x, CSRDataset):
        return StoredCounts(x, place)
    return take_rows(sp.csr_array(x).astype(np.float32, copy=False), place)


def take_rows(x: sp.csr_array, rows: np.ndarray) -> sp.csr_array:
    """Rows of a matrix by position, -1 for an empty one; values are not copied where these are all rows in order."""
    there = rows[rows >= 0]
    taken = x if np.array_equal(there, np.arange(x.shape[0])) else x[there]
    sizes = np.zeros(len(rows), dtype=np.int64)
    sizes[rows >= 0] = np.diff(taken.indptr)
    return sp.csr_array((taken.data, taken.indices, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(rows), x.shape[1]))


def in_memory(x: Counts) -> sp.csr_array:
    return x.read() if isinstance(x, StoredCounts) else x


def row_sizes(x: Counts) -> np.ndarray:
    """Stored entries of each row, of shape (n_rows,); on disk, with those of columns that were left out."""
    return x.row_sizes if isinstance(x, StoredCounts) else np.diff(x.indptr)


def row_blocks(x: Counts) -> Iterator[tuple[slice, sp.csr_array]]:
    """Consecutive rows, so many at a time that a block's entries take little memory."""
    for rows in row_slices(row_sizes(x), BLOCK_ENTRIES):
        yield rows, in_memory(x[rows])


def cell_blocks(mosaic: "Mosaic") -> Iterator["Mosaic"]:
    """Consecutive cells in memory, so many at a time that they take little of it; a mosaic in memory as it is."""
    if not mosaic.on_disk:
        yield mosaic
        return
    for cells in row_slices(sum(row_sizes(x) for x in mosaic.counts.values()), BLOCK_ENTRIES):
        yield mosaic.take(np.arange(cells.start, cells.stop)).in_memory()


def row_slices(sizes: np.ndarray, n_entries: int) -> Iterator[slice]:
    """Of consecutive rows with ``sizes`` entries each, that have some ``n_entries`` together."""
    block = np.concatenate([[0], np.cumsum(sizes)])[:-1] // n_entries
    edges = [*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), len(sizes)]
    for start, stop in pairwise(edges):
        yield slice(start, stop)


def row_sums(x: Counts) -> np.ndarray:
    """Sum of each row, of shape (n_rows,)."""
    return np.concatenate([np.zeros(0, np.float32), *(block.sum(axis=1) for _, block in row_blocks(x))])


def column_sizes(x: Counts) -> np.ndarray:
    """Stored entries of each column, of shape (n_columns,)."""
    return sum((np.bincount(b.indices, minlength=x.shape[1]) for _, b in row_blocks(x)), np.zeros(x.shape[1], dtype=int))


def write_blocks(blocks: Iterable[sp.csr_array], group: h5py.Group, name: str) -> CSRDataset:
    """Write a matrix over the member ``name`` of a group, one block of rows after the other."""
    for n, block in enumerate(blocks):
        if n == 0:
            ad.io.write_elem(group, name, sp.csr_matrix(block), dataset_kwargs={"indptr_dtype": np.int64})
        else:
            ad.io.sparse_dataset(group[name]).append(sp.csr_matrix(block))
        group.file.flush()  # what does not fit on the disk is an error now, and not a warning when the file is closed
    return ad.io.sparse_dataset(group[name])

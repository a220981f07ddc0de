"""The counts of inputs, as readers hand them over: in memory, or in one file once they are too much."""

from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSRDataset

from .errors import InputError
from .stored import UNCACHED, row_blocks, row_slices, spread_rows, write_blocks

BYTES_HELD = 16  # by an entry in memory: float32 and its column, twice while blocks are joined
TURNED_AT_ONCE = 2**21  # entries of matrices that do not lie by cell, while they are turned round


class Intake:
    """Counts of several inputs, all in memory."""

    def keep(self, blocks: Iterable[sp.csr_array], n_columns: int) -> sp.csr_matrix | CSRDataset:
        """Blocks of rows, below each other."""
        lengths, indices, data = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        for block in blocks:
            lengths.append(np.diff(block.indptr))
            indices.append(block.indices.astype(np.int32, copy=False))
            data.append(block.data)
        indptr = np.cumsum(np.concatenate(lengths))
        joined = np.concatenate(data)
        del data
        return sp.csr_matrix((joined, np.concatenate(indices), indptr), shape=(len(indptr) - 1, n_columns))

    def by_cell(self, parts: Iterable[sp.coo_array], n_cells: int) -> Iterator[sp.csr_array]:
        """Blocks of rows of the sum of some matrices, each of which holds other entries of it, as it is read from its file.

        All parts are read before this returns. The sum is as wide as the widest of them.
        """
        return iter([summed(list(parts), n_cells)])


class Aside(Intake):
    """Counts of several inputs: in memory while they take little of it together, in one file beyond that.

    Parameters
    ----------
    folder
        Of the file, which is there for as long as the counts are needed.
    memory_gib
        What all counts in memory may take together.
    """

    def __init__(self, folder: str | Path, memory_gib: float):
        self._left = memory_gib * 2**30 / BYTES_HELD
        self._file = h5py.File(Path(folder) / "counts.h5", "w", rdcc_nbytes=UNCACHED)
        self._names = count()

    def keep(self, blocks: Iterable[sp.csr_array], n_columns: int) -> sp.csr_matrix | CSRDataset:
        """Blocks of rows below each other: in memory, or in the file once they are too much beside those before."""
        held, n_held, blocks = [], 0, iter(blocks)
        for block in blocks:
            held.append(block)
            n_held += block.nnz
            if n_held > self._left:
                return self._write(chain(held, blocks))
        self._left -= n_held
        return super().keep(held, n_columns)

    def by_cell(self, parts: Iterable[sp.coo_array], n_cells: int) -> Iterator[sp.csr_array]:
        """As in memory; of a large matrix, all but the last parts wait in the file."""
        held, n_held, waiting, sizes = [], 0, [], np.zeros(n_cells, np.int64)
        for part in parts:
            held.append(part)
            n_held += part.nnz
            if n_held > TURNED_AT_ONCE:
                x = summed(held, n_cells)
                waiting.append(self._write([x]).group)
                sizes += np.diff(x.indptr)
                held, n_held = [], 0
                del x
        return self._joined(waiting, summed(held, n_cells), sizes)

    def stack(self, parts: list[tuple[sp.csr_matrix | CSRDataset, np.ndarray]]) -> CSRDataset:
        """The rows of all matrices, below each other in the file, each with the columns that are named beside it."""
        counts = [(spread_rows(x, np.arange(x.shape[0]), x.shape[0]), columns) for x, columns in parts]
        return self._write(block[:, columns] for x, columns in counts for _, block in row_blocks(x))

    def close(self) -> None:
        """Give up what is in the file."""
        self._file.close()

    def _joined(self, waiting: list[h5py.Group], last: sp.csr_array, sizes: np.ndarray) -> Iterator[sp.csr_array]:
        for rows in row_slices(sizes + np.diff(last.indptr), TURNED_AT_ONCE):
            yield summed([last[rows].tocoo(), *(_rows(group, rows) for group in waiting)], rows.stop - rows.start, last.shape[1])
        for group in waiting:
            del self._file[group.name]  # its room is used again

    def _write(self, blocks: Iterable[sp.csr_array]) -> CSRDataset:
        try:
            return write_blocks(blocks, self._file, str(next(self._names)))
        except (OSError, RuntimeError) as error:  # by h5py
            raise InputError(
                f"{self._file.filename}, where counts are put that are too many in memory, cannot be written "
                f"({' '.join(str(error).split())}); make room there, or give this job more memory"
            ) from error


def by_feature(blocks: Iterable[sp.csr_array], keep: np.ndarray | None = None) -> Iterator[sp.coo_array]:
    """Blocks of features x cells, turned round: each as cells x all features up to it; ``keep`` chooses features."""
    n_read, n_kept = 0, 0
    for block in blocks:
        n_read += block.shape[0]
        x = block if keep is None else block[keep[n_read - block.shape[0] : n_read]]
        x = x.tocoo()
        yield sp.coo_array((x.data, (x.col, x.row + n_kept)), shape=(x.shape[1], n_kept + x.shape[0]))
        n_kept += x.shape[0]


def summed(parts: list[sp.coo_array], n_rows: int, n_columns: int = 0) -> sp.csr_array:
    """The sum of matrices as float32, as wide as the widest, or as asked for."""
    data = np.concatenate([np.zeros(0, np.float32), *(x.data for x in parts)], dtype=np.float32, casting="unsafe")
    row, column = (
        np.concatenate([np.zeros(0, np.int32), *(x.coords[axis] for x in parts)], dtype=np.int32, casting="same_kind")
        for axis in (0, 1)
    )
    return sp.csr_array((data, (row, column)), shape=(n_rows, max([n_columns, *(x.shape[1] for x in parts)])))


def _rows(group: h5py.Group, rows: slice) -> sp.coo_array:
    """Some rows of a CSR matrix in a file, of whose ``indptr`` no more is read than they need."""
    indptr = group["indptr"][rows.start : rows.stop + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    shape = (rows.stop - rows.start, int(group.attrs["shape"][1]))
    return sp.csr_array((group["data"][entries], group["indices"][entries], indptr - indptr[0]), shape=shape).tocoo()

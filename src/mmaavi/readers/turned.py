"""Matrices that do not lie by cell in their file, given by cell; large ones through a temporary file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO

import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from ..stored import row_slices

PUT_ASIDE = 2**24  # entries together, so that a large matrix is in few parts
GIVEN = 2**22  # entries of a block


def by_cell(blocks: Iterable[sp.csr_array], n_cells: int) -> Iterator[sp.csr_array]:
    """Blocks of features x all cells -> blocks of cells x all features."""
    return summed(_transposed(blocks), n_cells)


def summed(parts: Iterable[sp.coo_array], n_rows: int) -> Iterator[sp.csr_array]:
    """The sum of matrices that hold different entries of one, as blocks of its rows.

    Parameters
    ----------
    parts
        Each with the positions of its entries in the whole, which is as wide as the widest. They are taken in at once, and
        what is more than a block of them is put aside.
    n_rows
        Of the whole.

    Raises
    ------
    InputError
        If there is no room for temporary files.
    """
    file, aside, held = TemporaryFile(), [], []  # the file is open for as long as blocks are asked for
    for part in parts:
        held.append(part)
        if sum(x.nnz for x in held) > PUT_ASIDE:
            aside.append(_PutAside.put(file, _joined(held, n_rows)))
            held = []
    return _blocks([_joined(held, n_rows), *aside])


@dataclass(frozen=True)
class _PutAside:
    """A CSR matrix in a file, of which some rows are read at a time."""

    file: BinaryIO
    start: int  # its first byte
    indptr: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def put(cls, file: BinaryIO, x: sp.csr_array) -> "_PutAside":
        start = file.seek(0, 2)
        try:
            x.indices.astype(np.int32, copy=False).tofile(file)
            x.data.tofile(file)
            file.flush()
        except OSError as error:
            raise InputError(
                f"{gettempdir()}, where a matrix is put that has to be turned round, cannot be written ({error}); make room "
                "there, or name another folder by TMPDIR"
            ) from error
        return cls(file, start, x.indptr.astype(np.int64), x.shape)

    def __getitem__(self, rows: slice) -> sp.csr_array:
        indptr = self.indptr[rows.start : rows.stop + 1]
        indices = self._read(np.int32, self.start, indptr)
        data = self._read(np.float32, self.start + 4 * int(self.indptr[-1]), indptr)
        return sp.csr_array((data, indices, indptr - indptr[0]), shape=(len(indptr) - 1, self.shape[1]))

    def _read(self, dtype: type, start: int, indptr: np.ndarray) -> np.ndarray:
        self.file.seek(start + 4 * int(indptr[0]))
        return np.fromfile(self.file, dtype, int(indptr[-1] - indptr[0]))


def _transposed(blocks: Iterable[sp.csr_array]) -> Iterator[sp.coo_array]:
    n_before = 0
    for block in blocks:
        n_after = n_before + block.shape[0]
        x = block.tocoo()
        yield sp.coo_array((x.data, (x.col, x.row + n_before)), shape=(block.shape[1], n_after))
        n_before = n_after


def _blocks(parts: list[sp.csr_array | _PutAside]) -> Iterator[sp.csr_array]:
    for rows in row_slices(sum(np.diff(x.indptr) for x in parts), GIVEN):
        yield _joined([x[rows].tocoo() for x in parts], rows.stop - rows.start, max(x.shape[1] for x in parts))


def _joined(parts: list[sp.coo_array], n_rows: int, n_columns: int = 0) -> sp.csr_array:
    """The sum of some matrices, float32; at least so many columns."""
    n_columns = max([n_columns, *(x.shape[1] for x in parts)])
    data = np.concatenate([np.zeros(0, np.float32), *(x.data for x in parts)], dtype=np.float32, casting="unsafe")
    row, column = (
        np.concatenate([np.zeros(0, np.int32), *(x.coords[axis] for x in parts)], dtype=np.int32, casting="same_kind")
        for axis in (0, 1)
    )
    return sp.csr_array((data, (row, column)), shape=(n_rows, n_columns))

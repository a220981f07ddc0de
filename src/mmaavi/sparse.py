"""Rows of CSR matrices on the training device, and the products with them, sparse where that is faster."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import sparse_numba
from .kernels import takes

# A dense product is faster where this share of values is stored (on a CPU as fast at 0.08, and at 0.9 in a third of the time), or
# where it is so small that the sparse one's preparations take longer.
DENSE_FROM = 0.1
DENSE_ELEMENTS = 2**17

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")


@dataclass(frozen=True)
class SparseRows:
    """A CSR matrix of torch tensors.

    Attributes
    ----------
    indptr
        Row starts, of shape (n_rows + 1,).
    indices, values
        Column and value of each stored entry, of shape (nnz,).
    n_columns
        Width of the matrix.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor
    n_columns: int

    @staticmethod
    def from_scipy(x: sp.csr_array, device: torch.device | str = "cpu") -> "SparseRows":
        indptr, indices = (torch.tensor(a, dtype=torch.int64, device=device) for a in (x.indptr, x.indices))
        return SparseRows(indptr, indices, torch.tensor(x.data, dtype=torch.float32, device=device), x.shape[1])

    def to(self, device: torch.device) -> "SparseRows":
        return SparseRows(self.indptr.to(device), self.indices.to(device), self.values.to(device), self.n_columns)

    def to_dense(self) -> Tensor:
        return self.add_to(self.values.new_zeros(self.n_rows, self.n_columns))

    def add_to(self, dense: Tensor) -> Tensor:
        """Dense += self, in place; ``dense`` is contiguous."""
        if takes(dense, self.values):
            sparse_numba.add(self.indptr, self.indices, self.values, dense)
            return dense
        dense.view(-1).index_add_(0, self.rows * self.n_columns + self.indices, self.values)
        return dense

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def is_dense(self) -> bool:
        """Whether dense products are faster."""
        n = self.n_rows * self.n_columns
        return n <= DENSE_ELEMENTS or len(self.values) > DENSE_FROM * n

    @cached_property
    def rows(self) -> Tensor:
        """Row of each stored entry, of shape (nnz,)."""
        return _row_of_each(self.indptr.diff(), len(self.indices))

    def with_values(self, values: np.ndarray) -> "SparseRows":
        """Other values (nnz,) in the same places, which are held once."""
        assert len(values) == len(self.indices)
        return replace(self, values=torch.tensor(values, device=self.values.device))

    def take(self, rows: Tensor, n_stored: int | None = None) -> "SparseRows":
        """The matrix of some rows, in any order and also repeatedly; see :func:`take_alike`."""
        return take_alike([self], rows, n_stored)[0]

    def matmul(self, dense: Tensor) -> Tensor:
        """Self @ dense: (n_rows, n_columns) x (n_columns, k) -> (n_rows, k)."""
        return self._tensor @ dense

    def matmul_and_shift(self, dense: Tensor, shift: Tensor, group: Tensor) -> Tensor:
        """(Self + shift[group]) @ dense, whose first factor is never made."""
        if takes(dense, shift):
            return sparse_numba.shifted_product(self.indptr, self.indices, self.values, shift, group, dense)
        return self.matmul(dense).add_((shift @ dense).index_select(0, group))

    def transposed_matmul(self, dense: Tensor) -> Tensor:
        """Self.T @ dense: (n_columns, n_rows) x (n_rows, k) -> (n_columns, k)."""
        return self._transposed @ dense

    def transposed_matmul_and_shift(self, dense: Tensor, shift: Tensor, by_group: Tensor) -> Tensor:
        """Self.T @ dense + shift.T @ by_group, without a temporary of its size (n_columns, k)."""
        if takes(dense):
            return sparse_numba.product_and_shift(self._transposed, dense, shift, by_group)
        out = shift.T @ by_group  # (n_columns, k)
        return torch.addmm(out, self._transposed, dense, out=out)

    @cached_property
    def _tensor(self) -> Tensor:
        return self._csr(self.indptr, self.indices, self.values, (self.n_rows, self.n_columns))

    @cached_property
    def _transposed(self) -> Tensor:
        if not self.indices.is_cuda:
            columns = (self.values.numpy(), self.indices.numpy(), self.indptr.numpy())  # of the transpose
            turned = sp.csc_array(columns, shape=(self.n_columns, self.n_rows)).tocsr()
            return self._csr(*map(torch.from_numpy, (turned.indptr, turned.indices, turned.data)), turned.shape)
        order = torch.argsort(self.indices, stable=True)
        starts = torch.arange(self.n_columns + 1, device=order.device)
        indptr = torch.searchsorted(self.indices[order], starts)  # (n_columns + 1,)
        return self._csr(indptr, self.rows[order], self.values[order], (self.n_columns, self.n_rows))

    @staticmethod
    def _csr(indptr: Tensor, indices: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.sparse_csr_tensor(indptr, indices, values, size, check_invariants=False)


def take_alike(alike: Sequence[SparseRows], rows: Tensor, n_stored: int | None = None) -> list[SparseRows]:
    """Some rows, in any order and also repeatedly, of matrices with values in the same places.

    With ``n_stored``, which is no less than the entries of the rows, so many are stored: zeros beside the others, spread
    over rows and columns. The host then need not wait for the device to know their number.
    """
    indptr, indices, n_columns = alike[0].indptr, alike[0].indices, alike[0].n_columns
    if n_stored is None and not rows.is_cuda:
        taken_indptr, (columns, *values) = sparse_numba.take_rows(indptr, [indices, *(x.values for x in alike)], rows)
        return [SparseRows(taken_indptr, columns, v, n_columns) for v in values]
    start = indptr[rows]  # (n,)
    size = indptr[rows + 1] - start  # (n,)
    n_stored = int(size.sum()) if n_stored is None else n_stored
    spare, place = n_stored - size.sum(), torch.arange(len(rows), device=rows.device)
    filled = size + spare // len(rows) + (place < spare % len(rows))  # (n,)
    taken_indptr = F.pad(filled.cumsum(0), (1, 0))  # (n + 1,)
    row, number = _row_of_each(filled, n_stored), torch.arange(n_stored, device=rows.device)  # (n_stored,)
    entry = number + (start - taken_indptr[:-1]).index_select(0, row)  # (n_stored,)
    real = entry < (start + size).index_select(0, row)
    entry = torch.where(real, entry, 0)

    def held(by_entry: Tensor) -> Tensor:
        return by_entry.index_select(0, entry) if len(by_entry) else by_entry.new_zeros(n_stored)

    columns, values = torch.where(real, held(indices), number % n_columns), [held(x.values) * real for x in alike]
    taken = [SparseRows(taken_indptr, columns, v, n_columns) for v in values]
    for x in taken:
        vars(x)["rows"] = row  # known already
    return taken


def _row_of_each(sizes: Tensor, n: int) -> Tensor:
    """Rows of so many entries each (n_rows,) -> the row of each of all n entries."""
    return torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes, output_size=n)


class _SparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: SparseRows, weight: Tensor) -> Tensor:
        ctx.x = x
        return x.matmul(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return None, ctx.x.transposed_matmul(gradient.contiguous())


def sparse_linear(x: SparseRows, weight: Tensor) -> Tensor:
    """X @ weight with a gradient for the weight of shape (n_columns, k)."""
    return _SparseLinear.apply(x, weight)


class _ShiftedSparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: SparseRows, shift: Tensor, group: Tensor, weight: Tensor) -> Tensor:
        ctx.x = x
        ctx.save_for_backward(shift, group)
        return x.matmul_and_shift(weight, shift, group)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        shift, group = ctx.saved_tensors
        gradient = gradient.contiguous()
        by_group = gradient.new_zeros(len(shift), gradient.shape[1]).index_add_(0, group, gradient)  # (n_groups, k)
        return None, None, None, ctx.x.transposed_matmul_and_shift(gradient, shift, by_group)


def shifted_sparse_linear(x: SparseRows, shift: Tensor, group: Tensor, weight: Tensor) -> Tensor:
    """(X + shift[group]) @ weight with a gradient for the weight; where few values are stored, the dense sum is never made.

    Parameters
    ----------
    x
        n x n_columns.
    shift
        One dense row a group, of shape (n_groups, n_columns).
    group
        Group of each row of x, of shape (n,).
    weight
        Shape (n_columns, k).
    """
    if x.is_dense:
        return x.add_to(shift.index_select(0, group)) @ weight
    return _ShiftedSparseLinear.apply(x, shift, group, weight)

"""Rows of CSR matrices on the training device, and the products with them that a dense copy would make slow."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import scipy.sparse as sp
import torch
from torch import Tensor

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")


@dataclass(frozen=True)
class SparseRows:
    """A CSR matrix of torch tensors.

    Attributes
    ----------
    indptr
        Row starts, of shape (n_rows + 1,); always on the host, so that sizes are known without waiting for the device.
    indices, values
        Column and value of each stored entry, of shape (nnz,), on the device.
    n_columns
        Width of the matrix.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor
    n_columns: int

    @staticmethod
    def from_scipy(x: sp.csr_array, device: torch.device | str = "cpu") -> "SparseRows":
        indptr = torch.tensor(x.indptr, dtype=torch.int64)
        indices = torch.tensor(x.indices, dtype=torch.int64, device=device)
        return SparseRows(indptr, indices, torch.tensor(x.data, dtype=torch.float32, device=device), x.shape[1])

    def to(self, device: torch.device) -> "SparseRows":
        return SparseRows(self.indptr, self.indices.to(device), self.values.to(device), self.n_columns)

    def to_dense(self) -> Tensor:
        return self._tensor.to_dense()

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Tensor:
        """Row of each stored entry, of shape (nnz,)."""
        return self._spread(torch.arange(self.n_rows), self.indptr)

    def take(self, rows: Tensor) -> "SparseRows":
        """The matrix of some rows (positions on the host), in any order and also repeatedly."""
        start = self.indptr[rows]
        indptr = torch.zeros(len(rows) + 1, dtype=torch.int64)
        torch.cumsum(self.indptr[rows + 1] - start, 0, out=indptr[1:])
        entries = self._spread(start - indptr[:-1], indptr)
        entries += torch.arange(len(entries), device=entries.device)
        return SparseRows(indptr, self.indices[entries], self.values[entries], self.n_columns)

    def _spread(self, of_row: Tensor, indptr: Tensor) -> Tensor:
        """A value of each row, given on the host, for each of the row's stored entries, on the device."""
        device = self.indices.device
        return torch.repeat_interleave(of_row.to(device), indptr.diff().to(device), output_size=int(indptr[-1]))

    def matmul(self, dense: Tensor) -> Tensor:
        """Self @ dense: (n_rows, n_columns) x (n_columns, k) -> (n_rows, k)."""
        return self._tensor @ dense

    def transposed_matmul(self, dense: Tensor) -> Tensor:
        """Self.T @ dense: (n_columns, n_rows) x (n_rows, k) -> (n_columns, k)."""
        return self._transposed @ dense

    def add_transposed_product_to(self, dense: Tensor, factor: Tensor) -> Tensor:
        """Dense += self.T @ factor, in place and without a temporary of the size of ``dense``."""
        return torch.addmm(dense, self._transposed, factor, out=dense)

    @cached_property
    def _tensor(self) -> Tensor:
        return self._csr(self.indptr.to(self.indices.device), self.indices, self.values, (self.n_rows, self.n_columns))

    @cached_property
    def _transposed(self) -> Tensor:
        order = torch.argsort(self.indices, stable=True)
        starts = torch.arange(self.n_columns + 1, device=order.device)
        indptr = torch.searchsorted(self.indices[order], starts)
        return self._csr(indptr, self.rows[order], self.values[order], (self.n_columns, self.n_rows))

    @staticmethod
    def _csr(indptr: Tensor, indices: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.sparse_csr_tensor(indptr, indices, values, size, check_invariants=False)


class _SparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: SparseRows, weight: Tensor) -> Tensor:
        ctx.x = x
        return x.matmul(weight)

    @staticmethod
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
        return x.matmul(weight).add_((shift @ weight).index_select(0, group))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        shift, group = ctx.saved_tensors
        gradient = gradient.contiguous()
        by_group = gradient.new_zeros(len(shift), gradient.shape[1]).index_add_(0, group, gradient)
        return None, None, None, ctx.x.add_transposed_product_to(shift.T @ by_group, gradient)


def shifted_sparse_linear(x: SparseRows, shift: Tensor, group: Tensor, weight: Tensor) -> Tensor:
    """(X + shift[group]) @ weight with a gradient for the weight alone; the dense sum is never made.

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
    return _ShiftedSparseLinear.apply(x, shift, group, weight)

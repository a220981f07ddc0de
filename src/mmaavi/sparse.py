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
        indptr = torch.tensor(x.indptr, dtype=torch.int64, device=device)
        indices = torch.tensor(x.indices, dtype=torch.int64, device=device)
        return SparseRows(indptr, indices, torch.tensor(x.data, dtype=torch.float32, device=device), x.shape[1])

    def to(self, device: torch.device) -> "SparseRows":
        return SparseRows(self.indptr.to(device), self.indices.to(device), self.values.to(device), self.n_columns)

    def to_dense(self) -> Tensor:
        return self._tensor().to_dense()

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Tensor:
        """Row of each stored entry, of shape (nnz,)."""
        index = torch.arange(self.n_rows, device=self.indptr.device)
        return torch.repeat_interleave(index, self.indptr.diff(), output_size=len(self.indices))

    def take(self, rows: Tensor) -> "SparseRows":
        """The matrix of some rows, in any order and also repeatedly."""
        start = self.indptr[rows]
        length = self.indptr[rows + 1] - start
        indptr = torch.zeros(len(rows) + 1, dtype=torch.int64, device=start.device)
        torch.cumsum(length, 0, out=indptr[1:])
        shift = torch.repeat_interleave(start - indptr[:-1], length)
        entries = shift + torch.arange(len(shift), device=start.device)
        return SparseRows(indptr, self.indices[entries], self.values[entries], self.n_columns)

    def matmul(self, dense: Tensor) -> Tensor:
        """Self @ dense: (n_rows, n_columns) x (n_columns, k) -> (n_rows, k)."""
        return self._tensor() @ dense

    @cached_property
    def transposed(self) -> "SparseRows":
        """The transpose, sorted by its rows."""
        order = torch.argsort(self.indices, stable=True)
        indptr = torch.zeros(self.n_columns + 1, dtype=torch.int64, device=self.indices.device)
        torch.cumsum(torch.bincount(self.indices, minlength=self.n_columns), 0, out=indptr[1:])
        return SparseRows(indptr, self.rows[order], self.values[order], self.n_rows)

    def add_product_to(self, dense: Tensor, factor: Tensor) -> Tensor:
        """Dense += self @ factor, in place and without a temporary of the size of ``dense``."""
        return torch.addmm(dense, self._tensor(), factor, out=dense)

    def _tensor(self) -> Tensor:
        size = (self.n_rows, self.n_columns)
        return torch.sparse_csr_tensor(self.indptr, self.indices, self.values, size, check_invariants=False)


class _SparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: SparseRows, weight: Tensor) -> Tensor:
        ctx.x = x
        return x.matmul(weight)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return None, ctx.x.transposed.matmul(gradient.contiguous())


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
        return None, None, None, ctx.x.transposed.add_product_to(shift.T @ by_group, gradient)


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

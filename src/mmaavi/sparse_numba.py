"""Rows of CSR matrices on a CPU, and the products of a first layer with them, compiled by Numba: float32, as in ``sparse``."""

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from .kernels import COMPILED, IN_PARALLEL, arrays, n_threads


def take_rows(indptr: Tensor, of_entries: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Where rows start in the matrix of some rows, and what its entries hold, of each array (nnz,) that there is."""
    old, wanted = arrays(indptr, rows)
    new, taken = _starts(old, wanted), []
    for x in of_entries:
        taken.append(x.new_empty(new[-1]))
        _take(old, wanted, new, *arrays(x, taken[-1]))
    return torch.from_numpy(new), taken


def add(indptr: Tensor, indices: Tensor, values: Tensor, dense: Tensor) -> None:
    """Dense (n_rows, n_columns) += the matrix, in place."""
    _add(*arrays(indptr, indices, values, dense))


def shifted_product(indptr: Tensor, indices: Tensor, values: Tensor, shift: Tensor, group: Tensor, weight: Tensor) -> Tensor:
    """(X + shift[group]) @ weight, of shapes (n_rows, n_columns), (n_groups, n_columns), (n_rows,) and (n_columns, k)."""
    out = weight.new_empty(len(group), weight.shape[1])
    _shifted_product(n_threads(), *arrays(indptr, indices, values, shift, group, weight, out))
    return out


def product_and_shift(transposed: Tensor, factor: Tensor, shift: Tensor, by_group: Tensor) -> Tensor:
    """Transposed @ factor + shift.T @ by_group, each row written once.

    Parameters
    ----------
    transposed
        CSR tensor of shape (n_columns, n_rows).
    factor
        Shape (n_rows, k).
    shift, by_group
        Shapes (n_groups, n_columns) and (n_groups, k).
    """
    out = factor.new_empty(len(transposed), factor.shape[1])
    entries = arrays(transposed.crow_indices(), transposed.col_indices(), transposed.values())
    _product_and_shift(n_threads(), *entries, *arrays(factor, shift, by_group, out))
    return out


@njit(**COMPILED)
def _starts(indptr, rows):
    starts = np.zeros(len(rows) + 1, np.int64)
    for i in range(len(rows)):
        starts[i + 1] = starts[i] + indptr[rows[i] + 1] - indptr[rows[i]]
    return starts


@njit(**COMPILED)
def _take(indptr, rows, starts, of_entries, out):
    for i in range(len(rows)):
        first, n = indptr[rows[i]], starts[i + 1] - starts[i]
        for k in range(n):
            out[starts[i] + k] = of_entries[first + k]


@njit(**COMPILED)
def _add(indptr, indices, values, dense):
    for row in range(len(dense)):
        for i in range(indptr[row], indptr[row + 1]):
            dense[row, indices[i]] += values[i]


@njit(**IN_PARALLEL)
def _shifted_product(threads, indptr, indices, values, shift, group, weight, out):
    n, width = out.shape
    n_columns, n_groups = len(weight), len(shift)
    of_threads = np.zeros((threads, n_groups, width), np.float32)
    for part in prange(threads):
        of_groups = of_threads[part]
        for g in range(n_columns * part // threads, n_columns * (part + 1) // threads):
            for s in range(n_groups):
                share = shift[s, g]
                for j in range(width):
                    of_groups[s, j] += share * weight[g, j]
    of_groups = of_threads.sum(axis=0)
    for part in prange(threads):
        for row in range(n * part // threads, n * (part + 1) // threads):
            out[row] = of_groups[group[row]]
            for i in range(indptr[row], indptr[row + 1]):
                value, g = values[i], indices[i]
                for j in range(width):
                    out[row, j] += value * weight[g, j]


@njit(**IN_PARALLEL)
def _product_and_shift(threads, starts, rows, values, factor, shift, by_group, out):
    n, width = out.shape
    for part in prange(threads):
        for g in range(n * part // threads, n * (part + 1) // threads):
            for j in range(width):
                out[g, j] = 0
            for s in range(len(shift)):
                share = shift[s, g]
                for j in range(width):
                    out[g, j] += share * by_group[s, j]
            for i in range(starts[g], starts[g + 1]):
                value, row = values[i], rows[i]
                for j in range(width):
                    out[g, j] += value * factor[row, j]

"""The gradient of a sparse first layer's weights on a CPU, compiled by Numba."""

from numba import njit, prange
from torch import Tensor

from .kernels import IN_PARALLEL, arrays, n_threads


def product_and_shift(transposed: Tensor, factor: Tensor, shift: Tensor, by_group: Tensor) -> Tensor:
    """Transposed @ factor + shift.T @ by_group, each row written once; all float32.

    Parameters
    ----------
    transposed
        CSR tensor of shape (n_columns, n).
    factor
        Shape (n, k).
    shift, by_group
        Shapes (n_groups, n_columns) and (n_groups, k).
    """
    out = factor.new_empty(len(transposed), factor.shape[1])
    entries = arrays(transposed.crow_indices(), transposed.col_indices(), transposed.values())
    _product_and_shift(n_threads(), *entries, *arrays(factor, shift, by_group, out))
    return out


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

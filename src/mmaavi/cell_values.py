"""Values of some cells on the training device, and how cells that lie on disk get there: in blocks, shuffled, read ahead."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import gammaln
from torch import Tensor

from .features import Scaling, encoder_input
from .sparse import SparseRows, take_alike

BLOCK_CELLS = 32  # that lie together on disk and are read together


@dataclass(frozen=True)
class CellValues:
    """Values of some cells.

    Attributes
    ----------
    cells
        Their positions in the mosaic, sorted, on the host.
    counts, inputs
        Modality -> values as measured, and what they add to the encoder's input of zeros: in the same places, if not reduced.
    log_depth, log_factorial
        Modality -> log library size, and sum of log(x!), of shape (n_cells,).
    """

    cells: Tensor
    counts: dict[str, SparseRows]
    inputs: dict[str, SparseRows]
    log_depth: dict[str, Tensor]
    log_factorial: dict[str, Tensor]

    def take(self, modality: str, place: Tensor, n_stored: int | None = None) -> list[SparseRows]:
        """Counts and inputs of some of the cells, by their places here; of the counts, so many entries are stored."""
        counts, inputs = self.counts[modality], self.inputs[modality]
        if inputs.indices is counts.indices:
            return take_alike([counts, inputs], place, n_stored)
        n_inputs = None if n_stored is None else len(place) * inputs.n_columns
        return [counts.take(place, n_stored), inputs.take(place, n_inputs)]


def cell_values(
    cells: Tensor, counts: dict[str, sp.csr_array], batch: np.ndarray, scaling: dict[str, Scaling], device: torch.device
) -> CellValues:
    """The values of cells with the counts (n_cells, G) and the numbers of batches (n_cells,)."""
    values = CellValues(cells, {}, {}, {}, {})
    for m, x in counts.items():
        values.counts[m] = SparseRows.from_scipy(x, device)
        read = encoder_input(x, batch, scaling[m])
        values.inputs[m] = SparseRows.from_scipy(read, device) if scaling[m].n_axes else values.counts[m].with_values(read.data)
        factorial = sp.csr_array((gammaln(np.maximum(x.data, 0) + 1.0), x.indices, x.indptr), shape=x.shape)
        depth = np.log(np.maximum(x.sum(axis=1), 1.0))
        for table, of_cell in ((values.log_depth, depth), (values.log_factorial, factorial.sum(axis=1))):
            table[m] = torch.tensor(of_cell, dtype=torch.float32, device=device)
    return values


def read_ahead(read: Callable[[np.ndarray], CellValues], wanted: Iterable[np.ndarray]) -> Iterator[CellValues]:
    """What ``read`` gives for each of the wanted; the next one is read by a second thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for cells in wanted:
            ready, coming = coming, pool.submit(read, cells)
            if ready is not None:
                yield ready.result()
            del ready
        if coming is not None:
            yield coming.result()


def shuffled_blocks(n: int, generator: torch.Generator) -> Tensor:
    """Positions 0 to n - 1 in blocks of consecutive ones, the blocks in a random order."""
    first = torch.randperm(-(-n // BLOCK_CELLS), generator=generator) * BLOCK_CELLS
    order = (first[:, None] + torch.arange(BLOCK_CELLS)).flatten()
    return order[order < n]


def shuffled_windows(order: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """``order`` shuffled within each window of so many positions."""
    window = torch.arange(len(order)) // size
    lot = torch.rand(len(order), generator=generator, dtype=torch.float64)
    return order[torch.argsort(window + lot)]

"""What one step of training sees."""

from dataclasses import dataclass

from torch import Tensor

from .sparse import SparseRows


@dataclass(frozen=True)
class ModalityRows:
    """One modality of some cells: only the cells in which it was measured.

    Attributes
    ----------
    rows
        Position of each such cell among the minibatch's cells, of shape (n_measured,).
    batch
        Number of each such cell's batch, same shape.
    inputs
        What a cell's values add to the encoder's input of zeros, n_measured x n_inputs, sparse.
    zeros
        The encoder's input of zeros in each batch, of shape (n_batches, n_inputs).
    counts
        Values as measured, n_measured x n_features, sparse.
    log_depth
        Log library size, same shape.
    log_factorial
        Sum of log(x!) over a cell's counts, same shape.
    """

    rows: Tensor
    batch: Tensor
    inputs: SparseRows
    zeros: Tensor
    counts: SparseRows
    log_depth: Tensor
    log_factorial: Tensor


@dataclass(frozen=True)
class Minibatch:
    """Some cells; those alike in batch, modality pattern and whether they have a label stand together.

    Attributes
    ----------
    cells
        Position of each cell in the mosaic, of shape (n_cells,).
    batch
        Number of each cell's batch, of shape (n_cells,).
    measured
        Boolean mask of shape (n_cells, n_modalities).
    label
        Number of each cell's label, -1 where it has none, of shape (n_cells,).
    modalities
        Modality -> its rows; modalities that none of the cells has are left out.
    pairs
        For each two modalities that some cells have both: their names, and where those cells stand in the rows of each.
    """

    cells: Tensor
    batch: Tensor
    measured: Tensor
    label: Tensor
    modalities: dict[str, ModalityRows]
    pairs: list[tuple[str, str, Tensor, Tensor]]

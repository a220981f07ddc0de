"""The mosaic on the training device, and minibatches drawn from it by gathering there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import gammaln
from torch import Tensor

from .features import Scaling, fit_scaling, scaled_entries
from .mosaic import Mosaic
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
        Non-zero part of the encoder's input, n_measured x n_features; zeros are not stored.
    counts
        Counts, same shape.
    log_depth
        Log library size, same shape.
    log_factorial
        Sum of log(x!) over a cell's counts, same shape.
    """

    rows: Tensor
    batch: Tensor
    inputs: SparseRows
    counts: SparseRows
    log_depth: Tensor
    log_factorial: Tensor


@dataclass(frozen=True)
class Minibatch:
    """Cells sorted by group (batch and modality pattern).

    Attributes
    ----------
    cells
        Position of each cell in the mosaic, of shape (n_cells,).
    batch
        Number of each cell's batch, of shape (n_cells,).
    measured
        Boolean mask of shape (n_cells, n_modalities).
    modalities
        Modality -> its rows; modalities that none of the cells has are left out.
    """

    cells: Tensor
    batch: Tensor
    measured: Tensor
    modalities: dict[str, ModalityRows]


class MosaicData:
    """A mosaic as CSR tensors on a device.

    Parameters
    ----------
    mosaic
        The cells.
    batches
        Batch names; a cell's batch is numbered by its place here.
    scaling
        Modality -> fitted scaling, or None to fit it to this mosaic.
    device
        Where the tensors live.
    """

    def __init__(
        self, mosaic: Mosaic, batches: list[str], scaling: dict[str, Scaling] | None = None, device: torch.device | str = "cpu"
    ):
        self.modalities = mosaic.modalities
        self.device = torch.device(device)
        batch = np.array([batches.index(b) for b in mosaic.obs["batch"]])
        mask = mosaic.measured.to_numpy()
        keys, self.group = np.unique(np.column_stack([batch, mask]), axis=0, return_inverse=True)
        self.group = self.group.ravel()
        self._group_batch, self._group_mask = keys[:, 0], keys[:, 1:].astype(bool)
        self.batch = torch.tensor(batch, device=device)
        self.measured = torch.tensor(mask, device=device)
        self.scaling = scaling or fit_scaling(mosaic, batch, len(batches))
        self._counts, self._inputs, self._log_depth, self._log_factorial, self._known_rows = {}, {}, {}, {}, {}
        for m, x in mosaic.counts.items():
            depth = x.sum(axis=1)
            self._counts[m] = SparseRows.from_scipy(x, device)
            self._inputs[m] = torch.tensor(scaled_entries(x, batch, self.scaling[m]), device=device)
            self._log_depth[m] = torch.tensor(np.log(np.maximum(depth, 1.0)), dtype=torch.float32, device=device)
            log_factorial = sp.csr_array((gammaln(x.data + 1.0), x.indices, x.indptr), shape=x.shape).sum(axis=1)
            self._log_factorial[m] = torch.tensor(log_factorial, dtype=torch.float32, device=device)

    @property
    def n_cells(self) -> int:
        return len(self.group)

    def minibatch(self, cells: np.ndarray) -> Minibatch:
        """The minibatch of some cells (positions), sorted by group."""
        cells = cells[np.argsort(self.group[cells], kind="stable")]
        sizes = np.bincount(self.group[cells], minlength=len(self._group_batch))
        return self._gather(torch.tensor(cells, device=self.device), tuple(sizes.tolist()))

    def in_order(self, cells: np.ndarray, size: int) -> Iterator[Minibatch]:
        """All of the cells in minibatches of one or few groups each."""
        cells = cells[np.argsort(self.group[cells], kind="stable")]
        for start in range(0, len(cells), size):
            yield self.minibatch(cells[start : start + size])

    def _shares(self, cells: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Groups present, cells of each group and of each batch, and how many cells a batch gives to a minibatch."""
        group_size = np.bincount(self.group[cells], minlength=len(self._group_batch))
        batch_size = np.bincount(self._group_batch, weights=group_size)
        n_batches = np.count_nonzero(batch_size)
        per_batch = max(2, min(round(size / n_batches), int(batch_size.max())))  # normalisation layers need two cells
        return np.flatnonzero(group_size), group_size, batch_size, per_batch

    def steps_per_epoch(self, cells: np.ndarray, size: int) -> int:
        """Minibatches until the largest batch has been seen once."""
        _, _, batch_size, per_batch = self._shares(cells, size)
        return math.ceil(batch_size.max() / per_batch)

    def epoch(self, cells: np.ndarray, size: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """Minibatches of one epoch: every batch gives the same number of cells to each.

        Smaller batches are drawn again until the largest has been seen once. All minibatches have the same number
        of cells of each group, so that their layout is made once.

        Parameters
        ----------
        cells
            Positions of the training cells.
        size
            Cells in a minibatch (rounded so that each batch gives the same number).
        generator
            Source of the draws.
        """
        group = self.group[cells]
        present, group_size, batch_size, per_batch = self._shares(cells, size)
        n_steps = self.steps_per_epoch(cells, size)
        draws = []
        sizes = np.zeros(len(group_size), dtype=int)
        for g in present:
            share = group_size[g] / batch_size[self._group_batch[g]]
            sizes[g] = max(1, round(per_batch * share))
            members = torch.tensor(cells[group == g])
            needed = n_steps * int(sizes[g])
            rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-needed // len(members)))]
            draws.append(members[torch.cat(rounds)[:needed]].reshape(n_steps, -1))
        table = torch.cat(draws, dim=1).to(self.device)  # (n_steps, size)
        for step in table:
            yield self._gather(step, tuple(sizes.tolist()))

    def _gather(self, cells: Tensor, sizes: tuple[int, ...]) -> Minibatch:
        parts = {}
        for i, m in enumerate(self.modalities):
            rows = self._rows(i, sizes)
            if len(rows) == 0:
                continue
            of = cells[rows]
            indptr, entries = self._counts[m].entries_of(of)
            counts = SparseRows(
                indptr, self._counts[m].indices[entries], self._counts[m].values[entries], self._counts[m].n_columns
            )
            inputs = replace(counts, values=self._inputs[m][entries])
            parts[m] = ModalityRows(rows, self.batch[of], inputs, counts, self._log_depth[m][of], self._log_factorial[m][of])
        return Minibatch(cells, self.batch[cells], self.measured[cells], parts)

    def _rows(self, modality: int, sizes: tuple[int, ...]) -> Tensor:
        """Positions of the cells with a modality in a minibatch with so many cells of each group; made once, on the device."""
        if (modality, sizes) not in self._known_rows:
            has = np.repeat(self._group_mask[:, modality], sizes)
            self._known_rows[modality, sizes] = torch.tensor(np.flatnonzero(has), device=self.device)
        return self._known_rows[modality, sizes]

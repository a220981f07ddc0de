"""The mosaic on the training device, and minibatches drawn from it by gathering there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import gammaln
from torch import Tensor

from .mosaic import Mosaic
from .sparse import SparseRows

LARGEST_Z_SCORE = 10.0
SMALLEST_RELATIVE_SD = 1e-4  # below that a feature is constant, and rounding is all that varies


@dataclass(frozen=True)
class Scaling:
    """Depth normalisation and z-scoring of one modality within each batch, as fitted.

    Attributes
    ----------
    depth
        Library size to which cells are normalised: the median over the cells that have the modality.
    mean, sd
        Of the log1p-normalised counts in each batch; shape (n_batches, n_features). Batches without the modality have
        the average of those that have it.
    log_profile
        Log share of each feature in the counts of a batch (one pseudo-count), same shape: where the decoder's biases start.
    """

    depth: float
    mean: np.ndarray
    sd: np.ndarray
    log_profile: np.ndarray


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
            self._inputs[m] = torch.tensor(scaled_entries(x, depth, batch, self.scaling[m]), device=device)
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


def fit_scaling(mosaic: Mosaic, batch: np.ndarray, n_batches: int) -> dict[str, Scaling]:
    """Scaling of every modality; ``batch`` numbers each cell's batch."""
    scaling = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        depth = x.sum(axis=1)
        target = float(np.median(depth[has]))
        log = _log_normalised(x, depth, target)
        mean, sd, total = (np.zeros((n_batches, x.shape[1])) for _ in range(3))
        known = np.unique(batch[has])
        for b in known:
            total[b] = x[has & (batch == b)].sum(axis=0)
            part = log[has & (batch == b)].astype(np.float64)
            mean[b] = part.mean(axis=0)
            variance = np.maximum((part**2).mean(axis=0) - mean[b] ** 2, 0)
            varies = np.sqrt(variance) > SMALLEST_RELATIVE_SD * np.maximum(mean[b], 1)
            sd[b] = np.where(varies, np.sqrt(variance), 1.0)
        unknown = np.setdiff1d(np.arange(n_batches), known)
        for table in (mean, sd, total):
            table[unknown] = table[known].mean(axis=0)
        log_profile = np.log((total + 1) / (total + 1).sum(axis=1, keepdims=True))
        scaling[m] = Scaling(target, *(table.astype(np.float32) for table in (mean, sd, log_profile)))
    return scaling


def _log_normalised(x: sp.csr_array, depth: np.ndarray, target: float) -> sp.csr_array:
    per_entry = np.repeat(target / np.maximum(depth, 1e-12), np.diff(x.indptr))
    return sp.csr_array((np.log1p(x.data * per_entry), x.indices, x.indptr), shape=x.shape)


def scaled_entries(x: sp.csr_array, depth: np.ndarray, batch: np.ndarray, scaling: Scaling) -> np.ndarray:
    """For each stored count, its z-score (at most 10) minus the z-score of a zero; float32 of shape (nnz,).

    The z-score of a zero is ``-mean / sd``, one row a batch: the encoder adds it once for all of a cell's features,
    so that the dense input is never made.
    """
    value = _log_normalised(x, depth, scaling.depth).data
    b = np.repeat(batch, np.diff(x.indptr))
    zero = -scaling.mean[b, x.indices] / scaling.sd[b, x.indices]
    return (np.minimum(value / scaling.sd[b, x.indices] + zero, LARGEST_Z_SCORE) - zero).astype(np.float32)

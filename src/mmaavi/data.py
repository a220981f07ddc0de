"""The mosaic on the training device, and minibatches drawn from it by gathering there."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import gammaln
from torch import Tensor

from .features import Scaling, encoder_input, fit_scaling
from .minibatch import Minibatch, ModalityRows
from .mosaic import Mosaic
from .sparse import SparseRows


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
    labels
        Number of each cell's label, -1 for none, of shape (n_cells,); None where no cell has one.
    device
        Where the tensors live.
    """

    def __init__(
        self,
        mosaic: Mosaic,
        batches: list[str],
        scaling: dict[str, Scaling] | None = None,
        labels: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ):
        self.modalities, self.batches = mosaic.modalities, batches
        self.device = torch.device(device)
        batch = np.array([batches.index(b) for b in mosaic.obs["batch"]])
        mask = mosaic.measured.to_numpy()
        label = np.full(len(batch), -1) if labels is None else labels
        # Cells alike in batch, modality pattern and label or none: what a minibatch is balanced by.
        keys, self.group = np.unique(np.column_stack([batch, mask, label >= 0]), axis=0, return_inverse=True)
        self.group = self.group.ravel()
        self._group_batch, self._group_mask, self._group_labelled = keys[:, 0], keys[:, 1:-1] > 0, keys[:, -1] > 0
        self.batch, self.measured, self.label = (torch.tensor(a, device=device) for a in (batch, mask, label))
        self.scaling = scaling or fit_scaling(mosaic, batch, len(batches))
        self._counts, self._inputs, self._zeros, self._log_depth, self._log_factorial = {}, {}, {}, {}, {}
        self._layouts: dict[tuple[int, ...], _Layout] = {}
        for m, x in mosaic.counts.items():
            self._counts[m] = SparseRows.from_scipy(x, device)
            inputs, zeros = encoder_input(x, batch, self.scaling[m])
            self._inputs[m] = SparseRows.from_scipy(inputs, device)
            factorial = sp.csr_array((gammaln(np.maximum(x.data, 0) + 1.0), x.indices, x.indptr), shape=x.shape)
            self._zeros[m], self._log_depth[m], self._log_factorial[m] = (
                torch.tensor(values, dtype=torch.float32, device=device)
                for values in (zeros, np.log(np.maximum(x.sum(axis=1), 1.0)), factorial.sum(axis=1))
            )

    @property
    def n_cells(self) -> int:
        return len(self.group)

    @property
    def fingerprint(self) -> str:
        """Of values, mask, batches and labels."""
        parts = [self.batch, self.measured, self.label]
        parts += [t for x in self._counts.values() for t in (x.indptr, x.indices, x.values)]
        return hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in parts)).hexdigest()

    def minibatch(self, cells: np.ndarray) -> Minibatch:
        """The minibatch of some cells (positions), sorted by group."""
        cells = cells[np.argsort(self.group[cells], kind="stable")]
        sizes = np.bincount(self.group[cells], minlength=len(self._group_batch))
        return self._gather(torch.tensor(cells), tuple(sizes.tolist()))

    def in_order(self, cells: np.ndarray, size: int) -> Iterator[Minibatch]:
        """All of the cells in minibatches of one or few groups each."""
        cells = cells[np.argsort(self.group[cells], kind="stable")]
        for start in range(0, len(cells), size):
            yield self.minibatch(cells[start : start + size])

    def _shares(self, cells: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Cells of each group and of each batch, and how many cells a batch gives to a minibatch."""
        group_size = np.bincount(self.group[cells], minlength=len(self._group_batch))
        batch_size = np.bincount(self._group_batch, weights=group_size)
        n_batches = np.count_nonzero(batch_size)
        per_batch = max(2, min(round(size / n_batches), int(batch_size.max())))  # normalisation layers need two cells
        return group_size, batch_size, per_batch

    def steps_per_epoch(self, cells: np.ndarray, size: int) -> int:
        """Minibatches until the largest batch has been seen once."""
        _, batch_size, per_batch = self._shares(cells, size)
        return math.ceil(batch_size.max() / per_batch)

    def epoch(
        self, cells: np.ndarray, size: int, generator: torch.Generator, labelled_share: float = 0.0, n_done: int = 0
    ) -> Iterator[Minibatch]:
        """Minibatches of one epoch: every batch gives the same number of cells to each, labelled ones beyond it apart.

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
        labelled_share
            At least this share of a minibatch are cells with a label, drawn again as often as that needs.
        n_done
            So many minibatches, the first ones, are left out.
        """
        group_size, batch_size, per_batch = self._shares(cells, size)
        n_steps = self.steps_per_epoch(cells, size)
        present = np.flatnonzero(group_size)
        sizes = np.zeros(len(group_size), dtype=int)
        sizes[present] = np.maximum(1, np.round(per_batch * group_size / batch_size[self._group_batch])[present])
        labelled = present[self._group_labelled[present]]
        if len(labelled):
            n_labelled = labelled_share / (1 - labelled_share) * np.delete(sizes, labelled).sum()
            wanted = n_labelled * group_size[labelled] / group_size[labelled].sum()
            sizes[labelled] = np.maximum(sizes[labelled], np.ceil(wanted))
        for has in self._group_mask.T:  # normalisation layers need two cells of every modality
            groups = present[has[present]]
            if len(groups) and sizes[groups].sum() < 2:
                sizes[groups[np.argmax(group_size[groups])]] += 1
        group = self.group[cells]
        draws = []
        for g in present:
            members = torch.tensor(cells[group == g])
            needed = n_steps * int(sizes[g])
            rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-needed // len(members)))]
            draws.append(members[torch.cat(rounds)[:needed]].reshape(n_steps, -1))
        table = torch.cat(draws, dim=1)  # (n_steps, size), on the host
        for step in table[n_done:]:
            yield self._gather(step, tuple(sizes.tolist()))

    def _gather(self, cells: Tensor, sizes: tuple[int, ...]) -> Minibatch:
        """The minibatch of some cells (positions on the host), so many of each group, sorted by group."""
        layout, there, parts = self._layout(sizes), cells.to(self.device), {}
        for m, (host_rows, rows, runs) in layout.rows.items():
            of, of_there = cells[host_rows], there[rows]
            counts, inputs = self._counts[m].take(of), self._inputs[m].take(of)
            depth, factorial = self._log_depth[m][of_there], self._log_factorial[m][of_there]
            parts[m] = ModalityRows(rows, self.batch[of_there], runs, inputs, self._zeros[m], counts, depth, factorial)
        return Minibatch(there, self.batch[there], self.measured[there], self.label[there], parts, layout.pairs)

    def _layout(self, sizes: tuple[int, ...]) -> "_Layout":
        """Where cells stand in a minibatch with so many cells of each group; made once for each."""
        if sizes not in self._layouts:
            batch, mask = np.repeat(self._group_batch, sizes), np.repeat(self._group_mask, sizes, axis=0)
            rows = {m: np.flatnonzero(has) for m, has in zip(self.modalities, mask.T, strict=True) if has.any()}
            both = [(a, b, np.intersect1d(rows[a], rows[b])) for a, b in combinations(rows, 2)]
            self._layouts[sizes] = _Layout(
                {m: (torch.tensor(r), torch.tensor(r, device=self.device), _runs(batch[r])) for m, r in rows.items()},
                [
                    (a, b, *(torch.tensor(np.searchsorted(rows[m], shared), device=self.device) for m in (a, b)))
                    for a, b, shared in both
                    if len(shared)
                ],
            )
        return self._layouts[sizes]


@dataclass(frozen=True)
class _Layout:
    """Of minibatches with the same number of cells of each group.

    Attributes
    ----------
    rows
        Modality -> positions of the cells with it, on the host and on the device; and their runs of one batch.
    pairs
        See :class:`Minibatch`.
    """

    rows: dict[str, tuple[Tensor, Tensor, list[tuple[int, int, int]]]]
    pairs: list[tuple[str, str, Tensor, Tensor]]


def _runs(batch: np.ndarray) -> list[tuple[int, int, int]]:
    """Batch, first row and row after the last of each run of equal batches."""
    edges = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(batch)]
    return [(int(batch[start]), start, stop) for start, stop in pairwise(edges)]

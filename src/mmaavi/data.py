"""The mosaic on the training device, and minibatches drawn from it by gathering there."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .cell_values import CellValues, cell_values, read_ahead, shuffled_blocks, shuffled_windows
from .features import Scaling, fit_scaling
from .minibatch import Minibatch, ModalityRows
from .mosaic import Mosaic
from .stored import BYTES_AN_ENTRY, in_memory, row_blocks, row_sizes

COPIES = 4  # of the values that are held at a time: those computed with, those read ahead, and what is made on the way


class MosaicData:
    """A mosaic as CSR tensors on a device; of one that lies on disk, the cells of the next steps.

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
    memory_gib
        What values of a mosaic on disk may take in memory at a time.
    """

    def __init__(
        self,
        mosaic: Mosaic,
        batches: list[str],
        scaling: dict[str, Scaling] | None = None,
        labels: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        memory_gib: float = 4.0,
    ):
        self.modalities, self.batches = mosaic.modalities, batches
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.device.index is None:  # a second thread knows nothing of the current device
            self.device = torch.device("cuda", torch.cuda.current_device())
        self._counts, self._batch = mosaic.counts, pd.Index(batches).get_indexer(mosaic.obs["batch"])
        mask = mosaic.measured.to_numpy()
        label = np.full(len(mask), -1) if labels is None else labels
        # Cells alike in batch, modality pattern and label or none: what a minibatch is balanced by.
        keys, self.group = np.unique(np.column_stack([self._batch, mask, label >= 0]), axis=0, return_inverse=True)
        self.group = self.group.ravel()  # (n_cells,)
        self._group_batch, self._group_mask, self._group_labelled = keys[:, 0], keys[:, 1:-1] > 0, keys[:, -1] > 0
        self.batch, self.measured, self.label = (torch.tensor(a, device=device) for a in (self._batch, mask, label))
        self.scaling = scaling or fit_scaling(mosaic, self._batch, len(batches))
        self._zeros = {m: torch.tensor(x.zeros, device=device) for m, x in self.scaling.items()}
        self._layouts: dict[tuple[int, ...], _Layout] = {}
        self._padded = self.device.type == "cuda"  # so that the host knows all shapes without waiting for the device
        self._all: CellValues | None = None
        self._cells_at_once = self.n_cells
        if mosaic.on_disk:
            entries = pd.Series(sum(row_sizes(x) for x in self._counts.values()))
            a_cell = entries.groupby(self.group).mean().max()  # cells may come one group after the other
            self._cells_at_once = max(1, int(memory_gib * 2**30 / (BYTES_AN_ENTRY * COPIES * max(a_cell, 1))))
        else:
            self._all = self._values(np.arange(self.n_cells))

    def _values(self, cells: np.ndarray) -> CellValues:
        """Values of some cells (sorted positions), on the device."""
        parts = {m: in_memory(x if len(cells) == self.n_cells else x[cells]) for m, x in self._counts.items()}
        return cell_values(torch.tensor(cells), parts, self._batch[cells], self.scaling, self.device)

    @property
    def n_cells(self) -> int:
        return len(self.group)

    @property
    def fingerprint(self) -> str:
        """Of values, mask, batches and labels, and of the order in which an epoch draws them."""
        found = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in (self.batch, self.measured, self.label)))
        found.update(str(None if self._all else self._cells_at_once).encode())
        for x in self._counts.values():
            for _, block in row_blocks(x):
                for part in (block.indptr, block.indices, block.data):
                    found.update(np.ascontiguousarray(part))
        return found.hexdigest()

    def minibatch(self, cells: np.ndarray) -> Minibatch:
        """The minibatch of some cells (positions), sorted by group."""
        return next(self.in_order(cells, len(cells)))

    def in_order(self, cells: np.ndarray, size: int) -> Iterator[Minibatch]:
        """All of the cells in minibatches of one or few groups each."""
        cells = cells[np.argsort(self.group[cells], kind="stable")]
        draws = []
        for start in range(0, len(cells), size):
            part = cells[start : start + size]
            sizes = np.bincount(self.group[part], minlength=len(self._group_batch))
            n_stored = {m: int(n[part].sum()) for m, n in self._n_entries.items()} if self._padded else {}
            draws.append((torch.tensor(part), tuple(sizes.tolist()), n_stored))
        yield from self._gathered(draws, max(1, self._cells_at_once // size))

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
        self,
        cells: np.ndarray,
        size: int,
        generator: torch.Generator,
        labelled_share: float = 0.0,
        n_done: int = 0,
        process: tuple[int, int] = (0, 1),
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
        process
            Number of this process, and how many there are: each gets as many cells of each group, at least one.
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
        this, n = process
        own = -(-sizes // n)  # cells of each group that this process computes with
        sizes = own * n
        group = self.group[cells]
        members_of = {g: cells[group == g] for g in present}
        at_once = max(1, self._cells_at_once // int(own.sum()))
        draws = []
        for g in present:
            members = torch.tensor(members_of[g])
            needed = n_steps * int(sizes[g])
            rounds = [self._shuffled(len(members), generator) for _ in range(-(-needed // len(members)))]
            order = torch.cat(rounds)[:needed]  # (needed,)
            if self._all is None:
                order = shuffled_windows(order, at_once * int(sizes[g]), generator)
            draws.append(members[order].reshape(n_steps, n, -1)[:, this])  # (n_steps, cells of the group a step)
        table = torch.cat(draws, dim=1)  # (n_steps, size), on the host
        together = own if self._all is not None else at_once * sizes  # of each group, shuffled together or drawn in a row
        n_stored = self._most_entries(members_of, own, together) if self._padded else {}
        yield from self._gathered([(step, tuple(own.tolist()), n_stored) for step in table[n_done:]], at_once)

    def _shuffled(self, n: int, generator: torch.Generator) -> Tensor:
        """A random order of n cells; of a mosaic on disk, of blocks of cells that lie together there."""
        return torch.randperm(n, generator=generator) if self._all is not None else shuffled_blocks(n, generator)

    @cached_property
    def _n_entries(self) -> dict[str, np.ndarray]:
        """Modality -> stored entries of each cell, of shape (n_cells,); none where it was not measured."""
        has = self._group_mask[self.group]  # (n_cells, n_modalities)
        return {m: np.where(has[:, i], row_sizes(x), 0) for i, (m, x) in enumerate(self._counts.items())}

    def _most_entries(self, members_of: dict[int, np.ndarray], sizes: np.ndarray, together: np.ndarray) -> dict[str, int]:
        """Modality -> the most stored entries that a minibatch of an epoch can have.

        Parameters
        ----------
        members_of
            Group -> its cells that are drawn from.
        sizes
            How many of each group a minibatch has.
        together
            Of each group, how many are drawn in a row of which a minibatch may have any. In so many, a cell may come once more
            than they go through its group.
        """
        most = dict.fromkeys(self._n_entries, 0)
        for m, (g, members) in product(most, members_of.items()):
            n = int(sizes[g])
            largest = np.sort(self._n_entries[m][members])[-n:]
            repeats = min(n, -(-int(together[g]) // len(members)) + 1)
            most[m] += int(np.sort(np.repeat(largest, repeats))[-n:].sum())
        return most

    def _gathered(self, draws: list[tuple[Tensor, tuple[int, ...], dict[str, int]]], at_once: int) -> Iterator[Minibatch]:
        """Minibatches of cells (positions on the host), so many of each group, sorted by group.

        With each come its numbers of entries to store, by modality; where there are none, as many as it has are stored. Of a
        mosaic on disk, the cells of ``at_once`` minibatches are read together, while those before are computed with.
        """
        if self._all is not None:
            for cells, sizes, n_stored in draws:
                cells = cells.to(self.device, non_blocking=True)
                yield self._gather(self._all, cells, cells, sizes, n_stored)
            return
        parts = [draws[start : start + at_once] for start in range(0, len(draws), at_once)]
        wanted = (np.unique(np.concatenate([cells for cells, _, _ in part])) for part in parts)
        for part, values in zip(parts, read_ahead(self._values, wanted), strict=True):
            for cells, sizes, n_stored in part:
                place = torch.searchsorted(values.cells, cells)
                yield self._gather(values, *(t.to(self.device, non_blocking=True) for t in (place, cells)), sizes, n_stored)

    def _gather(
        self, values: CellValues, place: Tensor, cells: Tensor, sizes: tuple[int, ...], n_stored: dict[str, int]
    ) -> Minibatch:
        """The minibatch of some cells, given their places among those whose values are held, and in the mosaic."""
        layout, parts = self._layout(sizes), {}
        for m, rows in layout.rows.items():
            of = place[rows]  # (n_m,)
            counts, inputs = values.take(m, of, n_stored.get(m))
            parts[m] = ModalityRows(
                rows=rows,
                batch=self.batch[cells[rows]],
                inputs=inputs,
                zeros=self._zeros[m],
                counts=counts,
                log_depth=values.log_depth[m][of],
                log_factorial=values.log_factorial[m][of],
            )
        return Minibatch(cells, self.batch[cells], self.measured[cells], self.label[cells], parts, layout.pairs)

    def _layout(self, sizes: tuple[int, ...]) -> "_Layout":
        """Where cells stand in a minibatch with so many cells of each group; made once for each."""
        if sizes not in self._layouts:
            mask = np.repeat(self._group_mask, sizes, axis=0)  # (n, M)
            rows = {m: np.flatnonzero(has) for m, has in zip(self.modalities, mask.T, strict=True) if has.any()}
            both = [(a, b, np.intersect1d(rows[a], rows[b])) for a, b in combinations(rows, 2)]
            self._layouts[sizes] = _Layout(
                {m: torch.tensor(r, device=self.device) for m, r in rows.items()},
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
        Modality -> positions of the cells with it, on the device.
    pairs
        See :class:`Minibatch`.
    """

    rows: dict[str, Tensor]
    pairs: list[tuple[str, str, Tensor, Tensor]]

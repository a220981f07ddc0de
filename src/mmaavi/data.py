"""The mosaic on the training device, and minibatches drawn from it by gathering there."""

import hashlib
import math
from collections.abc import Iterator
from itertools import combinations

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
        self._known_rows: dict[tuple, Tensor] = {}
        self._known_pairs: dict[tuple, list] = {}
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
        return self._gather(torch.tensor(cells, device=self.device), tuple(sizes.tolist()))

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

    def epoch(self, cells: np.ndarray, size: int, generator: torch.Generator, labelled_share: float = 0.0) -> Iterator[Minibatch]:
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
            counts, inputs = self._counts[m].take(of), self._inputs[m].take(of)
            parts[m] = ModalityRows(
                rows, self.batch[of], inputs, self._zeros[m], counts, self._log_depth[m][of], self._log_factorial[m][of]
            )
        return Minibatch(cells, self.batch[cells], self.measured[cells], self.label[cells], parts, self._pairs(sizes))

    def _rows(self, modality: int, sizes: tuple[int, ...]) -> Tensor:
        """Positions of the cells with a modality in a minibatch with so many cells of each group; made once, on the device."""
        if (modality, sizes) not in self._known_rows:
            has = np.repeat(self._group_mask[:, modality], sizes)
            self._known_rows[modality, sizes] = torch.tensor(np.flatnonzero(has), device=self.device)
        return self._known_rows[modality, sizes]

    def _pairs(self, sizes: tuple[int, ...]) -> list[tuple[str, str, Tensor, Tensor]]:
        """See :class:`Minibatch`; made once for each layout."""
        if sizes not in self._known_pairs:
            rows = {m: self._rows(i, sizes) for i, m in enumerate(self.modalities)}
            both = [(a, b, torch.isin(rows[a], rows[b]), torch.isin(rows[b], rows[a])) for a, b in combinations(rows, 2)]
            self._known_pairs[sizes] = [(a, b, x.nonzero()[:, 0], y.nonzero()[:, 0]) for a, b, x, y in both if x.any()]
        return self._known_pairs[sizes]

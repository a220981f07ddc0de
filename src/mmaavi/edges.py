"""Edges of the guidance graph and pairs without an edge, drawn in bulk on the training device."""

import hashlib
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

NEGATIVES_AN_EDGE = 10


@dataclass(frozen=True)
class EdgeSample:
    """Edges ``source`` (E,) -> ``targets[:, 0]`` with their ``sign`` (E,); no edge leads to the other targets (E, 1 + n)."""

    source: Tensor
    targets: Tensor
    sign: Tensor


class EdgeSampler:
    """Draws edges with probability proportional to their weight, and for each some targets that are no neighbours.

    Parameters
    ----------
    graph
        Symmetric signed weights (G, G) that :func:`mmaavi.checks.check_guidance` accepts: no feature is linked to all
        others. Self-loops of weight 1 are added.
    n_negatives
        Pairs without an edge for each edge; targets are drawn by degree.
    device
        Where samples are drawn.
    """

    def __init__(self, graph: sp.csr_array, n_negatives: int = NEGATIVES_AN_EDGE, device: torch.device | str = "cpu"):
        n = graph.shape[0]
        looped = sp.csr_array(graph + sp.eye_array(n, dtype=graph.dtype))
        looped.sort_indices()
        degree = np.diff(looped.indptr).astype(np.int64)
        source, target = np.repeat(np.arange(n), degree), looped.indices.astype(np.int64)
        before = np.cumsum(degree) - degree  # (G,): summed degrees of the features before each
        of_edge = np.concatenate([[0], np.cumsum(degree[target])])  # (1 + nnz,): the same, of the edges before each
        excluded = of_edge[looped.indptr]  # (1 + G,)
        self.n_negatives, self.n_places = n_negatives, int(degree.sum())

        def there(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        self.ends = there(np.column_stack([source, target]))  # (nnz, 2)
        self.signs = there(np.sign(looped.data).astype(np.float32))
        self.by_weight = there(np.cumsum(abs(looped.data), dtype=np.float64))
        self.by_degree = there(np.cumsum(degree))
        # A feature takes up as many places as it has edges. Without those of a source's neighbours, so many are left, and each
        # edge is where its target was cut out.
        self._n_left = there(self.n_places - np.diff(excluded))
        self._cuts = there(source * self.n_places + before[target] - (of_edge[:-1] - excluded[source]))
        self._first_edge, self._of_edge = there(looped.indptr[:-1].astype(np.int64)), there(of_edge)

    @property
    def fingerprint(self) -> str:
        """Of the graph's edges and weights."""
        parts = (self.ends, self.signs, self.by_weight)
        return hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in parts)).hexdigest()

    def sample(self, n_edges: int) -> EdgeSample:
        """Draw edges and their negatives with the device's default generator; the host never waits for the device."""
        uniform = torch.rand(n_edges, dtype=torch.float64, device=self.ends.device)
        drawn = torch.searchsorted(self.by_weight, uniform * self.by_weight[-1], right=True).clamp(max=len(self.ends) - 1)
        source, target = self.ends.index_select(0, drawn).unbind(dim=1)  # (E,) each
        return EdgeSample(source, torch.cat([target[:, None], self._negatives(source)], dim=1), self.signs[drawn])

    def _negatives(self, source: Tensor) -> Tensor:
        """For each source (E,), targets (E, n) that are no neighbours, by degree: one draw each, none has to be drawn again."""
        left = self._n_left[source][:, None]  # (E, 1)
        uniform = torch.rand(len(source), self.n_negatives, dtype=torch.float64, device=source.device)
        place = (uniform * left).long().minimum(left - 1)  # (E, n) among the places that are left
        n_before = torch.searchsorted(self._cuts, source[:, None] * self.n_places + place, right=True)  # edges cut out before it
        first = self._first_edge[source][:, None]  # (E, 1)
        place = place + self._of_edge.take(n_before) - self._of_edge.take(first)  # (E, n)
        return torch.searchsorted(self.by_degree, place, right=True)

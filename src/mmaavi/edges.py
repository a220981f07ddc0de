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
        looped = sp.coo_array(graph + sp.eye_array(graph.shape[0], dtype=graph.dtype))
        self.n_features, self.n_negatives = graph.shape[0], n_negatives
        degree = np.bincount(looped.row, minlength=self.n_features)
        self.ends = torch.tensor(np.column_stack([looped.row, looped.col]).astype(np.int64), device=device)
        self.signs = torch.tensor(np.sign(looped.data), dtype=torch.float32, device=device)
        self.by_weight = torch.tensor(np.cumsum(abs(looped.data), dtype=np.float64), device=device)
        self.by_degree = torch.tensor(np.cumsum(degree, dtype=np.float64), device=device)
        self.codes = (self.ends[:, 0] * self.n_features + self.ends[:, 1]).sort().values

    @property
    def fingerprint(self) -> str:
        """Of the graph's edges and weights."""
        parts = (self.ends, self.signs, self.by_weight)
        return hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in parts)).hexdigest()

    def sample(self, n_edges: int) -> EdgeSample:
        """Draw edges and their negatives with the device's default generator."""
        drawn = _draw(self.by_weight, (n_edges,))
        source, target = self.ends[drawn].unbind(dim=1)
        others = _draw(self.by_degree, (n_edges, self.n_negatives))
        while (linked := self.is_edge(source[:, None], others)).any():
            others = torch.where(linked, _draw(self.by_degree, others.shape), others)
        return EdgeSample(source, torch.cat([target[:, None], others], dim=1), self.signs[drawn])

    def is_edge(self, source: Tensor, target: Tensor) -> Tensor:
        """Whether each pair is an edge or a self-loop."""
        code = source * self.n_features + target
        place = torch.searchsorted(self.codes, code).clamp(max=len(self.codes) - 1)
        return self.codes[place] == code


def _draw(cumulative: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Positions drawn with the probabilities whose cumulative sums (up to a factor) are given."""
    uniform = torch.rand(shape, dtype=torch.float64, device=cumulative.device) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform, right=True).clamp(max=len(cumulative) - 1)

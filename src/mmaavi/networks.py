"""The networks of mmAAVI (Rong et al. 2024): encoder, guidance graph, decoder, discriminator.

Shapes: n cells of a minibatch, G features (G_m of modality m), K mixture components, B batches.
"""

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .agreement import info_nce
from .edges import EdgeSample
from .edges_numba import EdgeNLL
from .features import Scaling
from .kernels import takes
from .layers import Activation, hidden, mlp
from .likelihoods import LIKELIHOODS
from .minibatch import Minibatch, ModalityRows
from .mixture import DiagonalNormal, NormalHead
from .precision import sum_of_products
from .processes import of_all_processes
from .sparse import SparseRows, shifted_sparse_linear, sparse_linear


class ModalityEncoder(nn.Module):
    """z-scored values of one modality -> h_n^m; the first layer reads the stored values as they are."""

    def __init__(self, n_inputs: int, width: int, n_out: int, dropout: float):
        super().__init__()
        bound = n_inputs**-0.5
        self.weight = nn.Parameter(torch.empty(n_inputs, width).uniform_(-bound, bound))
        self.rest = nn.Sequential(Activation(width, dropout), mlp([width, width, n_out], dropout))

    def forward(self, x: ModalityRows) -> Tensor:
        """Inputs of the cells with the modality (n_m, n_inputs) -> h_n^m (n_m, n_out)."""
        return self.rest(shifted_sparse_linear(x.inputs, x.zeros, x.batch, self.weight))


class GatedAttention(nn.Module):
    """Fuses the embeddings of the modalities that a cell has (paper, auto-scaling gated attention).

    In training, a cell with several modalities is now and then (``modality_dropout``) read from one of them alone, though
    all are reconstructed: so that one modality lands where several do. With the fusion ``mean`` all weights are equal.
    """

    def __init__(self, modalities: list[str], width: int, modality_dropout: float, fusion: str = "attention"):
        super().__init__()
        self.gated = fusion == "attention"
        self.gate = nn.ModuleDict({m: nn.Linear(width, 2) for m in modalities})
        self.modality_dropout = modality_dropout

    def forward(self, h: dict[str, Tensor], rows: dict[str, Tensor], n_cells: int) -> tuple[Tensor, Tensor]:
        """Fused embedding (n, width) and attention weights (n, M), zero where a modality was not measured."""
        some = next(iter(h.values()))
        score = some.new_full((n_cells, len(self.gate)), -torch.inf)  # (n, M)
        for i, (m, gate) in enumerate(self.gate.items()):
            if m in h:
                raw = gate(h[m])  # (n_m, 2)
                score[rows[m], i] = torch.sigmoid(raw[:, 0]) * torch.tanh(raw[:, 1]) if self.gated else 0.0  # (n_m,)
        if self.training and self.modality_dropout > 0:
            score = score.masked_fill(self._dropped(score > -torch.inf), -torch.inf)
        attention = score.softmax(dim=1)  # (n, M)
        fused = some.new_zeros((n_cells, some.shape[1]))  # (n, width)
        for i, m in enumerate(self.gate):
            if m in h:
                share = attention[:, i].index_select(0, rows[m])  # (n_m,)
                fused = fused.index_add(0, rows[m], share[:, None] * h[m])  # (n, width)
        return fused, attention

    def _dropped(self, measured: Tensor) -> Tensor:
        """Boolean (n, M): all modalities of a cell but one, in some cells."""
        lot = torch.rand(measured.shape, device=measured.device).masked_fill(~measured, -1.0)  # (n, M)
        in_some = torch.rand(len(measured), 1, device=measured.device) < self.modality_dropout  # (n, 1)
        return in_some & (lot < lot.amax(dim=1, keepdim=True))


class Encoder(nn.Module):
    """q(z | x) from any combination of modalities."""

    def __init__(
        self,
        n_inputs: dict[str, int],
        width: int,
        n_fused: int,
        n_latent: int,
        dropout: float,
        modality_dropout: float,
        fusion: str = "attention",
    ):
        super().__init__()
        self.modality = nn.ModuleDict({m: ModalityEncoder(g, width, n_fused, dropout) for m, g in n_inputs.items()})
        self.attention = GatedAttention(list(n_inputs), n_fused, modality_dropout, fusion)
        self.body = nn.Sequential(*hidden(n_fused, width, dropout))
        self.head = NormalHead(width, n_latent)

    def forward(self, batch: Minibatch) -> tuple[DiagonalNormal, Tensor]:
        """q(z|x) of shape (n, d) and the attention weights (n, M)."""
        return self.fuse(self.embed_modalities(batch), batch)

    def embed_modalities(self, batch: Minibatch) -> dict[str, Tensor]:
        """Modality -> h_n^m of the cells that have it, of shape (n_m, n_fused)."""
        return {m: self.modality[m](x) for m, x in batch.modalities.items()}

    def fuse(self, h: dict[str, Tensor], batch: Minibatch) -> tuple[DiagonalNormal, Tensor]:
        """q(z|x) of shape (n, d) from all modalities of each cell, and the attention weights (n, M)."""
        rows = {m: x.rows for m, x in batch.modalities.items()}
        fused, attention = self.attention(h, rows, len(batch.cells))  # (n, n_fused), (n, M)
        return self.head(self.body(fused)), attention

    def disagreement(self, h: dict[str, Tensor], batch: Minibatch) -> Tensor:
        """Contrastive loss between the states that the modalities of a cell give alone; the mean over pairs of them."""
        terms = []
        for a, b, rows_a, rows_b in batch.pairs:
            alone = torch.cat([h[a].index_select(0, rows_a), h[b].index_select(0, rows_b)])  # (2 n_ab, n_fused): attention is 1
            states = self.head(self.body(alone)).mean  # (2 n_ab, d)
            batch_of = batch.modalities[a].batch.index_select(0, rows_a)  # (n_ab,)
            compared = (*states.chunk(2), batch_of)  # (n_ab, d), (n_ab, d), (n_ab,)
            terms.append(info_nce(*(map(of_all_processes, compared) if self.training else compared)))
        return sum(terms) / len(terms) if terms else batch.batch.new_zeros((), dtype=torch.float32)


class GuidanceGraph(nn.Module):
    """Feature embeddings V from the guidance graph, and the likelihood of its edges (Cao & Gao 2022)."""

    def __init__(self, graph: sp.csr_array, n_latent: int):
        super().__init__()
        n_features = graph.shape[0]
        looped = sp.csr_array(graph + sp.eye_array(n_features, dtype=graph.dtype))
        in_degree = abs(looped).sum(axis=1)
        scaled = sp.csr_array(sp.diags_array(in_degree**-0.5) @ looped).astype(np.float32)
        self._adjacency = SparseRows.from_scipy(scaled)
        self.table = nn.Parameter(0.1 * torch.randn(n_features, n_latent))
        self.head = NormalHead(n_latent, n_latent)
        nn.init.constant_(self.head.both.bias[n_latent:], -3.0)  # wide embeddings would drown the first epochs in noise

    def q_v(self) -> DiagonalNormal:
        """q(V) of shape (G, d): one propagation along the edges, then linear heads."""
        if self._adjacency.values.device != self.table.device:
            self._adjacency = self._adjacency.to(self.table.device)
        return self.head(sparse_linear(self._adjacency, self.table))

    @staticmethod
    def edge_nll(v: Tensor, edges: EdgeSample) -> Tensor:
        """Binary cross-entropy of edges: the mean over positives and the mean over negatives, averaged.

        ``v`` are feature embeddings (G, d); a pair without an edge is scored with the sign of its positive.
        """
        if takes(v):
            return EdgeNLL.apply(v, edges.source, edges.targets, edges.sign)
        source = v.index_select(0, edges.source)  # (E, d)
        targets = v.index_select(0, edges.targets.flatten()).unflatten(0, edges.targets.shape)  # (E, 1 + n, d)
        score = edges.sign[:, None] * torch.linalg.vecdot(targets, source[:, None])  # (E, 1 + n); a third of a product's time
        return 0.5 * (F.softplus(-score[:, 0]).mean() + F.softplus(score[:, 1:]).mean())


class Decoder(nn.Module):
    """logit = w z V_m^T + (1 - w) MLP_m(z, batch): the guidance graph and a free network, mixed (paper, hybrid decoder).

    ``graph_share`` is w; with 1 there is no network (a graph decoder), with 0 the graph is left out (an MLP decoder).
    """

    def __init__(self, n_latent: int, scaling: Scaling, width: int, dropout: float, graph_share: float):
        super().__init__()
        self.n_batches, n_features = scaling.start.shape
        self.graph_share = graph_share
        self.likelihood = LIKELIHOODS[scaling.likelihood](scaling.start)
        if graph_share < 1:
            self.body = nn.Sequential(*hidden(n_latent + self.n_batches, width, dropout), *hidden(width, width, dropout))
            bound = width**-0.5
            self.weight = nn.Parameter(torch.empty(n_features, width).uniform_(-bound, bound))

    def forward(self, z: Tensor, v: Tensor, batch: Tensor) -> Tensor:
        """Cell states (n, d), feature embeddings (G_m, d), numbers of batches (n,) -> logits (n, G_m), perhaps in bfloat16."""
        w = self.graph_share
        pairs = [(w * z, v)] if w > 0 else []
        if w < 1:
            onehot = F.one_hot(batch, self.n_batches).to(z.dtype)  # (n, B)
            pairs.append(((1 - w) * self.body(torch.cat([z, onehot], dim=1)), self.weight))  # (n, width), (G_m, width)
        return sum_of_products(pairs, may_round=self.training)

    def nll(self, z: Tensor, v: Tensor, x: ModalityRows) -> Tensor:
        """Negative log-likelihood summed over features, averaged over the cells with the modality."""
        z = z.index_select(0, x.rows)  # (n_m, d); unlike z[rows], with a gradient that is the same at every run
        return self.likelihood.nll(self(z, v, x.batch), x)

    def mean(self, z: Tensor, v: Tensor, batch: Tensor, depth: float) -> Tensor:
        """Expected values of cells with the states z, as if in the given batches and of one library size; (n, G_m)."""
        return self.likelihood.mean(self(z, v, batch), batch, depth)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return -ctx.strength * gradient, None


class Discriminator(nn.Module):
    """Predicts the batch from the cell state; the encoder gets the reversed gradient (Ganin et al. 2016)."""

    def __init__(self, n_latent: int, n_batches: int, width: int, dropout: float, strength: float):
        super().__init__()
        self.net = mlp([n_latent, width, width, n_batches], dropout)
        self.strength = strength

    def forward(self, z: Tensor, batch: Tensor) -> Tensor:
        logits = self.net(_ReverseGradient.apply(z, self.strength))  # (n, B)
        return F.cross_entropy(logits, batch, label_smoothing=0.1)

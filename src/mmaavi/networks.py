"""The networks of mmAAVI (Rong et al. 2024): encoder, mixture prior, guidance graph, decoder, discriminator.

Shapes: n cells of a minibatch, G features (G_m of modality m), K mixture components, B batches.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical

from .data import Minibatch, ModalityRows
from .edges import EdgeSample
from .features import Scaling
from .likelihoods import softmax_negative_binomial
from .sparse import SparseRows, shifted_sparse_linear, sparse_linear

SMALLEST_SD = 1e-4
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers with batch normalisation, LeakyReLU and dropout between them; the last one is plain."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), *activation(n_out, dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def activation(width: int, dropout: float) -> list[nn.Module]:
    return [nn.BatchNorm1d(width), nn.LeakyReLU(0.2), nn.Dropout(dropout)]


@dataclass(frozen=True)
class DiagonalNormal:
    """Normal distributions of shape (..., d); the last dimension is one event."""

    mean: Tensor
    sd: Tensor

    def rsample(self) -> Tensor:
        """A draw, differentiable in mean and sd; shape (..., d)."""
        return torch.addcmul(self.mean, self.sd, torch.randn_like(self.mean))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density at x of shape (..., d) -> (...)."""
        standard = (x - self.mean) / self.sd
        return -0.5 * standard.square().sum(dim=-1) - self.sd.log().sum(dim=-1) - x.shape[-1] * HALF_LOG_2_PI

    def kl_to_standard(self) -> Tensor:
        """KL(self || Normal(0, I)), of shape (...)."""
        return 0.5 * (self.mean.square() + self.sd.square() - 1).sum(dim=-1) - self.sd.log().sum(dim=-1)

    @staticmethod
    def from_linear(both: Tensor) -> "DiagonalNormal":
        """From means and unconstrained sds side by side, of shape (..., 2 d)."""
        mean, raw_sd = both.chunk(2, dim=-1)
        return DiagonalNormal(mean, F.softplus(raw_sd) + SMALLEST_SD)


class NormalHead(nn.Module):
    """A Normal whose mean and unconstrained sd are linear in the input: (..., k) -> (..., d)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.both = nn.Linear(n_in, 2 * n_out)

    def forward(self, x: Tensor) -> DiagonalNormal:
        return DiagonalNormal.from_linear(self.both(x))


class ModalityEncoder(nn.Module):
    """z-scored log1p counts of one modality -> h_n^m; the first layer reads the sparse counts as they are."""

    def __init__(self, scaling: Scaling, width: int, n_out: int, dropout: float):
        super().__init__()
        n_features = scaling.mean.shape[1]
        bound = n_features**-0.5
        self.weight = nn.Parameter(torch.empty(n_features, width).uniform_(-bound, bound))
        self.register_buffer("zero", torch.tensor(-scaling.mean / scaling.sd))  # z-score of a zero count, (B, G_m)
        self.rest = nn.Sequential(*activation(width, dropout), mlp([width, width, n_out], dropout))

    def forward(self, x: ModalityRows) -> Tensor:
        return self.rest(shifted_sparse_linear(x.inputs, self.zero, x.batch, self.weight))


class GatedAttention(nn.Module):
    """Fuses the embeddings of the modalities that a cell has (paper, auto-scaling gated attention)."""

    def __init__(self, modalities: list[str], width: int):
        super().__init__()
        self.gate = nn.ModuleDict({m: nn.Linear(width, 2) for m in modalities})

    def forward(self, h: dict[str, Tensor], rows: dict[str, Tensor], n_cells: int) -> tuple[Tensor, Tensor]:
        """Fused embedding (n, width) and attention weights (n, M), zero where a modality was not measured."""
        some = next(iter(h.values()))
        score = some.new_full((n_cells, len(self.gate)), -torch.inf)
        stacked = some.new_zeros((n_cells, len(self.gate), some.shape[1]))
        for i, (m, gate) in enumerate(self.gate.items()):
            if m in h:
                raw = gate(h[m])  # (n_m, 2)
                score[rows[m], i] = torch.sigmoid(raw[:, 0]) * torch.tanh(raw[:, 1])
                stacked[rows[m], i] = h[m]
        attention = score.softmax(dim=1)
        return torch.einsum("nm,nmk->nk", attention, stacked), attention


class Encoder(nn.Module):
    """q(z | x) from any combination of modalities."""

    def __init__(self, scaling: dict[str, Scaling], width: int, n_fused: int, n_latent: int, dropout: float):
        super().__init__()
        self.modality = nn.ModuleDict({m: ModalityEncoder(s, width, n_fused, dropout) for m, s in scaling.items()})
        self.attention = GatedAttention(list(scaling), n_fused)
        self.body = nn.Sequential(nn.Linear(n_fused, width), *activation(width, dropout))
        self.head = NormalHead(width, n_latent)

    def forward(self, batch: Minibatch) -> tuple[DiagonalNormal, Tensor]:
        """q(z|x) of shape (n, d) and the attention weights (n, M)."""
        h = {m: self.modality[m](x) for m, x in batch.modalities.items()}
        fused, attention = self.attention(h, {m: x.rows for m, x in batch.modalities.items()}, len(batch.cells))
        return self.head(self.body(fused)), attention


class MixturePrior(nn.Module):
    """The Gaussian mixture p(z | c, u) p(u) p(c) and its posteriors q(c | z), q(u | c, z); c is summed exactly.

    A linear map of (z, onehot(c)) is one of z plus a row for each component: the n x K onehots are never made.
    """

    def __init__(self, n_latent: int, n_continuous: int, n_components: int, width: int = 50):
        super().__init__()
        self.n_components = n_components
        self.q_c_net = mlp([n_latent, width, n_components], 0.0)
        self.q_u_of_z = nn.Linear(n_latent, width)
        self.q_u_of_c = _component_rows(n_components, width, n_latent)
        self.q_u_head = NormalHead(width, n_continuous)
        self.p_z_of_u = nn.Linear(n_continuous, 2 * n_latent)
        self.p_z_of_c = _component_rows(n_components, 2 * n_latent, n_continuous)

    def q_c(self, z: Tensor) -> Categorical:
        """q(c | z): (n, d) -> probabilities of shape (n, K)."""
        return Categorical(logits=self.q_c_net(z), validate_args=False)

    def q_u(self, z: Tensor) -> DiagonalNormal:
        """q(u | c, z) for every component: (n, d) -> (n, K, d_u)."""
        return self.q_u_head(F.leaky_relu(self.q_u_of_z(z)[:, None] + self.q_u_of_c, 0.2))

    def p_z(self, u: Tensor) -> DiagonalNormal:
        """p(z | c, u), the u of each component given: (n, K, d_u) -> (n, K, d)."""
        return DiagonalNormal.from_linear(self.p_z_of_u(u) + self.p_z_of_c)

    def forward(self, z: Tensor, q_z: DiagonalNormal) -> dict[str, Tensor]:
        """KL terms of each cell, each of shape (n,): ``kl_z`` at the sample z; ``kl_u`` and ``kl_c`` in closed form."""
        q_c, q_u = self.q_c(z), self.q_u(z)
        log_p_z = self.p_z(q_u.rsample()).log_prob(z[:, None])  # (n, K)
        return {
            "kl_z": q_z.log_prob(z) - (q_c.probs * log_p_z).sum(dim=1),
            "kl_u": (q_c.probs * q_u.kl_to_standard()).sum(dim=1),
            "kl_c": (q_c.probs * q_c.logits).sum(dim=1) + np.log(self.n_components),  # these logits are normalised
        }


def _component_rows(n_components: int, n_out: int, n_beside: int) -> nn.Parameter:
    """Weights of onehot(c) in a linear layer with ``n_beside`` other inputs."""
    bound = (n_beside + n_components) ** -0.5
    return nn.Parameter(torch.empty(n_components, n_out).uniform_(-bound, bound))


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
        source = v.index_select(0, edges.source)  # (E, d)
        targets = v.index_select(0, edges.targets.flatten()).unflatten(0, edges.targets.shape)  # (E, 1 + n, d)
        score = edges.sign[:, None] * (targets @ source[:, :, None])[:, :, 0]  # (E, 1 + n)
        return 0.5 * (F.softplus(-score[:, 0]).mean() + F.softplus(score[:, 1:]).mean())


class HybridDecoder(nn.Module):
    """logit = w z V_m^T + (1 - w) MLP_m(z, batch): the guidance graph and a free network, mixed (paper, hybrid decoder)."""

    def __init__(self, n_latent: int, scaling: Scaling, width: int, dropout: float, graph_share: float):
        super().__init__()
        n_batches, n_features = scaling.log_profile.shape
        self.n_batches, self.graph_share = n_batches, graph_share
        self.body = nn.Sequential(
            nn.Linear(n_latent + n_batches, width),
            *activation(width, dropout),
            nn.Linear(width, width),
            *activation(width, dropout),
        )
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(n_features, width).uniform_(-bound, bound))
        # Learnt for each batch and feature; softplus(0.54) = 1, and the biases start at the batch's mean profile.
        self.raw_scale = nn.Parameter(torch.full((n_batches, n_features), 0.54))
        self.bias = nn.Parameter(torch.tensor(scaling.log_profile))
        self.log_r = nn.Parameter(torch.zeros(n_batches, n_features))

    def nll(self, z: Tensor, v: Tensor, x: ModalityRows) -> Tensor:
        """Negative log-likelihood summed over features, averaged over the cells with the modality."""
        z = z.index_select(0, x.rows)  # (n_m, d); unlike z[rows], with a gradient that is the same at every run
        onehot = F.one_hot(x.batch, self.n_batches).to(z.dtype)
        free = self.body(torch.cat([z, onehot], dim=1))  # (n_m, width)
        w = self.graph_share
        logit = torch.addmm((w * z) @ v.T, (1 - w) * free, self.weight.T)  # (n_m, G_m)
        scale = F.softplus(self.raw_scale)
        nll = softmax_negative_binomial(logit, scale, self.bias, self.log_r, x.batch, x.counts, x.log_depth)
        return nll + x.log_factorial.mean()


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
        logits = self.net(_ReverseGradient.apply(z, self.strength))
        return F.cross_entropy(logits, batch, label_smoothing=0.1)

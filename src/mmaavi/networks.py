"""The networks of mmAAVI (Rong et al. 2024): encoder, mixture prior, guidance graph, decoder, discriminator.

Shapes: n cells of a minibatch, G features (G_m of modality m), K mixture components, B batches.
"""

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Normal, kl_divergence

from .data import Minibatch, ModalityRows, Scaling
from .likelihoods import softmax_negative_binomial
from .sparse import SparseRows, sparse_linear

SMALLEST_SD = 1e-4


def mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers with batch normalisation, LeakyReLU and dropout between them; the last one is plain."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), *activation(n_out, dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def activation(width: int, dropout: float) -> list[nn.Module]:
    return [nn.BatchNorm1d(width), nn.LeakyReLU(0.2), nn.Dropout(dropout)]


class NormalHead(nn.Module):
    """Mean and standard deviation of a Normal, linear in the input: (..., k) -> Normal of shape (..., d)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.mean = nn.Linear(n_in, n_out)
        self.raw_sd = nn.Linear(n_in, n_out)

    def forward(self, x: Tensor) -> Normal:
        return Normal(self.mean(x), F.softplus(self.raw_sd(x)) + SMALLEST_SD, validate_args=False)


class ModalityEncoder(nn.Module):
    """z-scored log1p counts of one modality -> h_n^m; the first layer reads the sparse counts as they are."""

    def __init__(self, scaling: Scaling, width: int, n_out: int, dropout: float):
        super().__init__()
        n_features = scaling.mean.shape[1]
        bound = n_features**-0.5
        self.weight = nn.Parameter(torch.empty(n_features, width).uniform_(-bound, bound))
        self.register_buffer("zero", torch.tensor(-scaling.mean / scaling.sd))  # z-score of a zero count, (B, G_m)
        self.rest = nn.Sequential(*activation(width, dropout), mlp([width, width, n_out], dropout))

    def forward(self, x: ModalityRows, batch: Tensor) -> Tensor:
        from_zeros = self.zero @ self.weight  # (B, G_m) x (G_m, width)
        return self.rest(sparse_linear(x.inputs, self.weight) + from_zeros.index_select(0, batch[x.rows]))


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

    def forward(self, batch: Minibatch) -> tuple[Normal, Tensor]:
        """q(z|x) of shape (n, d) and the attention weights (n, M)."""
        h = {m: self.modality[m](x, batch.batch) for m, x in batch.modalities.items()}
        fused, attention = self.attention(h, {m: x.rows for m, x in batch.modalities.items()}, len(batch.cells))
        return self.head(self.body(fused)), attention


class MixturePrior(nn.Module):
    """The Gaussian mixture p(z | c, u) p(u) p(c) and its posteriors q(c | z), q(u | c, z); c is summed exactly."""

    def __init__(self, n_latent: int, n_continuous: int, n_components: int, width: int = 50):
        super().__init__()
        self.n_components = n_components
        self.q_c_net = mlp([n_latent, width, n_components], 0.0)
        self.q_u_net = nn.Sequential(nn.Linear(n_latent + n_components, width), nn.LeakyReLU(0.2))
        self.q_u_head = NormalHead(width, n_continuous)
        self.p_z_head = NormalHead(n_components + n_continuous, n_latent)

    def q_c(self, z: Tensor) -> Categorical:
        return Categorical(logits=self.q_c_net(z), validate_args=False)

    def forward(self, z: Tensor, q_z: Normal) -> dict[str, Tensor]:
        """KL terms of each cell, each of shape (n,): ``kl_z`` at the sample z; ``kl_u`` and ``kl_c`` in closed form."""
        n, k = len(z), self.n_components
        q_c = self.q_c(z)
        component = torch.eye(k, device=z.device).expand(n, k, k)
        both = torch.cat([z[:, None].expand(n, k, -1), component], dim=2)  # (n, K, d + K)
        q_u = self.q_u_head(self.q_u_net(both))  # (n, K, d_u)
        p_z = self.p_z_head(torch.cat([q_u.rsample(), component], dim=2))  # (n, K, d)
        log_p_z = p_z.log_prob(z[:, None]).sum(dim=2)  # (n, K)
        prior_u = Normal(torch.zeros_like(q_u.loc), 1.0, validate_args=False)
        return {
            "kl_z": q_z.log_prob(z).sum(dim=1) - (q_c.probs * log_p_z).sum(dim=1),
            "kl_u": (q_c.probs * kl_divergence(q_u, prior_u).sum(dim=2)).sum(dim=1),
            "kl_c": (q_c.probs * q_c.logits).sum(dim=1) + np.log(k),  # logits of a Categorical are normalised
        }


class GuidanceGraph(nn.Module):
    """Feature embeddings V from the guidance graph, and the likelihood of its edges (Cao & Gao 2022)."""

    def __init__(self, graph: sp.csr_array, n_latent: int):
        super().__init__()
        n_features = graph.shape[0]
        looped = sp.csr_array(graph + sp.eye_array(n_features, dtype=graph.dtype))
        in_degree = abs(looped).sum(axis=1)
        scaled = sp.csr_array(sp.diags_array(in_degree**-0.5) @ looped).astype(np.float32)
        for name, values in (("indptr", scaled.indptr), ("indices", scaled.indices), ("weights", scaled.data)):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.table = nn.Parameter(0.1 * torch.randn(n_features, n_latent))
        self.head = NormalHead(n_latent, n_latent)
        nn.init.constant_(self.head.raw_sd.bias, -3.0)  # wide embeddings would drown the first epochs in noise

    def q_v(self) -> Normal:
        """q(V) of shape (G, d): one propagation along the edges, then linear heads."""
        size = (len(self.table), len(self.table))
        adjacency = SparseRows(self.indptr.long(), self.indices.long(), self.weights, size[1])
        return self.head(sparse_linear(adjacency, self.table))

    @staticmethod
    def edge_nll(v: Tensor, positives: Tensor, signs: Tensor, negatives: Tensor) -> Tensor:
        """Binary cross-entropy of edges: the mean over positives and the mean over negatives, averaged.

        Parameters
        ----------
        v
            Feature embeddings (G, d).
        positives, signs
            Edges (E, 2) and their signs (E,).
        negatives
            Pairs (E, n, 2) without an edge; scored with the sign of their positive.
        """
        pairs = torch.cat([positives[:, None], negatives], dim=1)  # (E, 1 + n, 2)
        ends = v.index_select(0, pairs.flatten()).reshape(*pairs.shape, -1)  # (E, 1 + n, 2, d)
        score = signs[:, None] * (ends[:, :, 0] * ends[:, :, 1]).sum(dim=2)  # (E, 1 + n)
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

    def nll(self, z: Tensor, v: Tensor, batch: Tensor, x: ModalityRows) -> Tensor:
        """Negative log-likelihood summed over features, averaged over the cells with the modality."""
        z = z.index_select(0, x.rows)  # (n_m, d); unlike z[rows], with a gradient that is the same at every run
        onehot = F.one_hot(batch[x.rows], self.n_batches).to(z.dtype)
        free = self.body(torch.cat([z, onehot], dim=1))  # (n_m, width)
        w = self.graph_share
        hidden = torch.cat([w * z, (1 - w) * free], dim=1)  # one product instead of two
        weight = torch.cat([v, self.weight], dim=1)  # (G_m, d + width)
        scale = F.softplus(self.raw_scale)
        return softmax_negative_binomial(hidden, weight, scale, self.bias, self.log_r, x.counts, x.log_depth, x.sections)


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

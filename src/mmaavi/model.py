"""mmAAVI: its settings, and its loss as a flat dict of named terms (Rong et al. 2024)."""

from dataclasses import asdict, dataclass, fields

import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from .data import Minibatch, Scaling
from .edges import EdgeSample
from .errors import InputError, nearest
from .networks import Discriminator, Encoder, GuidanceGraph, HybridDecoder, MixturePrior


@dataclass(frozen=True)
class Settings:
    """All settings of the model and its training; symbols as in the paper.

    Attributes
    ----------
    n_components
        K, number of mixture components (>= 1).
    n_latent
        Dimensions of the cell state z and of the feature embeddings V.
    n_continuous
        Dimensions of u, the continuous part of the mixture prior.
    n_fused
        Dimensions of the fused embedding h.
    width
        Hidden units of the networks.
    dropout
        Share of hidden units dropped in training, in [0, 1).
    graph_share
        w, share of the guidance graph in the hybrid decoder, in [0, 1].
    adversary
        Strength of the reversed gradient of the batch discriminator (>= 0).
    weight_kl_v
        Weight of KL(q(V) || p(V)), which is averaged over features.
    weight_graph
        Weight of the guidance graph's likelihood (>= 0).
    n_negatives
        Pairs without an edge drawn for each edge.
    learning_rate
        Of Adam, at its highest.
    minibatch_size
        Cells in a minibatch, the same number from each batch.
    n_steps
        Steps of training, rounded up to whole epochs.
    validation_share
        Share of the cells of each batch kept for validation, in (0, 1).
    """

    n_components: int = 20
    n_latent: int = 30
    n_continuous: int = 30
    n_fused: int = 200
    width: int = 256
    dropout: float = 0.2
    graph_share: float = 0.9
    adversary: float = 2.0
    weight_kl_v: float = 0.01
    weight_graph: float = 1.0
    n_negatives: int = 10
    learning_rate: float = 2e-3
    minibatch_size: int = 128
    n_steps: int = 1000
    validation_share: float = 0.1

    def __post_init__(self):
        ranges = {
            "n_components": (1, 10_000), "n_latent": (1, 10_000), "n_continuous": (1, 10_000), "n_fused": (1, 10_000),
            "width": (1, 10_000), "dropout": (0, 0.99), "graph_share": (0, 1), "adversary": (0, 1e6), "weight_kl_v": (0, 1e6),
            "weight_graph": (0, 1e6), "n_negatives": (1, 1000), "learning_rate": (1e-9, 1), "minibatch_size": (2, 10**7),
            "n_steps": (1, 10**9), "validation_share": (0.001, 0.9),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"mmaavi setting '{name}' is {getattr(self, name)}; it must lie between {low} and {high}")

    @classmethod
    def from_dict(cls, values: dict) -> "Settings":
        """Settings from plain values; raises InputError for a name that does not exist."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise InputError(f"mmaavi has no setting '{name}'; {nearest(name, names)}")
        return cls(**values)

    def as_dict(self) -> dict:
        return asdict(self)


class MosaicVAE(nn.Module):
    """The generative model, its posteriors and the batch discriminator."""

    def __init__(self, settings: Settings, scaling: dict[str, Scaling], n_batches: int, graph: sp.csr_array):
        super().__init__()
        s = settings
        self.settings = s
        self.n_features = {m: x.mean.shape[1] for m, x in scaling.items()}
        self.encoder = Encoder(scaling, s.width, s.n_fused, s.n_latent, s.dropout)
        self.prior = MixturePrior(s.n_latent, s.n_continuous, s.n_components)
        self.graph = GuidanceGraph(graph, s.n_latent)
        self.decoder = nn.ModuleDict(
            {m: HybridDecoder(s.n_latent, x, s.width, s.dropout, s.graph_share) for m, x in scaling.items()}
        )
        self.discriminator = Discriminator(s.n_latent, n_batches, s.width, s.dropout, s.adversary)

    def loss_terms(self, batch: Minibatch, edges: EdgeSample) -> dict[str, Tensor]:
        """The unweighted terms of the loss, each a scalar.

        ``nll_<modality>`` averages over the cells that have the modality, ``kl_z``, ``kl_u`` and ``kl_c`` over all cells,
        ``kl_v`` over features; ``graph`` and ``discriminator`` are cross-entropies.
        """
        q_z, _ = self.encoder(batch)
        z = q_z.rsample()  # (n, d)
        q_v = self.graph.q_v()
        v = q_v.rsample()  # (G, d)
        v_of = dict(zip(self.n_features, v.split(list(self.n_features.values())), strict=True))
        prior_v = Normal(torch.zeros_like(q_v.loc), 1.0, validate_args=False)
        return {
            **{f"nll_{m}": self.decoder[m].nll(z, v_of[m], batch.batch, x) for m, x in batch.modalities.items()},
            **{name: term.mean() for name, term in self.prior(z, q_z).items()},
            "kl_v": kl_divergence(q_v, prior_v).sum(dim=1).mean(),
            "graph": self.graph.edge_nll(v, edges.positives, edges.signs, edges.negatives),
            "discriminator": self.discriminator(q_z.mean, batch.batch),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum that training descends."""
        weights = {"kl_v": self.settings.weight_kl_v, "graph": self.settings.weight_graph}
        return sum(weights.get(name, 1.0) * term for name, term in terms.items())

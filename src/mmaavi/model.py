"""mmAAVI: its parts, and its loss as a flat dict of named terms (Rong et al. 2024)."""

import scipy.sparse as sp
from torch import Tensor, nn

from .data import Minibatch
from .edges import EdgeSample
from .features import Scaling
from .networks import Discriminator, Encoder, GuidanceGraph, HybridDecoder, MixturePrior
from .settings import Settings


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
        return {
            **{f"nll_{m}": self.decoder[m].nll(z, v_of[m], x) for m, x in batch.modalities.items()},
            **{name: term.mean() for name, term in self.prior(z, q_z).items()},
            "kl_v": q_v.kl_to_standard().mean(),
            "graph": self.graph.edge_nll(v, edges),
            "discriminator": self.discriminator(q_z.mean, batch.batch),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum that training descends."""
        weights = {"kl_v": self.settings.weight_kl_v, "graph": self.settings.weight_graph}
        return sum(weights.get(name, 1.0) * term for name, term in terms.items())

"""mmAAVI: its parts, and its loss as a flat dict of named terms (Rong et al. 2024)."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edges import EdgeSample
from .features import Scaling
from .minibatch import Minibatch
from .mixture import MixturePrior
from .networks import Decoder, Discriminator, Encoder, GuidanceGraph
from .settings import Settings

WEIGHT_KL_V = 0.01  # of KL(q(V) || p(V)), a mean over features (as released)
FEW_SHARED_CELLS = 10


class MosaicVAE(nn.Module):
    """The generative model, its posteriors and the batch discriminator.

    Parameters
    ----------
    settings, scaling
        Of the model, and of each modality.
    n_batches
        How many there are.
    graph
        Signed weights of shape (G, G).
    labelled
        Cells of each label; each label has a component of its own, the first ones of the mixture.
    """

    def __init__(
        self, settings: Settings, scaling: dict[str, Scaling], n_batches: int, graph: sp.csr_array, labelled: Sequence[int] = ()
    ):
        super().__init__()
        s = settings
        self.settings, self.n_labels = s, len(labelled)
        self.n_features = {m: x.n_features for m, x in scaling.items()}
        n_inputs = {m: x.n_inputs for m, x in scaling.items()}
        self.encoder = Encoder(n_inputs, s.width, s.n_fused, s.n_latent, s.dropout, s.modality_dropout, s.fusion)
        counts = F.pad(torch.tensor(labelled, dtype=torch.float32), (0, max(s.n_components - self.n_labels, 0)))  # (K,)
        self.prior = MixturePrior(s.n_latent, counts)
        self.graph = GuidanceGraph(graph, s.n_latent)
        self.decoder = nn.ModuleDict({m: Decoder(s.n_latent, x, s.width, s.dropout, s.graph_share) for m, x in scaling.items()})
        dropout = 0.0 if s.discriminator == "fast" else s.dropout
        self.discriminator = Discriminator(s.n_latent, n_batches, s.width, dropout, s.adversary)

    def forward(self, batch: Minibatch, edges: EdgeSample) -> dict[str, Tensor]:
        """The unweighted terms of the loss, each a scalar.

        ``nll_<modality>`` averages over the cells that have the modality, ``kl_z``, ``kl_u`` and ``kl_c`` over all cells,
        ``kl_v`` over features; ``graph``, ``agreement`` (of cells with several modalities), ``discriminator`` and ``labels``
        (of cells that have one) are cross-entropies.
        """
        h = self.encoder.embed_modalities(batch)
        q_z, _ = self.encoder.fuse(h, batch)
        z = q_z.rsample()  # (n, d)
        q_v = self.graph.q_v()
        v = q_v.rsample()  # (G, d)
        v_of = self.by_modality(v)
        terms = {
            **{f"nll_{m}": self.decoder[m].nll(z, v_of[m], x) for m, x in batch.modalities.items()},
            **{name: term.mean() for name, term in self.prior(z, q_z, batch.label).items()},
            "kl_v": q_v.kl_to_standard().mean(),
            "graph": self.graph.edge_nll(v, edges),
            "agreement": self.encoder.disagreement(h, batch),
            "discriminator": self.discriminator(q_z.mean, batch.batch),
        }
        if self.n_labels:
            logits = self.prior.q_c(z).logits  # (n, K)
            n_labelled = (batch.label >= 0).sum().clamp_min(1)
            terms["labels"] = F.cross_entropy(logits, batch.label, ignore_index=-1, reduction="sum") / n_labelled
        return terms

    def fast_parameters(self) -> list[nn.Parameter]:
        """Those that learn faster than the others: a fast discriminator's, so that it keeps up with the encoder."""
        return list(self.discriminator.parameters()) if self.settings.discriminator == "fast" else []

    def by_modality(self, v: Tensor) -> dict[str, Tensor]:
        """Rows of all features (G, d) -> modality -> its own (G_m, d)."""
        return dict(zip(self.n_features, v.split(list(self.n_features.values())), strict=True))

    def total(self, terms: dict[str, Tensor], kl_weight: Tensor | float = 1.0) -> Tensor:
        """The weighted sum that training descends; ``kl_weight`` is that of the cells' KL terms."""
        s = self.settings
        weights = dict.fromkeys(("kl_z", "kl_u", "kl_c"), kl_weight)
        weights |= {"kl_v": WEIGHT_KL_V, "graph": s.weight_graph, "agreement": s.weight_agreement, "labels": s.weight_labels}
        return sum(weights.get(name, 1.0) * term for name, term in terms.items())


def graph_share(settings: Settings, measured: np.ndarray) -> float:
    """The decoder's w, where ``measured`` (n_cells, n_modalities) says which cells have which modalities."""
    if settings.decoder != "hybrid":
        return {"graph": 1.0, "mlp": 0.0}[settings.decoder]
    if settings.graph_share is not None:
        return settings.graph_share
    both = measured.T.astype(int) @ measured.astype(int)  # (M, M), cells that have both
    return 0.9 if (both - np.diag(np.diag(both))).max() > FEW_SHARED_CELLS else 0.99

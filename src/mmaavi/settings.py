"""The settings of mmAAVI and of its training."""

from dataclasses import dataclass, fields

from .errors import InputError, nearest


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
    modality_dropout
        Share of the cells with several modalities that a training step reads from one of them alone, in [0, 1].
    decoder
        ``hybrid``, ``graph`` (feature embeddings alone: w = 1) or ``mlp`` (a network alone: w = 0).
    graph_share
        w, share of the feature embeddings in the hybrid decoder, in [0, 1]; by default 0.9 where some pair of
        modalities shares more than 10 cells, else 0.99.
    adversary
        Strength of the reversed gradient of the batch discriminator (>= 0).
    weight_kl_v
        Weight of KL(q(V) || p(V)), which is averaged over features.
    weight_graph
        Weight of the guidance graph's likelihood (>= 0).
    weight_agreement
        Weight of the contrastive agreement between the modalities of a cell (>= 0).
    weight_labels
        Weight of the labels' cross-entropy (>= 0); without labels it has no effect.
    labelled_share
        At least this share of a minibatch are labelled cells, in [0, 1).
    schedule
        ``one_cycle`` (Adam, ``n_steps``) or ``plateau`` (RMSprop until the validation loss stalls, as released).
    learning_rate
        At its highest.
    minibatch_size
        Cells in a minibatch, the same number from each batch.
    n_steps
        Steps of training, rounded up to whole epochs; the most there may be with ``plateau``.
    validation_share
        Share of the cells of each batch kept for validation, in (0, 1).
    """

    n_components: int = 20
    n_latent: int = 30
    n_continuous: int = 30
    n_fused: int = 200
    width: int = 256
    dropout: float = 0.2
    modality_dropout: float = 0.2
    decoder: str = "hybrid"
    graph_share: float | None = None
    adversary: float = 2.0
    weight_kl_v: float = 0.01
    weight_graph: float = 20.0
    weight_agreement: float = 10.0
    weight_labels: float = 5.0
    labelled_share: float = 0.2
    schedule: str = "one_cycle"
    learning_rate: float = 2e-3
    minibatch_size: int = 128
    n_steps: int = 1000
    validation_share: float = 0.1

    def __post_init__(self):
        ranges = {
            "n_components": (1, 10_000), "n_latent": (1, 10_000), "n_continuous": (1, 10_000), "n_fused": (1, 10_000),
            "width": (1, 10_000), "dropout": (0, 0.99), "modality_dropout": (0, 1), "graph_share": (0, 1), "adversary": (0, 1e6),
            "weight_kl_v": (0, 1e6), "weight_graph": (0, 1e6), "weight_agreement": (0, 1e6), "weight_labels": (0, 1e6),
            "labelled_share": (0, 0.99), "learning_rate": (1e-9, 1), "minibatch_size": (2, 10**7), "n_steps": (1, 10**9),
            "validation_share": (0.001, 0.9),
        }  # fmt: skip
        choices = {"decoder": ("hybrid", "graph", "mlp"), "schedule": ("one_cycle", "plateau")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"mmaavi setting '{name}' is {getattr(self, name)!r}; {nearest(str(getattr(self, name)), known)}"
                )
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is None and name == "graph_share":
                continue
            if isinstance(getattr(type(self), name), int) and not isinstance(value, int):
                raise InputError(f"mmaavi setting '{name}' is {value!r}; it must be a whole number")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise InputError(f"mmaavi setting '{name}' is {value!r}; it must be a number between {low} and {high}")

    @classmethod
    def from_dict(cls, values: dict) -> "Settings":
        """Settings from plain values; raises InputError for a name that does not exist."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise InputError(f"mmaavi has no setting '{name}'; {nearest(name, names)}")
        return cls(**values)

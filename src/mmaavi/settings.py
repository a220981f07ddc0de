"""The settings of mmAAVI and of its training."""

from dataclasses import dataclass, field, fields

from .errors import InputError, nearest


def _number(default: float | None, low: float, high: float, meaning: str):
    """A setting between ``low`` and ``high``; a whole number where the default is one."""
    return field(default=default, metadata={"meaning": meaning, "range": (low, high)})


def _choice(default: str, meaning: str, *choices: str):
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """All settings of the model and its training, each with its meaning (symbols as in Rong et al. 2024) and its range."""

    n_components: int = _number(20, 1, 10_000, "K, components of the mixture prior")
    n_latent: int = _number(30, 1, 10_000, "d, dimensions of the cell state z, of u in its prior and of the feature embeddings V")
    n_fused: int = _number(200, 1, 10_000, "dimensions of the embeddings h^m of the modalities and of the fused h")
    width: int = _number(256, 1, 10_000, "hidden units of the networks")
    dropout: float = _number(0.2, 0, 0.99, "share of hidden units dropped in training, none of a fast discriminator")
    modality_dropout: float = _number(0.2, 0, 1, "share of the cells with several modalities that a step reads from one alone")
    fusion: str = _choice("attention", "gated attention over a cell's modalities, or their plain mean", "attention", "mean")
    decoder: str = _choice("hybrid", "feature embeddings and a network, or one of them alone", "hybrid", "graph", "mlp")
    graph_share: float | None = _number(
        None, 0, 1, "w, share of the feature embeddings in the hybrid decoder; None: 0.9 where some pair of modalities shares "
        "more than 10 cells, else 0.99"
    )  # fmt: skip
    adversary: float = _number(20.0, 0, 1e6, "alpha, strength of the reversed gradient of the batch discriminator")
    discriminator: str = _choice(
        "fast", "without dropout and learning three times as fast as the other networks, or, as released, like them",
        "fast", "released",
    )  # fmt: skip
    weight_graph: float = _number(20.0, 0, 1e6, "lambda_graph, weight of the guidance graph's likelihood, a mean over edges")
    weight_agreement: float = _number(10.0, 0, 1e6, "weight of the contrastive agreement between the modalities of a cell")
    weight_labels: float = _number(5.0, 0, 1e6, "lambda_sup, weight of the labels' cross-entropy; without labels of no effect")
    labelled_share: float = _number(0.2, 0, 0.99, "at least this share of a minibatch are labelled cells, where there are any")
    schedule: str = _choice(
        "one_cycle", "RMSprop over a fixed number of steps, the KL terms' weight rising over the first half, or, as released, "
        "until the validation loss stalls",
        "one_cycle", "plateau",
    )  # fmt: skip
    learning_rate: float = _number(2e-3, 1e-9, 1, "at its highest; three times that for a fast discriminator")
    minibatch_size: int = _number(128, 2, 10**7, "cells in a minibatch, the same number from each batch")
    n_steps: int = _number(1000, 1, 10**9, "steps of training, rounded up to whole epochs; with plateau the most there may be")
    validation_share: float = _number(0.1, 0.001, 0.9, "share of the cells of each batch kept for validation")

    def __post_init__(self):
        for f in fields(self):
            value, about = getattr(self, f.name), f.metadata
            wrong = f"mmaavi setting '{f.name}' is {value!r}; "
            if "choices" in about:
                if value not in about["choices"]:
                    raise InputError(wrong + nearest(str(value), about["choices"]))
                continue
            low, high = about["range"]
            if value is None and f.default is None:
                continue
            if isinstance(f.default, int) and not isinstance(value, int):
                raise InputError(wrong + "it must be a whole number")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise InputError(wrong + f"it must be a number between {low:g} and {high:g}")

    @classmethod
    def from_dict(cls, values: dict) -> "Settings":
        """Settings from plain values; raises InputError for a name that does not exist."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise InputError(f"mmaavi has no setting '{name}'; {nearest(name, names)}")
        return cls(**values)

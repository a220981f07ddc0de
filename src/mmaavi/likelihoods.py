"""The likelihoods of the modalities, chosen by name: logits of the decoder -> distribution of what was measured.

All have a scale and a bias for each batch and feature, so that ``scale * logit + bias`` is what a feature's mean is made
of. Biases start where the batch's own mean lies (``start``).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .minibatch import ModalityRows
from .negative_binomial import softmax_negative_binomial

UNIT_RAW_SCALE = math.log(math.e - 1)  # softplus of it is 1
SMALLEST_SD = 1e-3


@dataclass(frozen=True)
class Totals:
    """Sums over the cells of a batch, for each feature (G,): of values, of how many are above zero, of the logs of these."""

    n_cells: int
    value: np.ndarray
    n_positive: np.ndarray
    log: np.ndarray


class Likelihood(nn.Module, ABC):
    """Tables for each batch and feature, of shape (n_batches, n_features); their first rows are ``bias``."""

    def __init__(self, bias: np.ndarray):
        super().__init__()
        self.raw_scale = nn.Parameter(torch.full(bias.shape, UNIT_RAW_SCALE))
        self.bias = nn.Parameter(torch.tensor(bias))

    @property
    def scale(self) -> Tensor:
        return F.softplus(self.raw_scale)

    def natural(self, logit: Tensor, batch: Tensor) -> Tensor:
        """Sum ``scale * logit + bias`` of each cell's batch, of shape (n, G)."""
        return torch.addcmul(self.bias.index_select(0, batch), self.scale.index_select(0, batch), logit)

    @staticmethod
    @abstractmethod
    def start(totals: Totals) -> np.ndarray:
        """Where the biases of a batch start; shape (G,)."""

    @abstractmethod
    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        """Negative log-likelihood summed over features, averaged over cells; ``logit`` has shape (n, G)."""

    @abstractmethod
    def mean(self, logit: Tensor, batch: Tensor, depth: float) -> Tensor:
        """Expected values at a library size, of shape (n, G); likelihoods without one ignore it."""


class NegativeBinomial(Likelihood):
    """Counts: mean = depth * softmax(natural), inverse dispersion exp(log_r) for each batch and feature."""

    def __init__(self, bias: np.ndarray):
        super().__init__(bias)
        self.log_r = nn.Parameter(torch.zeros(bias.shape))

    @staticmethod
    def start(totals: Totals) -> np.ndarray:
        """Log share of each feature, with one pseudo-count."""
        total = totals.value + 1.0
        return np.log(total / total.sum())

    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        tables = (self.scale, self.bias, self.log_r)
        nll = softmax_negative_binomial(logit, *tables, x.batch, x.counts, x.log_depth)
        return nll + x.log_factorial.mean()

    def mean(self, logit: Tensor, batch: Tensor, depth: float) -> Tensor:
        return depth * self.natural(logit, batch).softmax(dim=1)


class Poisson(Likelihood):
    """Counts: mean = depth * softmax(natural). Since the means of a cell sum to its depth, only non-zero counts matter."""

    start = staticmethod(NegativeBinomial.start)
    mean = NegativeBinomial.mean

    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        log_share = self.natural(logit, x.batch).log_softmax(dim=1)[x.counts.rows, x.counts.indices]  # (nnz,)
        found = (x.counts.values * (log_share + x.log_depth[x.counts.rows])).sum()
        return (x.log_depth.exp().sum() - found) / len(logit) + x.log_factorial.mean()


class Bernoulli(Likelihood):
    """Whether a value is above zero (binarised peaks): log odds = natural."""

    @staticmethod
    def start(totals: Totals) -> np.ndarray:
        """Log odds of each feature in the batch, with half a pseudo-count."""
        found = totals.n_positive + 0.5
        return np.log(found / (totals.n_cells + 1 - found))

    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        natural = self.natural(logit, x.batch)
        found = torch.where(x.counts.values > 0, natural[x.counts.rows, x.counts.indices], 0.0)  # (nnz,)
        return (F.softplus(natural).sum() - found.sum()) / len(logit)

    def mean(self, logit: Tensor, batch: Tensor, depth: float) -> Tensor:
        return self.natural(logit, batch).sigmoid()


class Normal(Likelihood):
    """Any real values: mean = natural, sd for each batch and feature."""

    def __init__(self, bias: np.ndarray):
        super().__init__(bias)
        self.raw_sd = nn.Parameter(torch.full(bias.shape, UNIT_RAW_SCALE))

    @staticmethod
    def start(totals: Totals) -> np.ndarray:
        """Mean of each feature."""
        return totals.value / totals.n_cells

    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        sd = (F.softplus(self.raw_sd) + SMALLEST_SD).index_select(0, x.batch)  # (n, G)
        standard = (x.counts.to_dense() - self.natural(logit, x.batch)) / sd  # (n, G)
        return (0.5 * standard.square() + sd.log() + 0.5 * math.log(2 * math.pi)).sum() / len(logit)

    def mean(self, logit: Tensor, batch: Tensor, depth: float) -> Tensor:
        return self.natural(logit, batch)


class ZeroInflatedLogNormal(Likelihood):
    """Values >= 0 (normalised methylation): zero with its own probability, else log x ~ Normal(natural, sd)."""

    def __init__(self, bias: np.ndarray):
        super().__init__(bias)
        self.zero_logit = nn.Parameter(torch.zeros(bias.shape))
        self.raw_sd = nn.Parameter(torch.full(bias.shape, UNIT_RAW_SCALE))

    @staticmethod
    def start(totals: Totals) -> np.ndarray:
        """Mean log of each feature's values above zero; 0 where there is none."""
        return totals.log / np.maximum(totals.n_positive, 1)

    @property
    def sd(self) -> Tensor:
        return F.softplus(self.raw_sd) + SMALLEST_SD

    def nll(self, logit: Tensor, x: ModalityRows) -> Tensor:
        rows, columns, value = x.counts.rows, x.counts.indices, x.counts.values
        log_x = torch.where(value > 0, value, 1.0).log()  # (nnz,)
        at = (x.batch[rows], columns)  # of each stored value, (nnz,)
        sd = self.sd[at]
        natural = self.bias[at] + self.scale[at] * logit[rows, columns]  # (nnz,), as all of the next two lines
        log_normal = log_x + sd.log() + 0.5 * math.log(2 * math.pi) + 0.5 * ((log_x - natural) / sd).square()
        found = torch.where(value > 0, log_normal + self.zero_logit[at], 0.0)  # -log(1 - p) = -log p + logit of p
        all_zero = F.softplus(-self.zero_logit).index_select(0, x.batch).sum()  # of (n, G)
        return (all_zero + found.sum()) / len(logit)

    def mean(self, logit: Tensor, batch: Tensor, depth: float) -> Tensor:
        present = torch.sigmoid(-self.zero_logit).index_select(0, batch)  # (n, G)
        return present * (self.natural(logit, batch) + 0.5 * self.sd.square().index_select(0, batch)).exp()


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "negative_binomial": NegativeBinomial,
    "poisson": Poisson,
    "bernoulli": Bernoulli,
    "normal": Normal,
    "zero_inflated_log_normal": ZeroInflatedLogNormal,
}

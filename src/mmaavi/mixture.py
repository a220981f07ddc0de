"""The distributions of cell states: diagonal Normals, and the Gaussian mixture prior of Rong et al. (2024)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical

from . import normal_numba
from .kernels import takes
from .layers import SLOPE, mlp
from .normal_numba import HALF_LOG_2_PI
from .random_numba import standard_normal

SMALLEST_SD = 1e-4


@dataclass(frozen=True)
class DiagonalNormal:
    """Normal distributions of shape (..., d); the last dimension is one event. In single precision on a CPU they are compiled."""

    mean: Tensor
    sd: Tensor

    def rsample(self) -> Tensor:
        """A draw, differentiable in mean and sd; shape (..., d)."""
        noise = standard_normal(self.mean.shape) if takes(self.mean) else torch.randn_like(self.mean)
        return torch.addcmul(self.mean, self.sd, noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density at x of shape (..., d) -> (...)."""
        n, d = len(self.mean), self.mean.shape[-1]
        one_each = self.sd.shape == self.mean.shape and x.shape == (n, *(1,) * (self.mean.ndim - 2), d)
        if one_each and takes(self.mean, self.sd, x):
            return normal_numba.LogProb.apply(self.mean, self.sd, x)
        standard = (x - self.mean) / self.sd
        return -0.5 * standard.square().sum(dim=-1) - self.sd.log().sum(dim=-1) - x.shape[-1] * HALF_LOG_2_PI

    def kl_to_standard(self) -> Tensor:
        """KL(self || Normal(0, I)), of shape (...)."""
        if takes(self.mean, self.sd):
            return normal_numba.KLToStandard.apply(self.mean, self.sd)
        return 0.5 * (self.mean.square() + self.sd.square() - 1).sum(dim=-1) - self.sd.log().sum(dim=-1)

    @staticmethod
    def from_linear(both: Tensor) -> "DiagonalNormal":
        """From means and unconstrained sds side by side, of shape (..., 2 d)."""
        if takes(both):
            return DiagonalNormal(*normal_numba.MeanAndSd.apply(both, SMALLEST_SD))
        mean, raw_sd = both.chunk(2, dim=-1)  # (..., d) each
        return DiagonalNormal(mean, F.softplus(raw_sd) + SMALLEST_SD)


class NormalHead(nn.Module):
    """A Normal whose mean and unconstrained sd are linear in the input: (..., k) -> (..., d)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.both = nn.Linear(n_in, 2 * n_out)

    def forward(self, x: Tensor) -> DiagonalNormal:
        return DiagonalNormal.from_linear(self.both(x))


class MixturePrior(nn.Module):
    """The Gaussian mixture p(z | c, u) p(u) p(c) and its posteriors q(c | z), q(u | c, z); c is summed exactly.

    A linear map of (z, onehot(c)) is one of z plus a row for each component: the n x K onehots are never made.

    Parameters
    ----------
    n_latent
        Dimensions of z, and of u.
    counts
        Labelled cells of each component, of shape (K,). p(c) is their share, each counted once more (the posterior mean of a
        flat Dirichlet prior): a common label may hold more of the other cells than a rare one, and without labels p(c) = 1 / K.
    width
        Hidden units of the posteriors.
    """

    def __init__(self, n_latent: int, counts: Tensor, width: int = 50):
        super().__init__()
        self.n_components = n_components = len(counts)
        self.register_buffer("log_p_c", ((counts + 1) / (counts + 1).sum()).log())
        self.q_c_net = mlp([n_latent, width, n_components], 0.0)
        self.q_u_of_z = nn.Linear(n_latent, width)
        self.q_u_of_c = _component_rows(n_components, width, n_latent)
        self.q_u_head = NormalHead(width, n_latent)
        self.p_z_of_u = nn.Linear(n_latent, 2 * n_latent)
        self.p_z_of_c = _component_rows(n_components, 2 * n_latent, n_latent)

    def q_c(self, z: Tensor) -> Categorical:
        """q(c | z): (n, d) -> probabilities of shape (n, K)."""
        return Categorical(logits=self.q_c_net(z), validate_args=False)

    def q_u(self, z: Tensor) -> DiagonalNormal:
        """q(u | c, z) for every component: (n, d) -> (n, K, d)."""
        hidden = F.leaky_relu(self.q_u_of_z(z)[:, None] + self.q_u_of_c, SLOPE)  # (n, 1, width) + (K, width)
        return self.q_u_head(hidden)

    def p_z(self, u: Tensor) -> DiagonalNormal:
        """p(z | c, u), the u of each component given: (n, K, d) -> (n, K, d)."""
        return DiagonalNormal.from_linear(self.p_z_of_u(u) + self.p_z_of_c)  # from (n, K, 2 d)

    def forward(self, z: Tensor, q_z: DiagonalNormal, label: Tensor) -> dict[str, Tensor]:
        """KL terms of each cell, each of shape (n,): ``kl_z`` at the sample z; ``kl_u`` and ``kl_c`` in closed form.

        Where a cell's ``label`` is known (>= 0), its component is observed: q(c | z) is that component for sure.
        """
        q_c, q_u = self.q_c(z), self.q_u(z)
        known = (label >= 0)[:, None]  # (n, 1)
        observed = F.one_hot(label.clamp_min(0), self.n_components).to(z.dtype)  # (n, K)
        weight = torch.where(known, observed, q_c.probs)  # (n, K)
        entropy = torch.where(known[:, 0], 0.0, -(q_c.probs * q_c.logits).sum(dim=1))  # (n,); these logits are normalised
        log_p_z = self.p_z(q_u.rsample()).log_prob(z[:, None])  # (n, K)
        return {
            "kl_z": q_z.log_prob(z) - (weight * log_p_z).sum(dim=1),
            "kl_u": (weight * q_u.kl_to_standard()).sum(dim=1),
            "kl_c": -(weight @ self.log_p_c) - entropy,
        }


def _component_rows(n_components: int, n_out: int, n_beside: int) -> nn.Parameter:
    """Weights of onehot(c) in a linear layer with ``n_beside`` other inputs."""
    bound = (n_beside + n_components) ** -0.5
    return nn.Parameter(torch.empty(n_components, n_out).uniform_(-bound, bound))

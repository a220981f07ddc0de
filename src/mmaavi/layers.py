"""The layers that all networks are made of."""

import torch.nn.functional as F
from torch import Tensor, nn

from . import activation_numba
from .activation_numba import SLOPE
from .kernels import takes
from .processes import BatchNorm, n_processes


def mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers, all but the last one with :class:`Activation`."""
    layers = [layer for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True) for layer in hidden(n_in, n_out, dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def hidden(n_in: int, n_out: int, dropout: float) -> list[nn.Module]:
    """A linear layer and its activation, whose normalisation takes any constant away: there is no bias before it."""
    return [nn.Linear(n_in, n_out, bias=False), Activation(n_out, dropout)]


class Activation(nn.Module):
    """Batch normalisation, LeakyReLU and dropout: (n, width) -> (n, width)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm, self.dropout = BatchNorm(width), dropout

    def forward(self, x: Tensor) -> Tensor:
        alone = n_processes() == 1 and len(x) > 1
        if self.training and alone and takes(x):
            return activation_numba.Activation.apply(x, self.norm.weight, self.norm.bias, self.norm, self.dropout)
        return F.dropout(F.leaky_relu(self.norm(x), SLOPE), self.dropout, self.training)

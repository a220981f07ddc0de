"""The layers that all networks are made of."""

from torch import nn

from .processes import BatchNorm


def mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers with batch normalisation, LeakyReLU and dropout between them; the last one is plain."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), *activation(n_out, dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def activation(width: int, dropout: float) -> list[nn.Module]:
    return [BatchNorm(width), nn.LeakyReLU(0.2), nn.Dropout(dropout)]

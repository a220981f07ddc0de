"""The layers that all networks are made of."""

import torch
from torch import Tensor, nn

from .processes import BatchNorm


def mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers with batch normalisation, LeakyReLU and dropout between them; the last one is plain."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(n_in, n_out), *activation(n_out, dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def activation(width: int, dropout: float) -> list[nn.Module]:
    return [BatchNorm(width), nn.LeakyReLU(0.2), Dropout(dropout)]


class Dropout(nn.Dropout):
    """torch's, which on a CPU draws a number of full precision for each unit; 16 bits for each say it in a fifth of the time."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not self.training or self.p == 0:
            return super().forward(x)
        four_units = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = four_units.view(torch.int16)[: x.numel()].view_as(x)  # uniform from -2^15 to 2^15 - 1
        n_dropped = round(self.p * 2**16)  # of 2^16 values
        kept = torch.ge(bits, n_dropped - 2**15, out=torch.empty_like(x))  # ones and zeros
        return x * kept.mul_(2**16 / (2**16 - n_dropped))

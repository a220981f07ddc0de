"""Training by several processes (``torchrun``): each computes its share of every minibatch, and together they compute it whole.

What is one process's alone stays as it is: all of this is of no effect until ``torch.distributed.init_process_group``.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather, all_reduce


def n_processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def this_process() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if n_processes() > 1 else 0


def of_all_processes(x: Tensor) -> Tensor:
    """Rows of all processes, of shape (n_processes * n, ...), with gradients; each has the same number n."""
    return torch.cat(all_gather(x.contiguous())) if n_processes() > 1 else x


@torch.no_grad()
def mean_of_processes(x: Tensor) -> Tensor:
    if n_processes() > 1:
        dist.all_reduce(x)
        x /= n_processes()
    return x


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the cells of all processes. torch's SyncBatchNorm is the same, but for GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or n_processes() == 1:
            return super().forward(x)
        n = len(x) * n_processes()
        mean = all_reduce(x.sum(dim=0)) / n  # (width,)
        centred = x - mean
        variance = all_reduce(centred.square().sum(dim=0)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias

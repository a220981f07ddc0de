"""One step of training; on a GPU recorded once as a CUDA graph and replayed: to launch its kernels takes longer than they do."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from .edges import EdgeSample, EdgeSampler
from .minibatch import Minibatch
from .negative_binomial import triton_works
from .processes import n_processes
from .schedules import Schedule

EDGES_A_STEP = 512
WARM_UP = 3  # steps that are taken one kernel after the other before the recording, as CUDA graphs ask for

Losses = Callable[[Minibatch, EdgeSample], dict[str, Tensor]]
Total = Callable[[dict[str, Tensor], Tensor], Tensor]


class Step:
    """Losses, gradients and optimiser of a minibatch.

    Parameters
    ----------
    losses
        The model: minibatch and edges -> its terms.
    total
        Terms and the weight of the cells' KL terms -> what is descended.
    schedule, edges
        Of the optimiser; where edges are drawn from.

    Attributes
    ----------
    names
        Of the terms; none before a step was taken.
    """

    def __init__(self, losses: Losses, total: Total, schedule: Schedule, edges: EdgeSampler):
        self._losses, self._total, self._schedule, self._edges = losses, total, schedule, edges
        self._n_taken, self._graph = 0, None
        self.names: list[str] = []

    def __call__(self, batch: Minibatch) -> Tensor:
        """Take the step; the terms before it, of shape (n_terms,)."""
        with torch.cuda.device_of(batch.cells):
            if not batch.cells.is_cuda or n_processes() > 1 or not triton_works():  # else the likelihood waits for the device
                out = self._take(batch)
            elif self._n_taken < WARM_UP:
                out = self._beside(batch)
            else:
                out = self._replay(batch)
        self._n_taken += 1
        self._schedule.next_step()
        return out

    def _take(self, batch: Minibatch) -> Tensor:
        terms = self._losses(batch, self._edges.sample(EDGES_A_STEP))
        self._schedule.descend(self._total(terms, self._schedule.kl_weight))
        self.names = list(terms)
        return torch.stack([term.detach() for term in terms.values()])  # (n_terms,)

    def _beside(self, batch: Minibatch) -> Tensor:
        """The step on a stream of its own."""
        here, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            out = self._take(batch)
        here.wait_stream(beside)
        return out

    def _replay(self, batch: Minibatch) -> Tensor:
        """The step by the recording, which reads its minibatch from always the same memory."""
        if self._graph is None:
            self._graph, own = torch.cuda.CUDAGraph(), _copy(batch)
            self._own, self._last = list(_tensors(own)), list(_tensors(batch))
            # A thread that reads ahead of a mosaic on disk may go on allocating meanwhile.
            with torch.cuda.graph(self._graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
                self._out = self._take(own)
        now = list(_tensors(batch))
        for own, last, new in zip(self._own, self._last, now, strict=True):
            if new is not last:  # what all minibatches share, such as their layout
                own.copy_(new)
        self._last = now
        self._graph.replay()
        return self._out.clone()


def _copy(part):
    """A minibatch or a part of one, with tensors of its own."""
    if isinstance(part, Tensor):
        return part.clone()
    if is_dataclass(part):
        return type(part)(**{f.name: _copy(getattr(part, f.name)) for f in fields(part)})
    if isinstance(part, dict):
        return {key: _copy(value) for key, value in part.items()}
    return type(part)(map(_copy, part)) if isinstance(part, (list, tuple)) else part


def _tensors(part) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif is_dataclass(part):
        for f in fields(part):
            yield from _tensors(getattr(part, f.name))
    elif isinstance(part, (dict, list, tuple)):
        for value in part.values() if isinstance(part, dict) else part:
            yield from _tensors(value)

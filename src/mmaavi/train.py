"""The training loop: minibatches, a schedule of fixed length, validation."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from .data import MosaicData
from .edges import EdgeSampler
from .errors import InputError
from .model import MosaicVAE

WARM_UP = 0.1  # share of the steps in which the learning rate rises
EDGES_A_STEP = 512
NOT_VALIDATED = ("discriminator",)  # the adversary's loss says nothing about the fit


@dataclass(frozen=True)
class Split:
    """Positions of the training and of the validation cells."""

    train: np.ndarray
    validation: np.ndarray


def split_cells(group: np.ndarray, share: float, rng: np.random.Generator) -> Split:
    """A random share of the cells of each group (at least one, where it has two or more) for validation."""
    validation = []
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        validation.append(rng.choice(rows, size=n, replace=False))
    validation = np.sort(np.concatenate(validation))
    return Split(np.setdiff1d(np.arange(len(group)), validation), validation)


def train(model: MosaicVAE, data: MosaicData, edges: EdgeSampler, seed: int, progress: bool = True) -> list[dict]:
    """Train ``model`` in place and leave it in evaluation mode.

    The learning rate rises, then falls to zero over a fixed number of steps (Smith & Topin 2019): no epoch is wasted on
    waiting for a plateau, and the last state is the one to keep.

    Parameters
    ----------
    model, data, edges
        What is trained, on what.
    seed
        Seed of the split, the minibatches and all noise.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    One row an epoch and phase (``train``, ``validation``): epoch, phase, seconds, and every loss term.

    Raises
    ------
    InputError
        If a loss term is not finite; names the term.
    """
    s = model.settings
    split = split_cells(data.group, s.validation_share, np.random.default_rng(seed))
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    per_epoch = data.steps_per_epoch(split.train, s.minibatch_size)
    n_epochs = math.ceil(s.n_steps / per_epoch)
    optimiser = torch.optim.Adam(model.parameters(), lr=s.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, s.learning_rate, total_steps=n_epochs * per_epoch, pct_start=WARM_UP
    )
    history = []
    with tqdm(total=n_epochs * per_epoch, desc="training", unit="step", disable=None if progress else True) as bar:
        for epoch in range(n_epochs):
            start = time.perf_counter()
            model.train()
            sums: dict[str, torch.Tensor] = {}
            for batch in data.epoch(split.train, s.minibatch_size, generator):
                terms = model.loss_terms(batch, edges.sample(EDGES_A_STEP))
                loss = model.total(terms)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                for name, term in {"total": loss, **terms}.items():
                    sums[name] = sums.get(name, 0) + term.detach()
            history.append(_row(epoch, "train", start, {k: v / per_epoch for k, v in sums.items()}))
            history.append(_row(epoch, "validation", start, validate(model, data, edges, split.validation, seed)))
            bar.set_postfix(train=f"{history[-2]['total']:.1f}", validation=f"{history[-1]['total']:.1f}")
    model.eval()
    return history


@torch.no_grad()
def validate(model: MosaicVAE, data: MosaicData, edges: EdgeSampler, cells: np.ndarray, seed: int) -> dict[str, torch.Tensor]:
    """Mean loss terms over some cells, with the same noise at every call."""
    model.eval()
    devices = [data.device] if data.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        sums, weights = {}, {}
        for batch in data.in_order(cells, 512):
            for name, term in model.loss_terms(batch, edges.sample(EDGES_A_STEP)).items():
                n = len(batch.modalities[name.removeprefix("nll_")].rows) if name.startswith("nll_") else len(batch.cells)
                sums[name] = sums.get(name, 0) + n * term
                weights[name] = weights.get(name, 0) + n
    terms = {name: sums[name] / weights[name] for name in sums}
    return {"total": model.total({k: v for k, v in terms.items() if k not in NOT_VALIDATED}), **terms}


def _row(epoch: int, phase: str, start: float, terms: dict[str, torch.Tensor]) -> dict:
    values = {name: float(term) for name, term in terms.items()}
    bad = [name for name, value in values.items() if not np.isfinite(value)]
    if bad:
        raise InputError(f"the loss terms {bad} are not finite in epoch {epoch} ({phase}); lower the learning rate")
    return {"epoch": epoch, "phase": phase, "seconds": time.perf_counter() - start, **values}

"""The training loop: minibatches, schedule, validation, and checkpoints from which it goes on as if never stopped."""

import ctypes
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from .checkpoint import Checkpoint
from .data import MosaicData
from .edges import EdgeSampler
from .errors import InputError, listing
from .experiments import code_hash
from .model import MosaicVAE
from .precision import fast_products
from .processes import mean_of_processes, n_processes, this_process
from .schedules import SCHEDULES
from .steps import EDGES_A_STEP, Step

VALIDATION_SEED = 0
# The adversary's loss says nothing about the fit, and agreement depends on how many cells it is asked among.
NOT_VALIDATED = ("discriminator", "agreement")
KEEP_MEMORY = {-4: 0, -1: 2**31 - 1, -2: 2**28}  # of glibc's mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


@dataclass(frozen=True)
class Split:
    """Positions of the training and of the validation cells."""

    train: np.ndarray
    validation: np.ndarray


def split_cells(group: np.ndarray, share: float) -> Split:
    """A random share of the cells of each group (at least one, where it has two or more) for validation.

    The same at every call: losses on other cells and with other noise could not tell one number of components from another.
    """
    rng = np.random.default_rng(VALIDATION_SEED)
    validation = []
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        validation.append(rng.choice(rows, size=n, replace=False))
    validation = np.sort(np.concatenate(validation))
    return Split(np.setdiff1d(np.arange(len(group)), validation), validation)


def train(
    model: MosaicVAE,
    data: MosaicData,
    edges: EdgeSampler,
    split: Split,
    seed: int,
    progress: bool = True,
    checkpoint: Path | None = None,
) -> list[dict]:
    """Train ``model`` in place and leave it in evaluation mode.

    Parameters
    ----------
    model, data, edges
        What is trained, on what.
    split
        Training and validation cells.
    seed
        Seed of the minibatches and of the noise of training; that of validation is the same for all seeds.
    progress
        Show a progress bar on a terminal.
    checkpoint
        File that holds the state of the training, written twice a minute and at SIGTERM. Where it exists, training goes on from
        there, with the same losses as if it had never been stopped. It is for the caller to remove, once the results are safe.

    Returns
    -------
    One row an epoch and phase (``train``, ``validation``): epoch, phase, seconds, and every loss term.

    Raises
    ------
    InputError
        If a loss term is not finite; names the term and the batches, and leaves the last good state in the model.
    """
    keep_freed_memory()
    s = model.settings
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed + this_process())
    per_epoch = data.steps_per_epoch(split.train, s.minibatch_size)
    n_epochs = math.ceil(s.n_steps / per_epoch)
    schedule = SCHEDULES[s.schedule](model, s.learning_rate, n_epochs, per_epoch, model.fast_parameters())
    of = f"{s} {seed} {data.fingerprint} {edges.fingerprint} {data.device.type} {code_hash(__file__)}" if checkpoint else ""
    state = Checkpoint(checkpoint, of, data.device, model, schedule, generator)
    process = (this_process(), n_processes())
    step = Step(model if n_processes() == 1 else shared(model), model.total, schedule, edges)
    history, steps, step.names = state.restore()
    last_good = _copy(model)
    n_done = len(history) // 2
    bar = tqdm(total=schedule.n_epochs, initial=n_done, desc="training", unit="epoch", disable=None if progress else True)
    with bar, state.heeding_sigterm(), fast_products(max(model.n_features.values())):
        for epoch in range(n_done, schedule.n_epochs):
            start = time.perf_counter()
            model.train()
            draws = generator.get_state()
            for batch in data.epoch(split.train, s.minibatch_size, generator, s.labelled_share, len(steps), process):
                state.write_if_due(history, draws, steps, step.names)
                steps.append(step(batch))
            # (n_steps, n_terms): the one time that the device is waited for
            table = mean_of_processes(torch.stack(steps)).cpu()
            terms = dict(zip(step.names, table.mean(dim=0), strict=True))
            rows = [_row(epoch, "train", start, {"total": model.total(terms), **terms})]
            # by all processes: what ends a training ends it everywhere
            validation = validate(model, data, edges, split.validation, lambda: state.asked_to_end)
            state.write_if_due(history, draws, steps, step.names)  # as before the validation, which may have been cut short
            steps = []
            rows.append(_row(epoch, "validation", start, {k: mean_of_processes(v) for k, v in validation.items()}))
            if bad := _not_finite(table, step.names, rows[1], model):
                model.load_state_dict(last_good)
                model.eval()
                raise InputError(
                    f"{listing(bad)} are not finite in epoch {epoch} "
                    f"({_where_not_finite(model, data, edges, split.train)}); the model is left as it was when all was last "
                    "finite. Lower the learning rate, or look for extreme values there"
                )
            history += rows
            last_good = _copy(model)
            bar.update()
            bar.set_postfix(train=f"{rows[0]['total']:.1f}", validation=f"{rows[1]['total']:.1f}")
            if schedule.ends_after(epoch, rows[1]["total"], last_good):
                break
    if schedule.best_state is not None:
        model.load_state_dict(schedule.best_state)
    model.zero_grad(set_to_none=True)
    model.eval()
    return history


def shared(model: MosaicVAE) -> DistributedDataParallel:
    """The model with gradients averaged over all processes."""
    unused = model.settings.fusion == "mean"  # its gates
    return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)


def keep_freed_memory() -> None:
    """Let this process use again what a step frees; else a sixth of a step is the system handing out the same pages anew."""
    if platform.libc_ver()[0] == "glibc":
        for parameter, value in KEEP_MEMORY.items():
            ctypes.CDLL(None).mallopt(parameter, value)


@torch.no_grad()
def validate(
    model: MosaicVAE, data: MosaicData, edges: EdgeSampler, cells: np.ndarray, cut_short: Callable[[], bool] = lambda: False
) -> dict[str, torch.Tensor]:
    """Mean loss terms over some cells, with the same noise at every call; where it is cut short, over the first of them."""
    model.eval()
    devices = [data.device] if data.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(VALIDATION_SEED)
        sums, weights = {}, {}
        for batch in data.in_order(cells, 512):
            for name, term in model(batch, edges.sample(EDGES_A_STEP)).items():
                n = len(batch.cells)
                if name.startswith("nll_"):
                    n = len(batch.modalities[name.removeprefix("nll_")].rows)
                elif name == "labels":
                    n = int((batch.label >= 0).sum())
                elif name == "agreement":
                    n = sum(len(rows) for _, _, rows, _ in batch.pairs)
                if not n:
                    continue
                sums[name] = sums.get(name, 0) + n * term
                weights[name] = weights.get(name, 0) + n
            if cut_short():
                break
    terms = {name: sums[name] / weights[name] for name in sums}
    return {"total": model.total({k: v for k, v in terms.items() if k not in NOT_VALIDATED}), **terms}


def _row(epoch: int, phase: str, start: float, terms: dict[str, torch.Tensor]) -> dict:
    values = {name: float(term) for name, term in terms.items()}
    return {"epoch": epoch, "phase": phase, "seconds": time.perf_counter() - start, **values}


def _not_finite(table: torch.Tensor, terms: list[str], validation: dict, model: MosaicVAE) -> list[str]:
    """What is not finite: terms of the first bad step of ``table`` (n_steps, n_terms), or of validation, or weights."""
    bad_steps = (~table.isfinite()).any(dim=1).nonzero()  # (n_bad, 1)
    if len(bad_steps):
        first = table[int(bad_steps[0])].isfinite()
        return [f"loss term {name}" for name, fine in zip(terms, first, strict=True) if not fine]
    bad = [f"loss term {k}" for k, v in validation.items() if k in terms and not math.isfinite(v)]
    return bad or [f"weights {name}" for name, value in model.state_dict().items() if not value.isfinite().all()]


def _where_not_finite(model: MosaicVAE, data: MosaicData, edges: EdgeSampler, cells: np.ndarray) -> str:
    """In which batches which terms are not finite with the last good state, for the message."""
    batch = data.batch.cpu().numpy()[cells]
    found = []
    for b in np.unique(batch):
        terms = validate(model, data, edges, cells[batch == b][:512])
        bad = [name for name, value in terms.items() if name != "total" and not bool(torch.isfinite(value))]
        if bad:
            found.append(f"batch {data.batches[b]}: {listing(bad)}")
    return "; ".join(found) or "with the last good state, all terms are finite in all batches"


def _copy(model: MosaicVAE) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}

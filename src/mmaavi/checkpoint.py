"""The state of a training on disk: written as it runs and when it is asked to end, read where it was stopped."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .files import replacing
from .model import MosaicVAE
from .schedules import Schedule

SECONDS_BETWEEN = 30


@dataclass
class Checkpoint:
    """All that a training needs to go on in the middle of an epoch, with the losses of one that was never stopped.

    Attributes
    ----------
    path
        The file; nothing is written or read without one.
    of
        What it is a training of: settings, seed, data, code, kind of device. A file of another training is ignored.
    device
        Of the training.
    model, schedule, generator
        Parts of the training whose states are kept, beside those of torch's own generators.
    asked_to_end
        Whether SIGTERM came: what takes long should be cut short, so that the checkpoint is written in time.
    """

    path: Path | None
    of: str
    device: torch.device
    model: MosaicVAE
    schedule: Schedule
    generator: torch.Generator
    _written: float = field(default_factory=time.monotonic)
    asked_to_end: bool = field(default=False, init=False)

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """SIGTERM, by which schedulers announce that they will kill, ends the training after its step, with a checkpoint."""
        if self.path is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note_sigterm)
        try:
            yield
            self._end_if_asked()
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note_sigterm(self, *_) -> None:
        self.asked_to_end = True

    def write_if_due(self, history: list[dict], draws: Tensor, steps: list[Tensor], names: list[str]) -> None:
        """To be called between steps, and after a validation.

        Parameters
        ----------
        history
            Rows of the epochs that are done.
        draws
            State of the generator when the present epoch drew its minibatches.
        steps
            Losses of the present epoch's steps so far.
        names
            Of these losses.

        Raises
        ------
        SystemExit
            After SIGTERM, once the file is there.
        """
        due = time.monotonic() - self._written > SECONDS_BETWEEN
        if self.path is None or not (due or self.asked_to_end):
            return
        self._written = time.monotonic()
        if all(x.isfinite().all() for x in [*steps, *self.model.state_dict().values()]):  # else the last file is the better one
            state = {
                "of": self.of,
                "model": self.model.state_dict(),
                "schedule": self.schedule.state_dict(),
                "draws": draws,
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
                "history": history,
                "steps": steps,
                "names": names,
            }
            with replacing(self.path) as partial:
                torch.save(state, partial)
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        if self.asked_to_end:
            logging.warning("stopped by SIGTERM; started again, the training goes on from %s", self.path)
            raise SystemExit(128 + signal.SIGTERM)

    def restore(self) -> tuple[list[dict], list[Tensor], list[str]]:
        """Take over the file's states; its history, losses of its unfinished epoch and their names; empty without a file."""
        if self.path is None or not self.path.is_file():
            return [], [], []
        try:
            state = torch.load(self.path, map_location=self.device, weights_only=True)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, training can start anew
            logging.warning("the checkpoint %s cannot be read (%s): training starts anew", self.path, error)
            return [], [], []
        if state["of"] != self.of:
            logging.warning("the checkpoint %s is of other settings or data: training starts anew", self.path)
            return [], [], []
        self.model.load_state_dict(state["model"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["draws"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        logging.info(
            "the training goes on from %s, step %d of epoch %d", self.path, len(state["steps"]), len(state["history"]) // 2
        )
        return state["history"], state["steps"], state["names"]

"""Stopping and going on: losses that are not finite, kills, damaged checkpoints."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from mmaavi import checkpoint as checkpoints
from mmaavi.data import MosaicData
from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.model import MosaicVAE
from mmaavi.schedules import OneCycle
from mmaavi.settings import Settings
from mmaavi.train import split_cells

QUICK = Settings(n_components=6, width=32, n_fused=16, n_latent=8, n_steps=120, minibatch_size=60)


def losses(model: MMAAVI) -> pd.DataFrame:
    return model.history.drop(columns="seconds")


def test_the_validation_cells_are_a_share_of_each_group():
    group = np.repeat([0, 1, 2, 3], [100, 30, 5, 1])
    split = split_cells(group, 0.1)
    assert np.bincount(group[split.validation], minlength=4).tolist() == [10, 3, 1, 0]
    assert sorted([*split.train, *split.validation]) == list(range(136))


def test_a_loss_that_is_not_finite_is_named_and_the_last_good_state_is_kept(mosaic, monkeypatch):
    honest, calls = MosaicVAE.forward, []
    model = MMAAVI(QUICK, device="cpu")

    def broken(self, batch, edges):
        calls.append(1)
        terms = honest(self, batch, edges)
        return terms | {"nll_rna": terms["nll_rna"] * float("nan")} if len(calls) > 20 and "nll_rna" in terms else terms

    monkeypatch.setattr(MosaicVAE, "forward", broken)
    with pytest.raises(
        InputError, match="loss term nll_rna are not finite in epoch 3 \\(batch batch1: nll_rna; batch batch2: nll_rna\\)"
    ):
        model.fit(mosaic, progress=False)
    assert len(calls) < 60
    assert np.isfinite(model.embed(mosaic)["X_mmaavi"]).all()


def test_weights_that_are_not_finite_are_never_kept(mosaic, monkeypatch):
    """A gradient that is not finite in the last step of an epoch: no loss of the training shows it."""
    honest, calls = OneCycle.descend, []
    model = MMAAVI(QUICK, device="cpu")

    def broken(self, loss):
        honest(self, loss)
        calls.append(1)
        if len(calls) == 20:
            next(iter(self._optimiser.param_groups[0]["params"])).data.fill_(float("nan"))

    monkeypatch.setattr(OneCycle, "descend", broken)
    with pytest.raises(InputError, match="not finite in epoch"):
        model.fit(mosaic, progress=False)
    assert np.isfinite(model.embed(mosaic)["X_mmaavi"]).all()


class Stopped(Exception):
    pass


def crash():
    raise Stopped


def ask_to_end():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_fast_discriminator_is_trained_as_such(mosaic):
    settings = replace(QUICK, dropout=0.0, n_steps=20)  # so that the rates alone are others
    fast, released = (
        MMAAVI(replace(settings, discriminator=d), device="cpu").fit(mosaic, progress=False) for d in ("fast", "released")
    )
    assert abs(fast.history["discriminator"].iloc[-1] - released.history["discriminator"].iloc[-1]) > 0.001


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
@pytest.mark.parametrize(
    ("stop", "seconds_between", "ends_by"), [(crash, 0, Stopped), (ask_to_end, 10_000, SystemExit)], ids=["crash", "sigterm"]
)
def test_a_training_stopped_within_an_epoch_goes_on_with_the_same_losses(
    mosaic, tmp_path, monkeypatch, schedule, stop, seconds_between, ends_by
):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", seconds_between)
    settings = replace(QUICK, schedule=schedule)
    whole = MMAAVI(settings, seed=1, device="cpu").fit(mosaic, progress=False)
    honest, calls = MosaicVAE.forward, []

    def stopping(self, batch, edges):
        calls.append(1)
        if len(calls) == 50:
            stop()
        return honest(self, batch, edges)

    checkpoint, handler = tmp_path / "checkpoint.pt", signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(MosaicVAE, "forward", stopping)
    with pytest.raises(ends_by):
        MMAAVI(settings, seed=1, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    monkeypatch.setattr(MosaicVAE, "forward", honest)
    assert signal.getsignal(signal.SIGTERM) is handler
    kept = torch.load(checkpoint, weights_only=True)
    assert kept["history"]
    assert kept["steps"]
    resumed = MMAAVI(settings, seed=1, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    pd.testing.assert_frame_equal(losses(resumed), losses(whole))
    np.testing.assert_array_equal(resumed.embed(mosaic)["X_mmaavi"], whole.embed(mosaic)["X_mmaavi"])
    again = MMAAVI(settings, seed=1, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)  # killed after its end
    pd.testing.assert_frame_equal(losses(again), losses(whole))
    np.testing.assert_array_equal(again.embed(mosaic)["X_mmaavi"], whole.embed(mosaic)["X_mmaavi"])


def test_a_training_asked_to_end_while_it_validates_does_so_at_once_and_goes_on_with_the_same_losses(
    mosaic, tmp_path, monkeypatch
):
    monkeypatch.setattr(MosaicData, "in_order", in_small_blocks)
    whole = MMAAVI(QUICK, seed=1, device="cpu").fit(mosaic, progress=False)
    honest, validated = MosaicVAE.forward, []

    def stopping(self, batch, edges):
        if not self.training:
            validated.append(1)
            if len(validated) == 8:  # the third of five or six blocks of the second epoch
                ask_to_end()
        return honest(self, batch, edges)

    checkpoint = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(MosaicVAE, "forward", stopping)
    with pytest.raises(SystemExit):
        MMAAVI(QUICK, seed=1, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    assert len(validated) == 8
    kept = torch.load(checkpoint, weights_only=True)
    assert len(kept["history"]) == 2
    resumed = MMAAVI(QUICK, seed=1, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    pd.testing.assert_frame_equal(losses(resumed), losses(whole))


def in_small_blocks(data, cells, size, honest=MosaicData.in_order):
    return honest(data, cells, min(size, 6))


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_checkpoint_that_is_damaged_or_of_another_training_is_ignored(mosaic, tmp_path, monkeypatch, caplog, damage):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    checkpoint = tmp_path / "checkpoint.pt"
    quick = replace(QUICK, n_steps=20)
    other = quick if damage == "cut" else replace(quick, adversary=1.0)
    MMAAVI(other, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    anew = MMAAVI(quick, device="cpu").fit(mosaic, progress=False, checkpoint=checkpoint)
    assert "training starts anew" in caplog.text
    pd.testing.assert_frame_equal(losses(anew), losses(MMAAVI(quick, device="cpu").fit(mosaic, progress=False)))


TRAINING = """
import sys
sys.path[:0] = [{src!r}, {tests!r}]
from conftest import small_mosaic
from test_train import LONG, losses
from mmaavi import checkpoint as checkpoints
from mmaavi.estimator import MMAAVI
checkpoints.SECONDS_BETWEEN = 0.1
model = MMAAVI(LONG, seed=2, device="cpu").fit(small_mosaic(), progress=False, checkpoint={checkpoint!r})
losses(model).to_csv({out!r}, index=False)
"""
LONG = replace(QUICK, n_steps=200)


def start(checkpoint: Path, out: Path) -> subprocess.Popen:
    paths = {"src": str(ROOT / "src"), "tests": str(ROOT / "tests"), "checkpoint": str(checkpoint), "out": str(out)}
    return subprocess.Popen([sys.executable, "-c", TRAINING.format(**paths)])


def test_a_killed_training_goes_on_with_the_same_losses(tmp_path):
    checkpoint, out, whole = tmp_path / "checkpoint.pt", tmp_path / "losses.csv", tmp_path / "whole.csv"
    process = start(checkpoint, out)
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.is_file()
    assert start(checkpoint, out).wait() == 0
    assert start(tmp_path / "another.pt", whole).wait() == 0
    assert out.read_text() == whole.read_text()

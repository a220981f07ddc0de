"""Two processes train as one: the same losses of the same minibatches, and one model at the end; they also end as one."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from mmaavi import precision, sparse
from mmaavi.edges import EdgeSampler
from mmaavi.estimator import MMAAVI
from mmaavi.mixture import DiagonalNormal
from mmaavi.mosaic import load
from mmaavi.settings import Settings

SETTINGS = Settings(n_components=6, n_steps=24, minibatch_size=60, dropout=0, modality_dropout=0, width=32, n_fused=24)
FIT = """
import sys
import torch
import torch.distributed as dist
sys.path[:0] = sys.argv[1:3]
from test_processes import fit
dist.init_process_group("gloo")
torch.set_num_threads(1)
fit(sys.argv[3], f"{sys.argv[4]}/{dist.get_rank()}", float(sys.argv[5]))
dist.destroy_process_group()
"""


def same_edges(sampler: EdgeSampler, n_edges: int, draw=EdgeSampler.sample):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return draw(sampler, n_edges)


def fit(mosaic: str, out: str, memory_gib: float) -> None:
    """A training without noise and in float32, so that the same cells give the same losses, however they are shared."""
    with (
        mock.patch.object(DiagonalNormal, "rsample", lambda q: q.mean),
        mock.patch.object(EdgeSampler, "sample", same_edges),
        mock.patch.object(precision, "multiplies_bfloat16", return_value=False),
        mock.patch.multiple(sparse, DENSE_FROM=1.0, DENSE_ELEMENTS=0),  # rounded differently with another number of rows
    ):
        model = MMAAVI(SETTINGS).fit(load(mosaic, memory_gib=memory_gib), progress=False)
    model.history.to_csv(f"{out}.tsv", sep="\t", index=False)
    np.save(f"{out}.npy", model.embed(load(mosaic))["X_mmaavi"])


def two_processes(folder: Path, program: str, memory_gib: float = np.inf) -> subprocess.CompletedProcess:
    """Both fit ``folder/mosaic.h5mu`` and leave their results in the folder."""
    (folder / "fit.py").write_text(program)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(folder / "fit.py")]
    command += [str(ROOT / "src"), str(ROOT / "tests"), str(folder / "mosaic.h5mu"), str(folder), str(memory_gib)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)


@pytest.fixture(scope="module", params=[np.inf, 0], ids=["in memory", "on disk"])
def results(mosaic, tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("processes")
    mosaic.save(folder / "mosaic.h5mu")
    fit(str(folder / "mosaic.h5mu"), str(folder / "one"), request.param)
    done = two_processes(folder, FIT, request.param)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (pd.read_csv(folder / f"{name}.tsv", sep="\t"), np.load(folder / f"{name}.npy")) for name in ("one", "0", "1")}


def test_two_processes_have_the_losses_of_one(results):
    one, two = (results[name][0].drop(columns=["seconds", "epoch"]).groupby("phase") for name in ("one", "0"))
    assert len(one.get_group("train")) == len(two.get_group("train")) > 2
    for phase in ("train", "validation"):
        ours, expected = (x.get_group(phase).drop(columns="phase").iloc[:3] for x in (two, one))
        np.testing.assert_allclose(ours["total"], expected["total"], rtol=1e-3)
        for term in expected:
            np.testing.assert_allclose(ours[term], expected[term], rtol=1e-3, atol=1e-3, err_msg=f"{term}, {phase}")


def test_all_processes_end_with_one_model(results):
    np.testing.assert_array_equal(results["0"][1], results["1"][1])


KILLED = """
import os
import signal
import sys
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from mmaavi.steps import Step

def killed(self, batch, honest=Step.__call__, calls=[]):
    calls.append(1)
    if len(calls) == 10:
        open(f"{sys.argv[4]}/{dist.get_rank()}.pid", "w").write(str(os.getpid()))
        if dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return honest(self, batch)

Step.__call__ = killed
"""


def test_a_process_that_dies_ends_the_training_of_all(mosaic, tmp_path):
    mosaic.save(tmp_path / "mosaic.h5mu")
    done = two_processes(tmp_path, KILLED + FIT)
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    left = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
    assert len(left) == 2
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.glob("*.npy"))

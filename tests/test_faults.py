"""What goes wrong on real machines: nothing is left half-written, and the next call of the workflow finishes the work.

Elsewhere: what a training that is killed, or asked to end, computes (test_train.py), one by several processes of which one dies
(test_processes.py); downloads (test_download.py); a method that crashes (test_methods_in_the_workflow.py).
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp
from given import write_good
from published import serving
from test_workflow import copy_project, snakemake, succeed

from mmaavi.embedding import read_run
from mmaavi.errors import DamagedFile, InputError
from mmaavi.intake import Aside, by_feature
from mmaavi.mosaic import load

CONFIG = """
datasets: [demo]
scenarios: {full: {n_cells: 300}}
experiments: {mine: {methods: {pca: [default]}, seeds: [0]}}
"""
MOSAIC = "results/demo/full/mosaic.h5mu"
EMBEDDING = "results/demo/full/pca/default/seed0/embedding.h5ad"
UNINTEGRATED = "results/demo/full/unintegrated.h5ad"  # quickly made of the mosaic
SCORES = "results/demo/full/pca/default/seed0/scores.tsv"
OPTIONS = ("--configfile", "mine.yaml", "--cores", "2")


@pytest.fixture
def project(tmp_path) -> Path:
    folder = copy_project(tmp_path)
    (folder / "mine.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def integrated_once(tmp_path_factory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("integrated"))
    (folder / "mine.yaml").write_text(CONFIG)
    succeed(folder, EMBEDDING, *OPTIONS)
    return folder


@pytest.fixture
def integrated(integrated_once, tmp_path) -> Path:
    """A project whose embedding is there, its scores are not."""
    return shutil.copytree(integrated_once, tmp_path / "integrated", symlinks=True)


def fail(folder: Path, *targets: str) -> str:
    done = snakemake(folder, *targets, *OPTIONS)
    assert done.returncode != 0
    return done.stdout + done.stderr


def no_partial_files(folder: Path) -> None:
    assert not list(folder.glob("results/**/.*.partial"))


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize("share", [0, 0.02, 0.6, 0.999])
def test_results_that_were_cut_off_are_told_from_whole_ones(mosaic, tmp_path, share):
    mosaic.save(tmp_path / "mosaic.h5mu")
    assert load(tmp_path / "mosaic.h5mu").n_features == mosaic.n_features
    cut(tmp_path / "mosaic.h5mu", share)
    ad.AnnData(np.eye(3)).write_h5ad(tmp_path / "embedding.h5ad")
    cut(tmp_path / "embedding.h5ad", share)
    with pytest.raises(DamagedFile, match="mosaic.h5mu is damaged .*; make it anew"):
        load(tmp_path / "mosaic.h5mu")
    with pytest.raises(DamagedFile, match="embedding.h5ad is damaged"):
        read_run(tmp_path / "embedding.h5ad")


def test_results_cut_off_by_a_power_cut_are_made_anew(integrated):
    whole = ad.read_h5ad(integrated / EMBEDDING).obsm["X_emb"]
    cut(integrated / EMBEDDING, 0.6)
    assert "embedding.h5ad is damaged" in fail(integrated, SCORES)
    assert not (integrated / EMBEDDING).exists()
    cut(integrated / MOSAIC, 0.6)
    assert "mosaic.h5mu is damaged" in fail(integrated, SCORES)
    assert not (integrated / MOSAIC).exists()
    succeed(integrated, EMBEDDING, *OPTIONS)
    assert set(md.read_h5mu(integrated / MOSAIC).mod) == {"rna", "atac", "protein"}
    assert (ad.read_h5ad(integrated / EMBEDDING).obsm["X_emb"] == whole).all()


def kill_and_finish(folder: Path, target: str, there: Callable[[], bool]) -> None:
    """``kill -9`` of a workflow with all its jobs once something is there; the next one makes the target."""
    command = [sys.executable, "-m", "snakemake", target, *OPTIONS]
    with subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as call:
        wait_until(there, call)
        os.killpg(call.pid, signal.SIGKILL)
        assert call.wait(timeout=120) == -signal.SIGKILL
    assert not (folder / target).exists()
    assert "--unlock" in fail(folder, target)  # Snakemake had no time to unlock the folder
    succeed(folder, "--unlock", *OPTIONS)
    succeed(folder, target, *OPTIONS)
    assert (folder / target).is_file()
    no_partial_files(folder)


def wait_until(there: Callable[[], bool], call: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        assert call.poll() is None
        time.sleep(0.05)


def works(folder: Path, script: str) -> bool:
    """Whether a script has worked in a folder for a moment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if script.encode() in (process / "cmdline").read_bytes() and (process / "cwd").resolve() == folder.resolve():
                time.sleep(1)
                return True
        except OSError:
            continue
    return False


def test_a_scoring_killed_with_the_workflow_is_done_again(integrated):
    kill_and_finish(integrated, SCORES, lambda: works(integrated, "score.py"))


def test_a_training_killed_with_the_workflow_goes_on_from_its_checkpoint(project):
    variant = "variants: {mmaavi: {default: {n_steps: 150, width: 32}}}\n"
    (project / "mine.yaml").write_text(CONFIG.replace("pca: [default]", "mmaavi: [default]") + variant)
    file = project / "src/mmaavi/checkpoint.py"
    file.write_text(file.read_text().replace("SECONDS_BETWEEN = 30", "SECONDS_BETWEEN = 0.5"))
    run = "demo/full/mmaavi/default/seed0"
    kill_and_finish(project, f"results/{run}/embedding.h5ad", (project / f"results/{run}/embedding.h5ad.checkpoint").is_file)
    assert "the training goes on from" in (project / f"logs/integrate/{run}.log").read_text()


def test_a_download_killed_with_the_workflow_goes_on(project):
    content, may_end = bytes(range(256)) * 40_000, threading.Event()

    def stalls(handler) -> bool:
        if not may_end.is_set():
            handler.answer(content, sent=len(content) // 2)
            handler.wfile.flush()
            may_end.wait(120)
        return "Range" not in handler.headers

    write_good(project)
    with serving({"/a.npz": content}, {"/a.npz": stalls}) as (address, requests):
        text = (project / "data.yaml").read_text().replace("http://example.org", address)
        (project / "data.yaml").write_text(text.replace("ab" * 32, hashlib.sha256(content).hexdigest()))
        (project / "mine.yaml").write_text(CONFIG.replace("[demo]", "[data.yaml]"))
        partial = project / "resources/set/.a.npz.partial"

        def half_there() -> bool:
            there = partial.is_file() and partial.stat().st_size > 10**6
            if there:
                threading.Timer(3, may_end.set).start()
            return there

        kill_and_finish(project, "resources/set/a.npz", half_there)
    assert (project / "resources/set/a.npz").read_bytes() == content
    assert requests[-1][1].startswith("bytes=")


def test_a_second_workflow_in_a_folder_is_refused_and_the_first_goes_on(project):
    command = [sys.executable, "-m", "snakemake", EMBEDDING, *OPTIONS]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_until(lambda: works(project, "mosaic.py"), first)
        assert "cannot be locked" in fail(project, EMBEDDING)
        assert first.wait(timeout=300) == 0
    assert (project / EMBEDDING).is_file()


def test_a_method_that_the_system_kills_for_memory_leaves_the_others_alone(project):
    (project / "src/mmaavi/methods/greedy.py").write_text(
        '"""Takes all memory."""\nimport os, signal\n\ndef run(mosaic, seed):\n    os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    greedy = (
        CONFIG.replace("methods: {", "methods: {greedy: [default], ") + "variants: {greedy: {default: {}}, pca: {default: {}}}\n"
    )
    (project / "mine.yaml").write_text(greedy)
    targets = [EMBEDDING, EMBEDDING.replace("pca", "greedy")]
    fail(project, "--keep-going", *targets)
    assert (project / EMBEDDING).is_file()
    succeed(project, "results/tables/cost.tsv", "--config", "failed=show", *OPTIONS)
    assert "failed: nothing in its log: it was killed" in (project / "results/tables/cost.tsv").read_text()


@contextmanager
def disk(folder: Path, options: str):
    """A file system of its own at a folder."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs to be root")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_disks_that_are_full_or_read_only_leave_nothing_half_written(project):
    with disk(project / "results", "size=600k") as remount:
        text = fail(project, EMBEDDING)
        assert "No space left on device" in text or "no space" in text
        no_partial_files(project)
        remount("size=100m")
        succeed(project, EMBEDDING, *OPTIONS)
        before = (project / EMBEDDING).read_bytes()
        remount("ro")
        assert "Read-only file system" in fail(project, UNINTEGRATED)
        assert (project / EMBEDDING).read_bytes() == before
        remount("rw")
        succeed(project, UNINTEGRATED, *OPTIONS)


@pytest.mark.parametrize(
    "put", [lambda a, b: a.keep(b, 1000), lambda a, b: a.by_cell(by_feature(b), 1000)], ids=["row", "column"]
)
def test_counts_that_are_put_aside_on_a_full_disk_are_refused(tmp_path, rng, monkeypatch, put):
    monkeypatch.setattr("mmaavi.intake.TURNED_AT_ONCE", 10_000)
    with disk(tmp_path / "small", "size=1m"):
        block = sp.csr_array(rng.poisson(1.0, (50, 1000)).astype(np.float32))
        aside = Aside(tmp_path / "small", 0)
        with pytest.raises(InputError, match="counts.h5, where counts are put .* make room there, or give this job more memory"):
            put(aside, [block] * 20)


def test_a_clock_that_was_set_back_is_said_and_the_work_is_finished(integrated):
    before, tomorrow = (integrated / EMBEDDING).read_bytes(), time.time() + 86_400
    for n, file in enumerate(sorted(integrated.glob("results/**/*"), key=lambda p: p.stat().st_mtime)):
        os.utime(file, (tomorrow + n, tomorrow + n))
    targets = (EMBEDDING, UNINTEGRATED, *OPTIONS)
    assert re.search(r"\d+ files are dated in the future", succeed(integrated, *targets))
    assert (integrated / UNINTEGRATED).is_file()
    assert (integrated / EMBEDDING).read_bytes() == before
    assert "Nothing to be done" in succeed(integrated, *targets)
    assert max(p.stat().st_mtime for p in integrated.glob("results/**/*")) < time.time()

"""The workflow on a real SLURM of one node, started for these tests: `make test-slurm`, as root, with slurm-wlm and munge."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from test_workflow import copy_project

pytestmark = [
    pytest.mark.skipif("MMAAVI_TEST_SLURM" not in os.environ, reason="starts a cluster, takes long: make test-slurm"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd has to be root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))), reason="install Debian's slurm-wlm and munge"
    ),
]
SNAKEMAKE = [
    sys.executable,
    "-m",
    "snakemake",
    "--workflow-profile",
    "workflow/profiles/slurm",
    "--slurm-no-account",
    "--cores",
    "2",
]
SNAKEMAKE += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]  # no accounting here
RUN = "results/demo/full/mmaavi/default/seed0"


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    script, folder = str(ROOT / "tests/slurm/cluster.sh"), str(tmp_path_factory.mktemp("slurm"))
    try:
        subprocess.run(["bash", script, "start", folder], check=True)
        yield
    finally:
        subprocess.run(["bash", script, "stop", folder], check=True)


@pytest.fixture
def project(tmp_path) -> Path:
    return copy_project(tmp_path)


def run(folder: Path, *options: str) -> str:
    done = subprocess.run([*SNAKEMAKE, *options], cwd=folder, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_the_demo_runs_through_slurm_to_the_report(project):
    text = run(project, "--set-threads", "integrate=1")
    submitted = re.findall(r"has been submitted with SLURM jobid (\d+)", text)
    n_jobs = int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    assert 8 <= len(set(submitted)) <= n_jobs - 1 - 5 - 3  # without `all`; six scorings are one job, and at least four figures
    run(project, "--executor", "local", "--report", "results/report.html")
    assert (project / "results/report.html").stat().st_size > 10_000
    assert pd.read_csv(project / "results/tables/summary.tsv", sep="\t")["mean"].notna().any()


def test_a_job_killed_for_its_memory_is_tried_again_with_more(project):
    text = run(project, "results/demo/full/mosaic.h5mu", "--set-resources", "mosaic:mem_mb=40 * attempt ** 5")
    assert len(re.findall(r"Job \d+ has been submitted with SLURM jobid", text)) > 1
    assert "Trying to restart" in text
    assert (project / "results/demo/full/mosaic.h5mu").is_file()


def test_a_training_on_a_gpu_partition_cancelled_by_hand_goes_on_from_its_checkpoint(project):
    profile = project / "workflow/profiles/slurm/profile.yaml"
    text, n_lines = re.subn(r"# (gpu: 1|slurm_partition: gpu)", r"\1", profile.read_text())
    assert n_lines == 2  # what the profile says of clusters with GPUs, as it stands there
    profile.write_text(text)
    config = project / "config/datasets/demo.yaml"
    config.write_text(config.read_text().replace("n_steps: 300", "n_steps: 1500"))
    log, checkpoint = project / f"logs/integrate/{RUN.removeprefix('results/')}.log", project / f"{RUN}/embedding.h5ad.checkpoint"
    with subprocess.Popen([*SNAKEMAKE, f"{RUN}/embedding.h5ad"], cwd=project, stdout=subprocess.DEVNULL) as workflow:
        wait_for(checkpoint.is_file, workflow)
        job = subprocess.run(["scontrol", "show", "job"], capture_output=True, text=True, check=True).stdout.split("JobId=")[-1]
        assert "Partition=gpu" in job
        assert re.search("Tres.*=gres[:/]gpu[:=]1", job)
        written, asked = checkpoint.stat().st_mtime, time.time()
        subprocess.run(["scancel", "--me"], check=True)
        wait_for(lambda: checkpoint.stat().st_mtime > written, workflow)
        assert checkpoint.stat().st_mtime - asked < 10
        assert "stopped by SIGTERM" in log.read_text()
        assert workflow.wait(timeout=600) == 0
    assert "the training goes on from" in log.read_text()
    assert (project / f"{RUN}/embedding.h5ad").is_file()


def wait_for(happened, workflow: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        assert workflow.poll() is None
        time.sleep(0.2)

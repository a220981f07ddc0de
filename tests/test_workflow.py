"""The workflow as a user runs it: in a copy of the project, from the config to the report."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

COPIED = ("workflow", "config", "src", "envs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def copy_project(folder: Path) -> Path:
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1800)


def succeed(folder: Path, *options: str) -> str:
    done = snakemake(folder, *options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def planned(folder: Path, *options: str) -> dict[str, int]:
    """Rule -> number of jobs that a call would run."""
    text = succeed(folder, "--dry-run", *options)
    table = text[text.find("Job stats:") :] if "Job stats:" in text else ""
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if name != "total"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The whole demo at full size, with its report."""
    folder = copy_project(tmp_path_factory.mktemp("demo"))
    succeed(folder, "--set-threads", "integrate=1")
    succeed(folder, "--report", "results/report.html")
    return folder


def test_the_demo_recovers_the_planted_types(demo):
    summary = pd.read_csv(demo / "results/tables/summary.tsv", sep="\t").query("group == 'all'")
    mean = summary.pivot_table(index="method", columns="metric", values="mean")
    assert mean.loc["mmaavi", "leiden_ari"] >= 0.85
    assert mean.loc["mmaavi", "leiden_ari"] > mean.loc["pca", "leiden_ari"]
    assert mean.loc["mmaavi", "total"] > mean.loc["pca", "total"] > mean.loc["shuffled", "total"]
    assert mean.loc["cell_type", "total"] > mean.loc["pca", "total"]
    assert (summary.query("method == 'mmaavi' and metric == 'total'")["n_seeds"] == 3).all()
    matching = pd.read_csv(demo / "results/tables/summary.tsv", sep="\t").query("metric == 'foscttm'")
    assert set(matching["group"]) == {"rna - atac", "rna - protein", "atac - protein", "all"}
    ours = matching.query("method == 'mmaavi'")["mean"]
    assert ours.max() < matching.query("method == 'pca'")["mean"].min()


def test_no_job_of_the_demo_takes_much_memory(demo):
    cost = pd.read_csv(demo / "results/tables/cost.tsv", sep="\t")
    assert cost["peak_memory_gib"].max() < 6
    assert (cost["fit_seconds"] > 0).all()
    jobs = pd.read_csv(demo / "results/tables/jobs.tsv", sep="\t")
    assert (jobs["peak_memory_gib"] < 8).all()
    assert {job.split()[0] for job in jobs["job"]} == {"mosaic", "unintegrated", "umap", "score"}


def test_every_figure_is_drawn_twice(demo):
    png = {p.with_suffix("") for p in demo.glob("results/figures/**/*.png")}
    assert {p.name for p in png} == {"mosaic", "umap", "table", "scores", "training", "attention_default_seed0", "cost"}
    assert png == {p.with_suffix("") for p in demo.glob("results/figures/**/*.svg")}


def test_labels_stay_out_of_the_mosaic(demo):
    content = (demo / "results/demo/full/mosaic.h5mu").read_bytes()
    assert b"cell_type" not in content
    assert b"type1" not in content


def test_a_second_call_has_nothing_to_do(demo):
    assert "Nothing to be done" in succeed(demo)


def test_another_config_replaces_the_default(demo, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("datasets: [demo]\nexperiments: {mine: {methods: {pca: [default]}, seeds: [7, 8]}}\n")
    assert planned(demo, "--configfile", str(file))["integrate"] == 2


def test_a_change_of_the_networks_reruns_training_and_what_follows(demo):
    file = demo / "src/mmaavi/networks.py"
    before = file.read_text()
    file.write_text(before + "\n# changed\n")
    try:
        jobs = planned(demo)
    finally:
        file.write_text(before)
    assert jobs == {
        "integrate": 3, "score": 3, "tables": 1, "umap": 1, "figure_umap": 1, "figure_table": 1, "figure_scores": 1,
        "figure_attention": 1, "figure_training": 1, "figure_cost": 1, "explore": 1, "overview": 1, "all": 1,
    }  # fmt: skip


def test_scripts_import_the_package_of_their_own_checkout(demo):
    """The path that common.smk inserts reaches every script job, without an installed package, and what torch is told."""
    rule = """

rule probe:
    output:
        "probe.txt",
    script:
        "scripts/probe.py"
"""
    said = "os.environ['GOMP_SPINCOUNT'], mmaavi.__file__"
    (demo / "workflow/scripts/probe.py").write_text(f"import os, mmaavi\nprint({said}, file=open(snakemake.output[0], 'w'))\n")
    snakefile = demo / "workflow/Snakefile"
    original = snakefile.read_text()
    snakefile.write_text(original + rule)
    try:
        succeed(demo, "probe.txt")
    finally:
        snakefile.write_text(original)
    assert (demo / "probe.txt").read_text().split() == ["2000", str(demo / "src/mmaavi/__init__.py")]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
def test_the_report_opens_in_a_browser(demo, tmp_path):
    page = (demo / "results/report.html").resolve()
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    options = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    options += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=15000", "--enable-logging=stderr", "--v=0"]
    command = [CHROMIUM, *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
    for word in ("Overview", "Data", "Integration", "Explore", "Tables", "Cost"):  # categories, written by the page itself
        assert word in re.sub(r"(?s)<script.*?</script>", "", done.stdout), word
    assert not re.findall(r"CONSOLE.*(?:Uncaught|Error).*", done.stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "datasets=[dmo]"], "there is no dataset 'dmo' in config/datasets; did you mean 'demo'?"),
        (["--config", "dataset=[demo]"], "dataset"),
        (["--configfile", "config/quickstart.yaml", "--config", "mirror=nowhere"], "not in the mirror folder nowhere"),
    ],
)
def test_a_wrong_config_is_said_in_one_message(tmp_path, options, message):
    folder = copy_project(tmp_path)
    done = snakemake(folder, *options)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert message in text
    assert "Traceback" not in text
    assert not list(folder.glob("results/**/*.h5*"))


def test_quickstart_runs_on_real_data(mirror, tmp_path):
    folder = copy_project(tmp_path)
    config = (folder / "config/quickstart.yaml").read_text()
    config = config.replace("seeds: [0, 1, 2]", "seeds: [0]").replace(
        "      shuffled: [default]\n      cell_type: [default]\n", ""
    )
    (folder / "config/quickstart.yaml").write_text(config)
    options = ("--configfile", "config/quickstart.yaml", "--set-threads", "integrate=1", "--config", f"mirror={mirror}")
    succeed(folder, *options, "--", "results/tables/summary.tsv")
    table = pd.read_csv(folder / "results/tables/summary.tsv", sep="\t").query("group == 'all' and metric == 'total'")
    total = table.set_index("method")["mean"]
    assert total["mmaavi"] > 0.70
    assert total["mmaavi"] > total["pca"]

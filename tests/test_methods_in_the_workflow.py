"""A method added by CONTRIBUTING.md alone; runs that cannot be, and runs that fail, beside those that succeed."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_workflow import copy_project, planned, snakemake

TARGETS = ["results/tables/cost.tsv", *(f"results/figures/{name}.png" for name in ("cost", "demo/full/scores", "demo/full/umap"))]
OPTIONS = ("--configfile", "config/mine.yaml", "--keep-going")
SCENARIO = {"n_cells": 300, "hide": {"batch1": ["atac"], "batch2": ["rna"]}}  # RNA; protein; ATAC + protein


def follow(contributing: str, project: Path) -> None:
    """Do what CONTRIBUTING.md says: its Python file and its config, as they stand."""
    name = re.search(r"such as `(\w+\.py)`", contributing)[1]
    code, config = (re.search(rf"```{kind}\n(.*?)```", contributing, re.DOTALL)[1] for kind in ("python", "yaml"))
    (project / "src/mmaavi/methods" / name).write_text(code)
    (project / "config/mine.yaml").write_text(config)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The toy method, and beside it others of which one cannot run, one is not installed and one breaks."""
    folder = copy_project(tmp_path_factory.mktemp("methods"))
    follow((ROOT / "CONTRIBUTING.md").read_text(), folder)
    broken = "import torch\n\n\ndef run(mosaic, seed):\n"  # which tells its threads
    broken += '    raise RuntimeError(f"no luck with seed {seed}, {torch.get_num_threads()} thread")\n'
    (folder / "src/mmaavi/methods/broken.py").write_text(broken)
    (folder / "src/mmaavi/methods/absent.py").write_text('PACKAGES = ("no_such_package",)\n\n\n' + broken)
    config = yaml.safe_load((folder / "config/mine.yaml").read_text())
    others = {"pca": {"default": {}}, "uinmf": {"default": {}}, "broken": {"default": {}}, "absent": {"default": {}}}
    config["variants"] |= others
    config["experiments"]["mine"]["methods"] |= dict.fromkeys(others, ["default"])
    config["scenarios"] = {"full": SCENARIO}
    (folder / "config/mine.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def first(project):
    return snakemake(project, *OPTIONS, "--", *TARGETS)


@pytest.fixture(scope="module")
def shown(project, first):
    """After ``--config failed=show``."""
    done = snakemake(project, *OPTIONS, "--config", "failed=show", "--", *TARGETS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project


def test_the_toy_method_needs_its_text_alone(tmp_path):
    folder = copy_project(tmp_path)
    follow((ROOT / "CONTRIBUTING.md").read_text(), folder)
    assert planned(folder, "--configfile", "config/mine.yaml")["integrate"] == 2


def test_a_crash_is_a_failure_and_the_rest_is_run(project, first):
    text = first.stdout + first.stderr
    assert first.returncode != 0
    assert "failed=show" in text
    assert "Not run: absent (no_such_package not installed here). `make peers`, or --use-conda, installs them." in text
    for run in ("random_projection/default", "random_projection/wide", "pca/default", "uinmf/default", "absent/default"):
        assert (project / f"results/demo/full/{run}/seed0/scores.tsv").is_file(), run
    assert not (project / "results/demo/full/broken/default/seed0/embedding.h5ad").exists()
    assert not list(project.glob("results/tables/*"))


def test_tables_say_what_was_not_run_and_what_failed(shown):
    scores = pd.read_csv(shown / "results/tables/scores.tsv", sep="\t").query("metric == 'total'")
    note = {m: rows["note"].iloc[0] for m, rows in scores.groupby("method")}
    assert note["uinmf"] == "not run: no modality is shared by all batches, not even as gene activity"
    assert note["absent"] == "not run: no_such_package not installed here"
    assert note["broken"] == "failed: RuntimeError: no luck with seed 0, 1 thread"
    value = scores.set_index(["method", "variant"])["value"]
    assert value[["uinmf", "absent", "broken"]].isna().all()
    assert value[["pca", "random_projection"]].notna().all()
    cost = pd.read_csv(shown / "results/tables/cost.tsv", sep="\t").set_index("method")
    assert cost.loc["broken", "note"] == note["broken"]
    assert cost.loc[["uinmf", "absent", "broken"], "fit_seconds"].isna().all()
    assert (cost.loc[["pca", "random_projection"], "fit_seconds"] > 0).all()


def test_figures_say_so_too(shown):
    drawn = (shown / "results/figures/demo/full/scores.svg").read_text()
    for text in ("not run", "failed", "broken failed: RuntimeError: no luck with seed 0", "absent not run: no_such_package"):
        assert text in drawn, text
    assert "not run" in (shown / "results/figures/demo/full/umap.svg").read_text()
    assert (shown / "results/figures/cost.png").is_file()


def test_a_failed_run_is_tried_again_next_time(shown):
    assert planned(shown, *OPTIONS)["integrate"] == 1

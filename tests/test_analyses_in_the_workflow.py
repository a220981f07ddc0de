"""Every analysis on a small mosaic, from the config to its figures; no run is computed twice."""

import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_workflow import copy_project, planned, succeed

OPTIONS = ("--configfile", "mine.yaml", "--set-threads", "integrate=1")
VARIANTS = {
    "mmaavi": {
        "default": {},
        "k03": {"n_components": 3},
        "labels030": {"labelled": 30},
        "mean_fusion": {"fusion": "mean"},
    },
    "stabmap": {"default": {}},
}
SCENARIOS = {
    "full": {},
    "cut": {"hide_from": {"protein": 2}, "n_cells": 200, "remove": {"batch1": ["type2"]}},  # overlap, scaling, populations
}
BOTH, OURS = {"mmaavi": ["default"], "stabmap": ["default"]}, {"mmaavi": ["default"]}
EXPERIMENTS = {
    "first": {"methods": BOTH},
    "k": {"analysis": "components", "methods": {"mmaavi": ["default", "k03"]}},
    "overlap": {"analysis": "overlap", "methods": OURS, "scenarios": ["full", "cut"]},
    "gone": {"analysis": "populations", "methods": OURS, "scenarios": ["full", "cut"]},
    "labels": {"analysis": "transfer", "methods": {"mmaavi": ["labels030", "default"]}, "labelled": [30]},
    "size": {"analysis": "scaling", "methods": OURS, "scenarios": ["full", "cut"]},
    "parts": {"analysis": "ablation", "methods": {"mmaavi": ["default", "mean_fusion"]}},
    "features": {"analysis": "markers", "methods": OURS},
    "halves": {"analysis": "imputation", "methods": BOTH},
}
DRAWN = {
    "k": ["demo-full/components"],
    "overlap": ["demo/overlap"],
    "gone": ["demo/populations"],
    "labels": [f"demo-full/{name}" for name in ("transfer", "transfer_groups", "confusion", "transfer_umap")],
    "size": ["demo/scaling"],
    "parts": ["demo/ablation"],
    "halves": ["demo-full/imputation"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("analyses"))
    dataset = yaml.safe_load((folder / "config/datasets/demo.yaml").read_text())
    for entry in dataset["inputs"]:
        entry |= {"n_cells": 300, "n_genes": 60, "n_proteins": 12}
    dataset["settings"] = {"mmaavi": {"n_steps": 6}}
    (folder / "demo.yaml").write_text(yaml.safe_dump(dataset))
    experiments = {name: experiment | {"seeds": [0]} for name, experiment in EXPERIMENTS.items()}
    config = {"datasets": ["demo.yaml"], "scenarios": SCENARIOS, "variants": VARIANTS, "experiments": experiments}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def finished(project) -> Path:
    succeed(project, *OPTIONS)
    return project


@pytest.mark.parametrize("preset", ["analyses", "peers"])
def test_presets_for_the_data_at_hand_plan_each_run_once(tmp_path, preset):
    config = yaml.safe_load((ROOT / f"config/{preset}.yaml").read_text())
    runs = set()
    for experiment in config["experiments"].values():
        named = experiment.get("datasets", config["datasets"]), experiment.get("scenarios", ["full"]), experiment["seeds"]
        for method, variants in experiment["methods"].items():
            runs |= set(product(*named, [method], variants))
    assert planned(copy_project(tmp_path), "--configfile", f"config/{preset}.yaml")["integrate"] == len(runs)


def test_a_run_of_several_experiments_is_computed_once(project):
    jobs = planned(project, *OPTIONS)
    assert jobs["integrate"] == 4 + 1 + 1  # variants on 'full'; the other scenario; StabMap
    assert jobs["score"] == jobs["integrate"] - 2  # the number of components and label transfer read no scores
    assert jobs["labelled"] == 1
    assert jobs["transfer"] == 2
    plan = subprocess.run(
        [sys.executable, "-m", "snakemake", "plan", "--quiet", "all", *OPTIONS],
        cwd=project, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    table = {line.split()[0]: line.split()[1:] for line in plan.splitlines() if line.split()[0] in [*EXPERIMENTS, "all"]}
    assert [int(table["all"][i]) for i in range(3)] == [6, 6, 6]
    assert sum(int(table[name][1]) for name in EXPERIMENTS) == 6


def test_every_analysis_draws_its_figures(finished):
    for experiment, names in DRAWN.items():
        for name in names:
            for ending in ("svg", "png"):
                assert (finished / f"results/figures/{experiment}/{name}.{ending}").stat().st_size > 5000
    made = {p.stem for p in (finished / "results/figures/demo/full").glob("*.png")}
    assert {"table", "umap", "scores", "volcano_default_seed0", "agreement_default_seed0", "links_default_seed0"} <= made
    assert not (finished / "results/figures/ranking.png").exists()  # of one mosaic there is none
    assert (finished / "results/demo/full/mmaavi/default/seed0/model/model.json").is_file()
    scores = pd.read_csv(finished / "results/tables/scores.tsv", sep="\t")
    patterns = pd.read_csv(finished / "results/demo/cut/labels.tsv", sep="\t")["pattern"]
    assert not patterns.str.contains("protein").any()
    removed = scores.query("scenario == 'cut' and metric == 'purity' and group == 'type2'")
    assert removed["value"].between(0, 1).all()
    assert len(removed) == 1


def test_the_overview_names_what_was_run(finished):
    page = (finished / "results/overview.html").read_text()
    for text in [
        *EXPERIMENTS,
        "mmAAVI",
        "StabMap",
        "Machine and versions",
        "not a checkout of git",
        "data:image/png",
        "Nothing: every run that is scored",
    ]:
        assert text in page


def test_a_run_agrees_with_itself_as_reference_and_says_what_moved(finished):
    reference = finished / "resources/reference_results"
    reference.mkdir(parents=True)
    for path in (
        "tables/summary.tsv",
        "tables/transfer.tsv",
        "figures/k/demo-full/components.tsv",
        "figures/gone/demo/populations.tsv",
        "demo/full/mmaavi/default/seed0/agreement.tsv",
    ):
        shutil.copy(finished / "results" / path, reference)
    summary, transfer = (pd.read_csv(reference / f"{name}.tsv", sep="\t") for name in ("summary", "transfer"))
    assert set(transfer["variant"]) == {"labels030", "default"}
    command = [sys.executable, "-m", "snakemake", "compare", "--quiet", "all", *OPTIONS]
    same = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "0 of them moved" in same.stdout
    summary.assign(mean=summary["mean"] + 0.2).to_csv(reference / "summary.tsv", sep="\t", index=False)
    other = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "-0.200" in other.stdout
    assert "transfer_accuracy" not in other.stdout
    summary.to_csv(reference / "summary.tsv", sep="\t", index=False)
    for name, change in {"transfer": 0.2, "components": 50, "populations": 0.2}.items():
        table = pd.read_csv(reference / f"{name}.tsv", sep="\t")
        table.assign(mean=table["mean"] + change).to_csv(reference / f"{name}.tsv", sep="\t", index=False)
    others = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    for moved in ("transfer_accuracy", "-50.000", "validation_loss", "purity_after"):
        assert moved in others.stdout

import ast
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from mmaavi import experiments
from mmaavi.errors import InputError
from mmaavi.experiments import (
    PACKAGE,
    Run,
    all_runs,
    check_analyses,
    check_names,
    check_settings,
    code_hash,
    expand,
    file_hash,
    labelled_runs,
)

EXPERIMENT = {
    "analysis": "integration",
    "labelled": [25, 100],
    "datasets": [],
    "scenarios": ["full"],
    "methods": {"mmaavi": ["default", "k08"], "pca": ["default"]},
    "seeds": [0, 1],
}


def test_an_experiment_is_all_combinations():
    runs = expand(EXPERIMENT, ["a", "b"])
    assert len(runs) == len(set(runs)) == 2 * 3 * 2
    assert runs[0].folder == "results/a/full/mmaavi/default/seed0"
    assert {r.dataset for r in expand(EXPERIMENT | {"datasets": ["b"]}, ["a", "b"])} == {"b"}


def test_a_run_of_two_experiments_is_computed_once():
    other = EXPERIMENT | {"methods": {"pca": ["default"]}, "seeds": [0, 5]}
    runs = all_runs({"one": EXPERIMENT, "two": other}, ["a"])
    assert len(runs) == 6 + 1
    assert runs.count(Run("a", "full", "pca", "default", 0)) == 1


def test_a_variant_with_labels_of_its_own_is_asked_with_these_alone():
    experiment = EXPERIMENT | {"methods": {"mmaavi": ["few", "default"]}, "seeds": [0]}
    asked = labelled_runs(experiment, ["a"], {"mmaavi": {"few": {"labelled": 50}, "default": {}}})
    assert [(run.variant, n) for run, n in asked] == [("few", 50), ("default", 25), ("default", 100)]


def config(**changes):
    variants = {
        "mmaavi": {"default": {}, "k08": {}},
        "pca": {"default": {}, "few": {"labelled": 5}},
        "cell_type": {"default": {"labels": True}},
    }
    return {"scenarios": {"full": {}}, "variants": variants, "experiments": {"e": EXPERIMENT | changes}}


DATASETS = {"a": {"labels": {"cell_type": {}}}, "bare": {"labels": {}}}


def test_names_that_fit_pass():
    check_names(config(), DATASETS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["aa"]}, "experiment 'e' names a dataset 'aa'; did you mean 'a'"),
        ({"scenarios": ["ful"]}, "a scenario 'ful'; did you mean 'full'"),
        ({"methods": {"mmavi": ["default"]}}, "a method 'mmavi' without variants; did you mean 'mmaavi'"),
        ({"methods": {"mmaavi": ["k8"]}}, "a variant 'mmaavi/k8'; did you mean 'k08'"),
        ({"methods": {"cell_type": ["default"]}}, "'cell_type/default' needs labels, which dataset 'bare' does not have"),
        ({"methods": {"pca": ["few"]}}, "'pca/few' has 'labelled', and the method knows no labels"),
        ({"analysis": "transfer"}, "'mmaavi/default' needs labels, which dataset 'bare' does not have"),
    ],
)
def test_names_that_do_not_exist_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        check_names(config(**changes), DATASETS)


@pytest.mark.parametrize(
    ("analysis", "scenarios", "methods", "message"),
    [
        ("components", ["full"], ["mmaavi", "pca"], "it compares variants of mmaavi alone"),
        ("overlap", ["full"], ["pca"], "scenarios that hide one modality"),
        ("overlap", ["full", "less_rna", "less_atac"], ["pca"], "scenarios that hide one modality"),
        ("populations", ["full"], ["pca"], "a whole scenario first"),
        ("populations", ["gone", "full"], ["pca"], "a whole scenario first"),
        ("scaling", ["full"], ["pca"], "several 'n_cells'"),
        ("markers", ["full"], ["pca"], "it asks for mmaavi"),
    ],
)
def test_an_analysis_asks_for_the_runs_that_it_compares(analysis, scenarios, methods, message):
    known = {"full": {}, "gone": {"remove": {"b": ["T"]}}, "small": {"n_cells": 9}}
    known |= {f"less_{m}": {"hide_from": {m: 1}} for m in ("rna", "atac")}
    experiment = {"analysis": analysis, "scenarios": scenarios, "methods": dict.fromkeys(methods, ["default"])}
    with pytest.raises(InputError, match=f"experiment 'e' has the analysis '{analysis}': .*{message}"):
        check_analyses({"scenarios": known, "experiments": {"e": experiment}})
    good = {"overlap": ["full", "less_rna"], "populations": ["full", "gone"], "scaling": ["small", "full"]}
    experiment |= {"scenarios": good.get(analysis, ["full"]), "methods": {"mmaavi": ["default"]}}
    check_analyses({"scenarios": known, "experiments": {"e": experiment}})


@pytest.mark.parametrize(
    ("settings", "variants", "message"),
    [
        ({"mmavi": {}}, {}, "dataset 'a' has settings for a method 'mmavi'; did you mean 'mmaavi'"),
        ({"mmaavi": {"n_component": 3}}, {}, "no setting 'n_component'; did you mean 'n_components'"),
        ({}, {"mmaavi": {"fast": {"dropout": "low"}}}, "'dropout' is 'low'; it must be a number between 0 and 0.99"),
        ({}, {"scvi": {"default": {}}}, "'variants' has settings for a method 'scvi'"),
    ],
)
def test_settings_are_checked_before_anything_runs(settings, variants, message):
    with pytest.raises(InputError, match=message):
        check_settings({"a": {"settings": settings}}, variants)


def test_the_hash_follows_imports(tmp_path, monkeypatch):
    package = tmp_path / "mmaavi"
    (package / "methods").mkdir(parents=True)
    (package / "methods/__init__.py").write_text("")
    (package / "methods/pca.py").write_text("from ..mosaic import Mosaic\n")
    (package / "methods/deep.py").write_text("from ..estimator import fit\n")
    (package / "estimator.py").write_text("from .networks import net\nfrom . import mosaic\n")
    (package / "networks.py").write_text("net = 1\n")
    (package / "mosaic.py").write_text("Mosaic = 1\n")
    monkeypatch.setattr(experiments, "PACKAGE", package)

    def hashes():
        return [code_hash(package / "methods" / f"{m}.py") for m in ("pca", "deep")]

    before = hashes()
    (package / "networks.py").write_text("net = 2\n")
    after = hashes()
    assert before[0] == after[0]
    assert before[1] != after[1]
    (package / "mosaic.py").write_text("Mosaic = 2\n")
    assert all(a != b for a, b in zip(after, hashes(), strict=True))


def test_imports_are_those_that_a_parser_finds():
    scripts = ROOT / "workflow/scripts"
    for file in (*PACKAGE.rglob("*.py"), *scripts.glob("*.py")):
        expected = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [a.name for a in node.names if a.name.startswith("mmaavi.")]
            elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("mmaavi")):
                above = ["mmaavi", *file.relative_to(PACKAGE).parts][: -node.level] if node.level else []
                module = ".".join([*above, *filter(None, [node.module])])
                modules = [module, *(f"{module}.{a.name}" for a in node.names)]
            else:
                continue
            for module in modules:
                base = PACKAGE.parent.joinpath(*module.split("."))
                expected |= {f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()}
        assert set(experiments._imported(file, file.read_text())) == expected, file


def test_the_hash_does_not_depend_on_the_order_in_which_files_are_found(tmp_path):
    files = []
    for folder in "abcdef":
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "__init__.py")
        files[-1].write_text(f"# {folder}")
    assert file_hash(*files) == file_hash(*reversed(files)) == file_hash(*files[3:], *files[:3])


def test_snakemake_starts_without_array_libraries():
    """They would take most of the time of each call, and of each job on a cluster."""
    common = (ROOT / "workflow/rules/common.smk").read_text()
    modules = re.findall(r"^from mmaavi\.(\w+) import", common, re.MULTILINE) + re.findall(
        r"^from mmaavi import (.+)$", common, re.MULTILINE
    )
    code = "; ".join(["import sys", *(f"import mmaavi.{m}" for m in modules), "print(*sys.modules)"])
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"mmaavi.sources", "mmaavi.experiments"} <= set(loaded)
    assert not {"numpy", "pandas", "scipy", "anndata", "torch"} & set(loaded)

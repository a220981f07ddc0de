"""Bad configs: each ends in one message that says where, what was expected and what to do (files: test_bad_files.py)."""

import copy

import pytest
import yaml
from conftest import ROOT, SCHEMAS
from given import GOOD, SCHEMA, refuse, run

from mmaavi.configuration import checked, read_config
from mmaavi.errors import InputError
from mmaavi.experiments import check_assemblies, check_names


def test_the_good_config_is_good(folder):
    run(folder)
    assert (folder / "mosaic.h5mu").is_file()


CONFIGS = {  # old text, new text, message
    "syntax": ("modalities:", "modalities", "data.yaml, line 1[34]: .*must be a YAML file"),
    "tab": ("  rna: {}", "\trna: {}", "data.yaml, line 14: .*must be a YAML file"),
    "repeated key": ("title: Test", "title: Test\ntitle: Again", "line 2: key 'title' is given twice, first in line 1"),
    "aliases": ("title: Test", "title: &name Test\nother: *name", "line 2: aliases \\(\\*\\) are not read"),
    "a list": (GOOD, "- 1\n- 2\n", "'the file' is \\[1, 2\\]; it must be a mapping"),
    "empty": (GOOD, "", "'the file' is null; it must be a mapping"),
    "unknown key": ("drop_empty", "drop_emtpy", "line 19: unknown key 'drop_emtpy'; did you mean 'drop_empty'"),
    "missing key": ("title: Test\n", "", "the file lacks 'title'"),
    "number for text": ("title: Test", "title: 7", "line 1: 'title' is 7; it must be text .in quotes"),
    "text for yes": ("drop_empty: true", "drop_empty: maybe", "line 19: 'drop_empty' is 'maybe'; it must be true or false"),
    "text for list": ("graph:\n", "graph: none\nx:\n", "'graph' is 'none'; it must be a list"),
    "unknown reader": ("reader: csv", "reader: cvs", "line 8: 'inputs\\[2\\].reader' is 'cvs'; did you mean 'csv'"),
    "key of another reader": (
        "counts: rna.h5ad,",
        "counts: rna.h5ad, group: x,",
        "line 6: unknown key 'group' in 'inputs\\[0\\]'",
    ),
    "no counts": ("counts: rna.h5ad, ", "", "line 6: inputs\\[0\\] lacks 'counts'"),
    "no batch": (", batch: one", "", "line 6: inputs\\[0\\] needs one of 'batch' or 'batch_column'"),
    "two batches": ("batch: one", "batch: one, batch_column: x", "needs just one of 'batch' or 'batch_column'"),
    "batch is a number": ("batch: one", "batch: 1", "'inputs\\[0\\].batch' is 1; it must be text"),
    "modality and modalities": (
        "modality: rna,",
        "modality: rna, modalities: {rna: x},",
        "just one of 'modality' or 'modalities'",
    ),
    "likelihood": ("rna: {}", "rna: {likelihood: nb}", "'modalities.rna.likelihood' is 'nb'; .*negative_binomial"),
    "flavor": ("rna: {}", "rna: {select: {flavor: seurat_v4}}", "select.flavor' is 'seurat_v4'; did you mean 'seurat'"),
    "modality name": ("  rna: {}", "  'r n a': {}", "'r n a' in 'modalities' cannot be a name here"),
    "label name": ("cell_type: {", "batch: {", "'batch' in 'labels' cannot be a name here"),
    "checksum": ("ab" * 32, "12ab", "'sources\\[0\\].sha256' is '12ab'; it must be text of the form .*Checksum"),
    "two checksums": ("sha256", f"git_blob: {'ab' * 20}, sha256", "sources\\[0\\] has both 'sha256' and 'git_blob'"),
    "path upwards": ("set/a.npz", "../a.npz", "'sources\\[0\\].path' is '../a.npz'; it must be text of the form"),
    "no address": ("http://example.org/a.npz", "ftp://x", "'sources\\[0\\].url' is 'ftp://x'; it must be text of the form"),
    "one modality linked": ("[rna, atac]", "[rna]", "'graph\\[0\\].between' is \\['rna'\\]; it must be a list of at least 2"),
    "sign": ("between: [rna, atac]", "between: [rna, atac], sign: 2", "'graph\\[0\\].sign' is '2'"),
    "negative window": ("between: [rna, atac]", "between: [rna, atac], upstream: -5", "upstream' is -5; it must be at least 0"),
    "file that is not there": (
        "counts: rna.h5ad",
        "counts: rma.h5ad",
        "file 'rma.h5ad', which is neither .*; did you mean 'rna.h5ad'",
    ),
    "setting": ("n_steps: 10", "n_stpes: 10", "dataset 'data': mmaavi has no setting 'n_stpes'; did you mean 'n_steps'"),
    "setting's range": ("n_steps: 10", "dropout: 2", "'dropout' is 2; it must be a number between 0 and 0.99"),
    "method": ("  mmaavi:", "  mmaavy:", "settings for a method 'mmaavy'; did you mean 'mmaavi'"),
    "modality of an input": ("modality: atac", "modality: atack", "an input names a modality 'atack'; did you mean 'atac'"),
    "modality without input": ("  protein: {}", "  protein: {}\n  methylation: {}", "'methylation' has no input"),
    "batch column": (
        "batch_column: batch",
        "batch_column: Batch",
        "protein.csv have no batch column 'Batch'; did you mean 'batch'",
    ),
    "label column": ("column: kind", "column: kinds", "no input has the label column 'kinds'; did you mean 'kind'"),
    "merged batch": ("drop_empty", "batches: {x: [fife]}\ndrop_empty", "'batches' names values .* fife; .*Known: four, one"),
    "hidden batch": ("drop_empty", "hide: {ones: [rna]}\ndrop_empty", "'hide' names a batch 'ones'; did you mean 'one'"),
    "hidden modality": ("drop_empty", "hide: {one: [rnas]}\ndrop_empty", "modality 'rnas' in batch 'one'; did you mean 'rna'"),
    "graph's modality": ("[rna, atac]", "[rna, atak]", "the graph names a modality 'atak'; did you mean 'atac'"),
    "no edges named": (
        ", edges: edges.tsv",
        "",
        "between 'rna' and 'protein' is of the kind 'file'; name the table with 'edges'",
    ),
    "dropped modality": (
        "drop_empty",
        "drop_unlinked: [attac]\ndrop_empty",
        "'drop_unlinked' names a modality 'attac'; did you mean",
    ),
    "too many features": ("rna: {}", "rna: {select: {flavor: seurat, n_top: 5000}}", "asks for 5000 features of 20"),
    "flavor without number": ("rna: {}", "rna: {select: {flavor: pearson_residuals}}", "needs 'n_top'"),
    "layer": ("counts: rna.h5ad,", "counts: rna.h5ad, layer: norm,", "rna.h5ad has no layer 'norm'"),
    "feature type": ("counts: rna.h5ad,", "counts: rna.h5ad, name: Genes,", "has no var\\['feature_types'\\]"),
}


@pytest.mark.parametrize(("old", "new", "message"), CONFIGS.values(), ids=CONFIGS)
def test_bad_dataset_configs(folder, old, new, message):
    assert old in GOOD
    (folder / "data.yaml").write_text(GOOD.replace(old, new, 1))
    refuse(folder, message)


MAIN = yaml.safe_load((ROOT / "config/config.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": ["demo"]}, "unknown key 'dataset'; did you mean 'datasets'"),
        ({"datasets": []}, "'datasets' is \\[\\]; it must be a list of at least 1"),
        ({"datasets": "demo"}, "'datasets' is 'demo'; it must be a list"),
        ({"mirror": 3}, "'mirror' is 3; it must be text .* or null"),
        ({"experiments": {}}, "'experiments' is {}; it must be a mapping of at least 1"),
        (
            {"experiments": {"e": {"method": {"pca": ["default"]}}}},
            "unknown key 'method' in 'experiments.e'; did you mean 'methods'",
        ),
        (
            {"experiments": {"e": {"methods": {"pca": ["default"]}, "seeds": [1, 1]}}},
            "'experiments.e.seeds' is .* without repeats",
        ),
        ({"experiments": {"e": {"methods": {"pca": ["default"]}, "seeds": [-1]}}}, "seeds\\[0\\]' is -1; it must be at least 0"),
        ({"experiments": {"my run": {"methods": {"pca": ["default"]}}}}, "'my run' in 'experiments' cannot be a name here"),
        ({"scenarios": {"full": {"n_cells": 2}}}, "'scenarios.full.n_cells' is 2; it must be at least 10"),
        ({"experiments": {"e": {"methods": {"pca": ["defualt"]}}}}, "a variant 'pca/defualt'; did you mean 'default'"),
        ({"experiments": {"e": {"methods": {"pcca": ["default"]}}}}, "a method 'pcca' without variants; did you mean 'pca'"),
        (
            {"experiments": {"e": {"methods": {"pca": ["default"]}, "scenarios": ["ful"]}}},
            "a scenario 'ful'; did you mean 'full'",
        ),
        ({"experiments": {"e": {"methods": {"pca": ["default"]}, "datasets": ["dmo"]}}}, "a dataset 'dmo'; did you mean 'demo'"),
    ],
)
def test_bad_workflow_configs(change, message):
    demo = read_config(ROOT / "config/datasets/demo.yaml", SCHEMA)
    with pytest.raises(InputError, match=message):
        check_names(
            checked(copy.deepcopy(MAIN) | change, SCHEMAS / "config.schema.yaml", ROOT / "config/config.yaml"), {"demo": demo}
        )


def test_an_assembly_that_does_not_exist_is_named():
    with pytest.raises(InputError, match="dataset 'd' is on the assembly 'hg83'; did you mean 'hg38'"):
        check_assemblies({"d": {"assembly": "hg83"}}, {"hg19": {}, "hg38": {}})


def test_all_problems_of_a_config_are_said_at_once(folder):
    (folder / "data.yaml").write_text(GOOD.replace("title: Test", "title: 7").replace("reader: csv", "reader: cvs"))
    with pytest.raises(InputError, match="(?s)line 1: .*\n.*line 8: "):
        run(folder)


def test_a_path_that_leads_out_of_its_archive_is_refused(folder):
    text = GOOD.replace("a.npz", "a.zip").replace("counts: rna.h5ad", "counts: set/a.zip/../../rna.h5ad")
    (folder / "data.yaml").write_text(text)
    refuse(folder, "'set/a.zip/../../rna.h5ad', which leads out of its archive")

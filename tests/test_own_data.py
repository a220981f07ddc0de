"""A user's own data, and the paper's from its addresses, through the workflow as they are run: by config alone."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from given import GOOD, write_good
from published import ASSEMBLIES, parts, serving, write_10x_folder, write_published
from test_workflow import copy_project, planned, snakemake, succeed

EXAMPLE = dict(re.findall(r"`(\w+\.yaml)`:\n\n```yaml\n(.*?)```", (ROOT / "config/README.md").read_text(), flags=re.DOTALL))
QUICK = "variants: {mmaavi: {default: {n_steps: 20, width: 32}}, pca: {default: {}}}\n"  # in place of minutes of training


def with_assemblies(project: Path, mirror: Path) -> None:
    """Let the project take its gene coordinates from a mirror of small files, by their checksums."""
    file = project / "config/assemblies.yaml"
    assemblies = yaml.safe_load(file.read_text())
    for name in ASSEMBLIES:
        content = (mirror / assemblies[name]["path"]).read_bytes()
        assemblies[name]["sha256"] = hashlib.sha256(content).hexdigest()
    file.write_text(yaml.safe_dump(assemblies))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path]:
    """The worked example of config/README.md: its text as it is, beside three generated 10x folders; and the project."""
    folder, mirror = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("mirror")
    given = parts(n_cells=240, n_genes=2100, n_proteins=20)
    given["protein"].var_names = given["protein"].var["aliases"].str.upper()  # antibodies named after the gene
    measured = {"sample1": ("rna", "atac"), "sample2": ("rna", "protein"), "sample3": ("atac",)}
    for i, (sample, modalities) in enumerate(measured.items()):
        write_10x_folder(folder / sample / "filtered_feature_bc_matrix", {m: given[m][i::3] for m in modalities})
    for name, text in EXAMPLE.items():
        (folder / name).write_text(text)
    loci = given["rna"].var.assign(name=given["rna"].var_names)[["chrom", "start", "end", "name", "strand"]]
    (mirror / "annotation").mkdir()
    for assembly in ASSEMBLIES:  # on all but the right one, the genes lie elsewhere
        shifted = loci if assembly == "hg38" else loci.assign(start=loci["start"] + 50_000, end=loci["end"] + 50_000)
        shifted.to_csv(mirror / f"annotation/{assembly}_genes.bed", sep="\t", header=False, index=False)
    project = copy_project(tmp_path_factory.mktemp("project"))
    with_assemblies(project, mirror)
    return project, folder, mirror


def test_the_example_is_short():
    assert set(EXAMPLE) == {"my.yaml", "samples.yaml"}
    assert sum(len(text.splitlines()) for text in EXAMPLE.values()) < 30


def test_the_check_of_the_example_says_what_the_mosaic_is(study):
    project, folder, mirror = study
    options = ["check", "--configfile", str(folder / "my.yaml"), "--config", f"mirror={mirror}"]
    text = succeed(project, *options)
    assert planned(project, *options) == {"check": 1}  # which only prints
    assert "samples / full: 240 cells in 3 batches, 3 modalities" in text
    for row in (r"sample1 +80 +[\d,]+ / [\d,]+ / [\d.]+% +[\d,]+ / [\d,]+ / [\d.]+% +-", r"sample3 +80 +- +[\d,]+ / .* +-"):
        assert re.search(row, text), row
    assert re.search(r"reaches [\d,]+ of 2,000 rna", text)
    assert re.search(r"rna - atac: [\d,]+ edges", text)
    assert re.search(r"hg38: 6\d\.\d% \(2,000 genes known\)", text)
    assert "mmaavi: can run" in text
    assert (project / "results/figures/samples/full/mosaic.png").is_file()
    assert not list(project.glob("results/**/embedding.h5ad"))


def test_the_example_runs_to_its_report(study):
    project, folder, mirror = study
    (folder / "quick.yaml").write_text(QUICK)
    options = ["--configfile", str(folder / "my.yaml"), str(folder / "quick.yaml"), "--set-threads", "integrate=1"]
    options += ["--config", f"mirror={mirror}"]
    succeed(project, *options)
    succeed(project, *options, "--report", "results/report.html")
    figures = {p.stem for p in (project / "results/figures/samples/full").glob("*.png")}
    assert figures == {"mosaic", "umap", "table", "scores", "training", "attention_default_seed0"}
    assert (project / "results/report.html").stat().st_size > 10**5


def test_a_published_archive_runs_from_its_address_to_the_mosaic(tmp_path):
    write_published(tmp_path / "files")
    project = copy_project(tmp_path / "project")
    dataset = project / "config/datasets/wnn.yaml"
    alias = (tmp_path / "files/annotation/proteins_alias.txt").read_bytes()
    dataset.write_text(re.sub("sha256: [0-9a-f]{64}", f"sha256: {hashlib.sha256(alias).hexdigest()}", dataset.read_text()))
    (project / "my.yaml").write_text("datasets: [wnn]\nexperiments: {e: {methods: {pca: [default]}, seeds: [0]}}\n")
    files = {p for p in (tmp_path / "files").rglob("*") if p.is_file()}
    content = {"/" + p.relative_to(tmp_path / "files").as_posix(): p.read_bytes() for p in files}
    with serving(content) as (address, requests):
        text = succeed(project, "check", "--configfile", "my.yaml", "--config", f"mirror={address}")
    paths = {"/annotation/proteins_alias.txt", "/wnn/wnn_demo_labels.zip", "/wnn/wnn_demo_processed.zip"}
    assert {path for path, _ in requests} == paths
    assert "wnn / full: 180 cells in 3 batches, 2 modalities" in text
    assert (project / "resources/wnn/wnn_demo_labels.zip.sha256").is_file()


def test_bad_data_end_in_messages_without_a_traceback(tmp_path):
    """Each of several bad datasets stops with its own message; a good one beside them is done all the same."""
    project = copy_project(tmp_path / "project")
    spoilt = {
        "good": ("", "", None),
        "layer": ("counts: rna.h5ad,", "counts: rna.h5ad, layer: norm,", "Error: rna.h5ad has no layer 'norm'"),
        "graph": ("[rna, atac]", "[rna, atak]", "Error: the graph names a modality 'atak'; did you mean 'atac'?"),
        "cut": ("", "", "Error: rna.h5ad cannot be read"),
    }
    for name, (old, new, _) in spoilt.items():
        (tmp_path / name).mkdir()
        write_good(tmp_path / name)
        text = re.sub(r"sources:\n.*\n", "", GOOD.replace(old, new, 1)) if old else re.sub(r"sources:\n.*\n", "", GOOD)
        (tmp_path / name / f"{name}.yaml").write_text(text)
    (tmp_path / "cut/rna.h5ad").write_bytes((tmp_path / "cut/rna.h5ad").read_bytes()[:5000])
    datasets = ", ".join(f"{name}/{name}.yaml" for name in spoilt)
    (tmp_path / "my.yaml").write_text(f"datasets: [{datasets}]\nexperiments: {{e: {{methods: {{pca: [default]}}}}}}\n")
    done = snakemake(project, "check", "--keep-going", "--configfile", str(tmp_path / "my.yaml"))
    text = done.stdout + done.stderr
    assert done.returncode != 0
    for _, _, message in spoilt.values():
        assert message is None or message in text
    assert "Traceback" not in text
    written = {p.relative_to(project).as_posix() for p in project.glob("results/**/*") if p.is_file() and p.suffix == ".h5mu"}
    assert written == {"results/good/full/mosaic.h5mu", "results/good/full/truth.h5mu"}
    assert not list(project.rglob("*.partial"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my.yaml", "datasets: [samples.yaml]\nexperiments: {e: {methods: {pca: [default]}}}\n", "no dataset file samples.yaml"),
        ("my.yaml", "datasets: [demo]\nexperiments:\n  e: {method: {pca: [default]}}\n", "my.yaml, line 3: unknown key 'method'"),
        ("my.yaml", "datasets: [demo\n", "not valid JSON or YAML"),
    ],
)
def test_bad_config_files_are_named_by_the_workflow(tmp_path, name, text, message):
    project = copy_project(tmp_path / "project")
    (tmp_path / name).write_text(text)
    done = snakemake(project, "--dry-run", "--configfile", str(tmp_path / name))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert message in said
    assert "Traceback" not in said

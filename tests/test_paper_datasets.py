"""The paper's datasets: their configs as they are, on miniatures of the published files, and on what is at hand."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SCHEMAS
from published import ASSEMBLIES, serving, write_published
from test_workflow import copy_project, planned

from mmaavi import guidance, released, sources, summary
from mmaavi.archives import extract
from mmaavi.configuration import read_config
from mmaavi.dataset import prepare
from mmaavi.download import download
from mmaavi.estimator import MMAAVI
from mmaavi.guidance import read_coordinates
from mmaavi.plots.mosaic import mosaic_blocks
from mmaavi.readers.tables import read_lines
from mmaavi.settings import Settings

PAPER = ("pbmc", "mop", "muto2021", "triple", "dogma", "wnn")
EXPECTED = {  # batch -> (modality pattern, cells)
    "pbmc": {f"batch{i}": (f"{m}+protein", 60) for i, m in enumerate(("rna", "rna", "atac", "atac"), 1)},
    "mop": {f"batch{i}": (m, 60) for i, m in enumerate(("rna+atac", "rna", "atac", "rna", "atac"), 1)},
    "muto2021": {f"{m}_Healthy_{i}": (m, 30) for m in ("rna", "atac") for i in range(1, 6)},
    "triple": {m: (m, 90) for m in ("rna", "atac", "methylation")},
    "dogma": {"lll_ctrl": ("rna", 60), "lll_stim": ("rna+atac", 60), "dig_ctrl": ("rna+protein", 60)},
    "wnn": {"p1_0": ("rna+protein", 60), "p2_0": ("rna", 60), "p3_0": ("protein", 60)},
}
TINY = {"width": 16, "n_fused": 8, "n_latent": 6, "n_steps": 4, "minibatch_size": 60}


def dataset(name: str) -> tuple[dict, Path]:
    file = ROOT / f"config/datasets/{name}.yaml"
    return read_config(file, SCHEMAS / "dataset.schema.yaml"), file


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_published(folder)
    return folder


def fetch(config: dict, published: Path, folder: Path) -> None:
    """Download every source by its own public address, but from a local server, and unpack what the config reads."""
    paths = [s["path"] for s in config["sources"]]
    addresses = {s["path"]: urlsplit(s["url"]) for s in config["sources"]}
    asked = {path: url.path + (f"?{url.query}" if url.query else "") for path, url in addresses.items()}
    with serving({asked[path]: (published / path).read_bytes() for path in paths}) as (address, _):
        for path in paths:
            download(path, folder / "resources", url=address + asked[path])
    known = {s["path"]: s for s in config["sources"]}
    for path in sources.named_files(config):
        if archive := sources.archive_of(path, known):
            member = path.removeprefix(f"{archive}/")
            extract(folder / "resources" / archive, member, folder / "resources/unpacked" / path)


@pytest.fixture(scope="module", params=PAPER)
def prepared(request, published, tmp_path_factory):
    """A dataset of the paper from its public addresses to the mosaic."""
    config, file = dataset(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    fetch(config, published, folder)
    located = sources.locations(config, file, {s["path"]: s for s in config["sources"]})
    assemblies = {name: read_coordinates(published / f"annotation/{name}_genes.bed") for name in ASSEMBLIES}
    return request.param, config, prepare(config, {}, lambda path: folder / located[path], assemblies)


def test_batches_patterns_and_cells_are_the_published_ones(prepared):
    name, _, made = prepared
    sizes = made.labels.groupby(["batch", "pattern"]).size()
    assert {batch: (pattern, n) for (batch, pattern), n in sizes.items()} == EXPECTED[name]
    assert made.labels.index.is_unique


def test_labels_reach_all_cells_under_their_new_names(prepared):
    name, config, made = prepared
    assert list(made.labels.columns[2:]) == list(config["labels"])
    assert (summary.label_coverage(made.labels) == 1).all(axis=None)
    if name == "triple":
        assert set(made.labels["cell_type"]) == {"Layer2/3", "MGE", "Layer6", "Claustrum"}


def test_the_graph_links_every_pair_of_its_recipe(prepared):
    name, config, made = prepared
    edges = made.mosaic.provenance["edges"]
    assert set(edges) == {"-".join(recipe["between"]) for recipe in config["graph"]}
    assert min(edges.values()) >= 10
    by_pair, reach = summary.reach(made.mosaic)
    assert by_pair.set_index("pair")["edges"].to_dict() == {pair.replace("-", " - "): n for pair, n in edges.items()}
    if config["drop_unlinked"]:
        assert (reach.set_index("modality").loc[config["drop_unlinked"], "share"] == 1).all()
    if name == "triple":  # two features a gene, all of them negative
        methylation = by_pair.set_index("pair").loc["rna - methylation"]
        assert methylation["negative"] == methylation["edges"] > 40


def test_it_can_be_drawn_and_trained(prepared):
    _, config, made = prepared
    cells = made.mosaic.obs.groupby("batch").size()
    labelled = summary.label_coverage(made.labels).iloc[:, 0]
    figure = mosaic_blocks(summary.blocks(made.mosaic, made.truth), cells, labelled, *summary.reach(made.mosaic), "title")
    figure.canvas.draw()
    own = config["settings"]["mmaavi"]
    model = MMAAVI(Settings.from_dict(own | TINY), seed=0).fit(made.mosaic, progress=False)
    assert np.isfinite(model.history["total"]).all()


# On the real files that are at hand.


@pytest.fixture(scope="module")
def pbmc_proteins(mirror):
    """The dataset ``pbmc`` with its proteins alone, of which the real files are at hand."""
    config, _ = dataset("pbmc")
    config["inputs"] = [entry for entry in config["inputs"] if entry["modality"] == "protein"]
    config["modalities"] = {"protein": config["modalities"]["protein"]}
    return prepare(config | {"graph": [], "assembly": None}, {}, lambda path: mirror / path, {})


def test_the_real_proteins_have_the_published_cells(pbmc_proteins):
    counts = pbmc_proteins.labels["batch"].value_counts()
    assert counts.to_dict() == {"batch1": 5023, "batch2": 3666, "batch3": 3517, "batch4": 4849}
    assert pbmc_proteins.mosaic.n_features == {"protein": 216}
    assert pbmc_proteins.labels["coarse_cluster"].nunique() == 4
    assert pbmc_proteins.labels["cluster"].nunique() == 12
    assert pbmc_proteins.labels.notna().all(axis=None)


def test_real_features_give_the_graph_and_the_released_one(mirror):
    genes, proteins, regions = (read_lines(mirror / f"pbmc/{name}.txt") for name in ("genes", "proteins", "regions"))
    aliases = guidance.read_aliases(str(mirror / "annotation/proteins_alias.txt"))
    assert len(guidance.alias_edges(genes, proteins, aliases)) == 213
    assert len(released.substring_edges(genes, proteins, aliases)) == 413
    hg38 = read_coordinates(mirror / "annotation/hg38_genes.bed")
    peaks = guidance.parse_peaks(regions)
    assert len(guidance.overlap_edges(released.human_loci(genes, hg38), peaks)) == pytest.approx(7779, rel=0.01)
    mouse = read_lines(mirror / "mop/genes.txt")
    assert len(released.human_loci(mouse, hg38)) > 1000  # by symbol, whatever the species


@pytest.mark.parametrize("name", ["pbmc", "mop"])
def test_the_files_at_hand_are_those_of_the_configs(mirror, name, tmp_path):
    config, _ = dataset(name)
    there = [s for s in config["sources"] if (mirror / s["path"]).is_file()]
    assert len(there) >= 5
    for source in there:
        download(source["path"], tmp_path, sha256=source["sha256"], mirror=str(mirror))


def test_every_source_of_the_paper_has_a_pinned_address_or_a_recorded_checksum():
    rows = [(name, s) for name in PAPER for s in dataset(name)[0]["sources"]]
    table = pd.DataFrame([{"dataset": n, "pinned": "sha256" in s or "git_blob" in s, "url": s["url"]} for n, s in rows])
    assert table.groupby("dataset")["pinned"].all()[["pbmc", "mop"]].all()
    assert table["url"].str.match(r"https?://").all()


def test_the_readme_says_how_many_jobs_the_paper_takes(tmp_path):
    said = re.search(r"for the paper's data \(([\d,]+) jobs", (ROOT / "readme.md").read_text())[1]
    jobs = planned(copy_project(tmp_path), "--configfile", "config/paper.yaml")
    assert sum(jobs.values()) == int(said.replace(",", ""))
    assert jobs["integrate"] < 2000

"""From published file formats to the prepared mosaic, on miniature files."""

import copy
from contextlib import closing
from pathlib import Path

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from conftest import ROOT
from snakemake.utils import validate

from mmaavi import intake, stored
from mmaavi.dataset import prepare
from mmaavi.errors import InputError
from mmaavi.guidance import read_coordinates
from mmaavi.intake import Aside
from mmaavi.mosaic import load
from mmaavi.readers import blocks
from mmaavi.stored import in_memory

SCHEMA = ROOT / "workflow/schemas/dataset.schema.yaml"


def config(**entries) -> dict:
    entries = copy.deepcopy({"title": "test", "modalities": {"rna": {}}, **entries})
    validate(entries, SCHEMA)
    return entries


def run(entries: dict, folder: Path, scenario: dict | None = None, assemblies: dict | None = None, aside: Aside | None = None):
    return prepare(entries, scenario or {}, lambda path: folder / path, assemblies or {}, aside)


@pytest.fixture
def npz(tmp_path, rng):
    counts = sp.csr_matrix(rng.poisson(2.0, (4, 6)).astype(float))  # genes x cells, as published
    sp.save_npz(tmp_path / "GxC.npz", counts)
    (tmp_path / "genes.txt").write_text("g1\ng2\ng3\ng4\n")
    cells = pd.DataFrame({"Batch": list("aabbcc"), "kind": ["x", "y", "Mis", "x", "y", "x"]}, index=[f"c{i}" for i in range(6)])
    cells.to_csv(tmp_path / "meta.csv")
    entry = {
        "reader": "npz",
        "modality": "rna",
        "counts": "GxC.npz",
        "features": "genes.txt",
        "cells": "meta.csv",
        "batch_column": "Batch",
    }
    return tmp_path, counts, entry | {"features_in_rows": True}


def test_npz_with_tables_merged_batches_and_labels(npz):
    folder, counts, entry = npz
    labels = {"cell_type": {"column": "kind", "unassigned": ["Mis"], "rename": {"y": "why"}}}
    prepared = run(config(inputs=[entry], batches={"ab": ["a", "b"]}, labels=labels, drop_empty=True), folder)
    np.testing.assert_array_equal(prepared.mosaic.counts["rna"].toarray(), counts.T.toarray())
    assert list(prepared.labels["batch"]) == ["ab"] * 4 + ["c"] * 2
    assert list(prepared.labels["cell_type"].fillna("-")) == ["x", "why", "-", "x", "why", "x"]
    assert list(prepared.mosaic.obs) == ["batch"]  # the labels stay apart


def test_hdf5_by_feature_with_prefixed_cells(tmp_path, rng):
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["matrix/data"] = rng.poisson(3.0, (3, 5)).astype(float) + 1
            file["matrix/features"] = np.array([b"g1", b"g2", b"g3"])
            file["matrix/barcodes"] = np.array([f"AAC{i}".encode() for i in range(5)])  # the same in both
    pd.DataFrame({"x": list("stuvw")}, index=range(1, 6)).to_csv(tmp_path / "cells.csv")
    inputs = [{"reader": "hdf5", "modality": "rna", "counts": f"{b}.h5", "cells": "cells.csv", "batch": b} for b in "ab"]
    prepared = run(config(inputs=inputs, labels={"type": {"column": "x"}}), tmp_path)
    assert list(prepared.mosaic.cells[[0, 5]]) == ["a_AAC0", "b_AAC0"]
    assert list(prepared.labels["type"]) == list("stuvw") * 2


def test_h5mu_by_modality(tmp_path, rng):
    def part(name, cells):
        obs = pd.DataFrame({"batch": "one"}, index=cells)
        return ad.AnnData(
            sp.csr_matrix(rng.poisson(3.0, (len(cells), 3)).astype(np.float32) + 1),
            obs=obs,
            var=pd.DataFrame(index=[f"{name}{i}" for i in range(3)]),
        )

    md.MuData({"rna": part("g", ["c1", "c2"]), "adt": part("p", ["c2", "c3"])}).write(tmp_path / "m.h5mu")
    inputs = [
        {"reader": "h5mu", "modality": m, "counts": "m.h5mu", "name": n, "batch_column": "batch"}
        for m, n in (("rna", "rna"), ("protein", "adt"))
    ]
    prepared = run(config(inputs=inputs, modalities={"rna": {}, "protein": {}}, mixed_batches=True), tmp_path)
    assert list(prepared.labels["pattern"]) == ["rna", "rna+protein", "protein"]


@pytest.fixture(scope="module")
def demo():
    entries = yaml.safe_load((ROOT / "config/datasets/demo.yaml").read_text())
    for entry in entries["inputs"]:
        entry |= {"n_cells": 300, "n_genes": 50, "n_proteins": 8}
    validate(entries, SCHEMA)
    return entries


def test_what_is_hidden_becomes_truth_with_the_planted_links(demo, tmp_path):
    prepared = run(demo, tmp_path)
    mosaic, truth = prepared.mosaic, prepared.truth
    assert not (mosaic.measured.loc[truth.cells] & truth.measured).any(axis=None)
    assert (mosaic.measured.loc[truth.cells] | truth.measured).all(axis=None)
    assert {m: list(t.index) for m, t in truth.var.items()} == {m: list(t.index) for m, t in mosaic.var.items()}
    hidden = truth.counts["protein"][(truth.obs["batch"] == "batch1").to_numpy()]
    assert hidden.sum() > 0
    assert truth.guidance.nnz > 2 * 50
    assert mosaic.provenance["edges"]["rna-protein"] == 8


def test_scenarios_hide_more_and_subsample(demo, tmp_path):
    prepared = run(demo, tmp_path, {"hide": {"batch1": ["atac"]}, "n_cells": 90})
    assert prepared.labels["batch"].value_counts().to_dict() == {"batch1": 30, "batch2": 30, "batch3": 30}
    assert set(prepared.labels["pattern"]) == {"rna", "rna+protein", "atac+protein"}
    with pytest.raises(InputError, match="'hide' names a batch 'batch9'; did you mean 'batch"):
        run(demo, tmp_path, {"hide": {"batch9": ["atac"]}})
    with pytest.raises(InputError, match="modality 'attac' in batch 'batch1'; did you mean 'atac'"):
        run(demo, tmp_path, {"hide": {"batch1": ["attac"]}})


def test_a_modality_is_hidden_from_one_batch_after_another(demo, tmp_path):
    one, all_of_them = (run(demo, tmp_path, {"hide_from": {"protein": n}}) for n in (1, 2))
    assert set(one.labels["pattern"]) == {"rna+atac", "rna", "atac+protein"}  # batch2 comes first
    assert one.truth.measured.loc[one.mosaic.cells[one.mosaic.obs["batch"] == "batch2"], "protein"].all()
    assert all_of_them.mosaic.modalities == all_of_them.truth.modalities == ["rna", "atac"]
    assert set(all_of_them.labels["pattern"]) == {"rna+atac", "rna", "atac"}
    assert set(all_of_them.mosaic.provenance["edges"]) == {"rna-atac"}
    assert len(all_of_them.mosaic.cells) == len(one.mosaic.cells)
    with pytest.raises(InputError, match="hides 'protein' from 3 batches; 2 have it beside another one"):
        run(demo, tmp_path, {"hide_from": {"protein": 3}})
    with pytest.raises(InputError, match="'hide_from' names a modality 'proteins'; did you mean 'protein'"):
        run(demo, tmp_path, {"hide_from": {"proteins": 1}})


def test_a_population_is_removed_from_the_batches_that_are_named(demo, tmp_path):
    whole = run(demo, tmp_path).labels.groupby(["batch", "cell_type"]).size()
    left = run(demo, tmp_path, {"remove": {"batch1": ["type2", "type3"], "batch2": ["type2"]}}).labels
    left = left.groupby(["batch", "cell_type"]).size()
    gone = [("batch1", "type2"), ("batch1", "type3"), ("batch2", "type2")]
    assert left.to_dict() == whole.drop(gone).to_dict()
    unassigned = {"cell_type": demo["labels"]["cell_type"] | {"unassigned": ["type3"]}}
    some = run(demo | {"labels": unassigned}, tmp_path, {"remove": {"batch1": ["type2"]}}).labels
    assert some["cell_type"].isna().sum() == whole.xs("type3", level="cell_type").sum()
    assert len(some) == whole.sum() - whole["batch1", "type2"]
    with pytest.raises(InputError, match="'remove' names a batch 'batch9'"):
        run(demo, tmp_path, {"remove": {"batch9": ["type2"]}})
    with pytest.raises(InputError, match="the label 'type5', of which batch 'batch3' has no cells"):
        run(demo, tmp_path, {"remove": {"batch3": ["type5"]}})
    with pytest.raises(InputError, match="'remove' needs labels"):
        run(demo | {"labels": {}}, tmp_path, {"remove": {"batch1": ["type2"]}})


def broken_copy(entry, folder):
    (folder / "GxC.npz").write_bytes((folder / "GxC.npz").read_bytes()[:100])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, f: e.update(batch_column="batch"), "no batch column 'batch'; did you mean 'Batch'"),
        (lambda e, f: e.update(features_in_rows=False), "is 4 cells x 6 features, but 6 cells and 4 features are named"),
        (broken_copy, "GxC.npz is no sparse matrix"),
        (lambda e, f: (f / "genes.txt").write_text("g1\ng1\ng2\ng3\n"), "duplicate feature ids in modality 'rna' \\(g1\\)"),
    ],
)
def test_files_that_do_not_fit_are_named(npz, change, message):
    folder, _, entry = npz
    change(entry, folder)
    with pytest.raises(InputError, match=message):
        run(config(inputs=[entry], drop_empty=True), folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"labels": {"t": {"column": "Kind"}}}, "no input has the label column 'Kind'; did you mean 'kind'"),
        ({"batches": {"new": ["z"]}}, "'batches' names values that no input has: z"),
        ({"modalities": {"RNA": {}}}, "an input names a modality 'rna'; did you mean 'RNA'|Known: RNA"),
        ({"modalities": {"rna": {}, "atac": {}}}, "modality 'atac' has no input"),
        ({"graph": [{"kind": "alias", "between": ["rna", "protein"]}]}, "the graph names a modality 'protein'"),
    ],
)
def test_configs_that_do_not_fit_the_data_are_named(npz, entries, message):
    folder, _, entry = npz
    with pytest.raises(InputError, match=message):
        run(config(inputs=[entry], drop_empty=True, **entries), folder)


def test_a_truncated_hdf5_is_named(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="a.h5 cannot be read"):
        run(config(inputs=[{"reader": "hdf5", "modality": "rna", "counts": "a.h5", "batch": "a"}]), tmp_path)


def test_inputs_with_repeated_ids_name_file_and_batch(npz):
    folder, _, entry = npz
    table = pd.read_csv(folder / "meta.csv", index_col=0)
    table.set_axis(["c0", "c0", *table.index[2:]]).to_csv(folder / "meta.csv")
    with pytest.raises(InputError, match="GxC.npz has 1 duplicate cell ids of batch a in modality 'rna' \\(c0\\)"):
        run(config(inputs=[entry]), folder)


# On the real files, through the dataset configs as they are.


def real(name: str, mirror: Path, **changes):
    entries = yaml.safe_load((ROOT / f"config/datasets/{name}.yaml").read_text()) | changes
    validate(entries, SCHEMA)
    assemblies = {a: read_coordinates(mirror / f"annotation/{a}_genes.bed") for a in ("hg19", "hg38", "mm10")}
    return run(entries, mirror, assemblies=assemblies)


def test_the_real_cortex_mosaic(mirror):
    prepared = real("mop_multiome", mirror)
    sizes = prepared.labels.groupby(["batch", "pattern"]).size()
    assert dict(sizes) == {("A-D", "rna+atac"): 3537, ("E-H", "rna"): 3431, ("I-L", "atac"): 3341}
    assert prepared.mosaic.n_features == {"rna": 1677, "atac": 24_223}
    assert prepared.mosaic.provenance["edges"] == {"rna-atac": 22_762}  # of the 24,164, those of features with counts
    assert "Mis" not in set(prepared.labels["cell_type"])
    hidden = prepared.truth.measured.groupby(prepared.truth.obs["batch"]).sum()
    assert hidden.to_dict("index") == {"E-H": {"rna": 0, "atac": 3431}, "I-L": {"rna": 3341, "atac": 0}}


def test_the_real_cortex_on_another_assembly_is_refused(mirror):
    with pytest.raises(InputError, match="do not fit the assembly 'hg38'.*Set 'assembly: mm10'|features of 'rna' have no coord"):
        real("mop_multiome", mirror, assembly="hg38")


def test_the_real_tea_seq_mosaic(mirror):
    prepared = real("teaseq", mirror)
    sizes = prepared.labels.groupby(["batch", "pattern"]).size()
    assert dict(sizes) == {("test", "protein"): 5048, ("train", "rna+protein"): 1262}
    assert prepared.mosaic.provenance["edges"] == {"rna-protein": 24}


@pytest.mark.parametrize("n_held", [0, 0.5, 1])  # inputs whose counts fit into memory
def test_counts_that_are_put_aside_make_the_same_mosaic(tmp_path, rng, monkeypatch, n_held):
    features = {"one": ["g1", "g2", "g3", "g4"], "two": ["g3", "g5", "g1", "g2"], "peaks": ["p1", "p2", "p3"]}
    sizes = []
    for (name, names), form in zip(features.items(), (sp.csr_matrix, sp.csc_matrix, sp.csc_matrix), strict=True):
        x = form(rng.poisson(0.7, (7, len(names))).astype(np.float32))
        ad.AnnData(x, pd.DataFrame(index=[f"c{i}" for i in range(7)]), pd.DataFrame(index=names)).write_h5ad(tmp_path / name)
        sizes.append(x.nnz)
    inputs = [
        {"reader": "h5ad", "modality": m, "counts": counts, "batch": batch}
        for m, counts, batch in [("rna", "one", "b1"), ("rna", "two", "b2"), ("atac", "peaks", "b1")]
    ]
    entries = config(inputs=inputs, modalities={"rna": {"join": "common"}, "atac": {}}, drop_empty=True, graph=[])
    scenario = {"hide": {"b1": ["atac"]}} if n_held else {}
    expected = run(entries, tmp_path, scenario)
    monkeypatch.setattr(stored, "BLOCK_ENTRIES", 4)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 3)
    monkeypatch.setattr(intake, "TURNED_AT_ONCE", 5)
    with closing(Aside(tmp_path, int(n_held * sizes[0]) * intake.BYTES_HELD / 2**30)) as aside:
        prepared = run(entries, tmp_path, scenario, aside=aside)
        assert prepared.mosaic.on_disk
        for got, wanted in ((prepared.mosaic, expected.mosaic), (prepared.truth, expected.truth)):
            assert got.measured.equals(wanted.measured)
            assert got.obs.equals(wanted.obs)
            for m, x in wanted.counts.items():
                np.testing.assert_array_equal(in_memory(got.counts[m]).toarray(), x.toarray())
                assert got.var[m].equals(wanted.var[m])
        prepared.mosaic.save(tmp_path / "mosaic.h5mu")
    assert load(tmp_path / "mosaic.h5mu").n_features == expected.mosaic.n_features

"""Every format, compared with the library that owns it; how much memory a large file needs."""

import gzip
import os
import subprocess
import sys
from contextlib import closing
from tempfile import TemporaryDirectory

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from anndata.abc import CSRDataset
from conftest import ROOT
from published import parts, write_10x_folder

from mmaavi import intake
from mmaavi.errors import InputError
from mmaavi.intake import Aside
from mmaavi.readers import read_part


@pytest.fixture
def given() -> dict[str, ad.AnnData]:
    return parts(n_cells=70, n_genes=30, n_proteins=8)


def read(folder, reader: str, modality: str = "rna", **settings) -> ad.AnnData:
    """What a reader gives, which is the same where counts are put aside."""
    part = read_part(lambda path: folder / path, modality, reader, **settings)
    with TemporaryDirectory() as name, closing(Aside(name, 0)) as aside:
        beside = read_part(lambda path: folder / path, modality, reader, intake=aside, **settings)
        assert isinstance(beside.X, CSRDataset)
        assert_same(ad.AnnData(beside.X[:], obs=beside.obs, var=beside.var), part)
    return part


def assert_same(part: ad.AnnData, expected: ad.AnnData) -> None:
    assert part.X.dtype == np.float32
    assert sp.issparse(part.X)
    np.testing.assert_array_equal(part.X.toarray(), sp.csr_matrix(expected.X).toarray())
    assert list(part.obs_names) == list(expected.obs_names)
    assert list(part.var_names) == list(expected.var_names)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, lambda x: x.toarray()], ids=["csr", "csc", "dense"])
@pytest.mark.parametrize("block", [2**22, 50])
def test_h5ad_in_every_form_block_by_block(given, tmp_path, monkeypatch, form, block):
    monkeypatch.setattr("mmaavi.readers.blocks.BLOCK_VALUES", block)
    monkeypatch.setattr("mmaavi.intake.TURNED_AT_ONCE", block)
    rna = given["rna"]
    rna.var["chosen"] = np.arange(rna.n_vars) % 3 == 0
    rna.layers["double"] = form(sp.csr_matrix(rna.X * 2))
    rna.X = form(rna.X)
    rna.write_h5ad(tmp_path / "a.h5ad")
    assert_same(read(tmp_path, "h5ad", counts="a.h5ad"), rna)
    some = read(tmp_path, "h5ad", counts="a.h5ad", layer="double", keep_features="chosen")
    assert_same(some, ad.AnnData(rna.layers["double"], obs=rna.obs, var=rna.var)[:, rna.var["chosen"]])
    assert list(some.obs["cell_type"]) == list(rna.obs["cell_type"])


def test_h5ad_with_several_modalities_and_ucsc_columns(given, tmp_path):
    joined = ad.concat([given["rna"], given["atac"]], axis=1, merge="first")
    joined.var["feature_types"] = ["Gene Expression"] * given["rna"].n_vars + ["Peaks"] * given["atac"].n_vars
    joined.var = joined.var.rename(columns={"start": "chromStart", "end": "chromEnd"})
    joined.write_h5ad(tmp_path / "a.h5ad")
    peaks = read(tmp_path, "h5ad", "atac", counts="a.h5ad", name="Peaks")
    assert_same(peaks, given["atac"])
    assert list(peaks.var["start"]) == list(given["atac"].var["start"])


def test_h5mu_by_name_or_by_that_of_the_modality(given, tmp_path):
    md.MuData({"rna": given["rna"], "adt": given["protein"]}).write(tmp_path / "m.h5mu")
    assert_same(read(tmp_path, "h5mu", "rna", counts="m.h5mu"), given["rna"])
    assert_same(read(tmp_path, "h5mu", "protein", counts="m.h5mu", name="adt"), given["protein"])


def write_10x_h5(path, given: dict[str, ad.AnnData]) -> None:
    kinds = {"rna": "Gene Expression", "protein": "Antibody Capture"}
    x = sp.csr_matrix(sp.hstack([part.X for part in given.values()]))  # by cell, as 10x writes it
    names = [name for part in given.values() for name in part.var_names]
    with h5py.File(path, "w") as file:
        node = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            node[name] = getattr(x, name).astype(np.int64)
        node["shape"] = np.array([x.shape[1], x.shape[0]])
        node["barcodes"] = np.array([name.encode() for name in given["rna"].obs_names])
        columns = {
            "id": [f"ID_{name}" for name in names],
            "name": names,
            "feature_type": [kinds[m] for m, part in given.items() for _ in range(part.n_vars)],
            "genome": ["GRCh38"] * len(names),
        }
        for name, values in columns.items():
            node[f"features/{name}"] = np.array([value.encode() for value in values])


def test_10x_hdf5_is_split_by_feature_type_as_scanpy_reads_it(given, tmp_path):
    write_10x_h5(tmp_path / "f.h5", {m: given[m] for m in ("rna", "protein")})
    reference = sc.read_10x_h5(tmp_path / "f.h5", gex_only=False)
    for m, kind in (("rna", "Gene Expression"), ("protein", "Antibody Capture")):
        part = read(tmp_path, "10x_h5", m, counts="f.h5", name=kind)
        assert_same(part, reference[:, (reference.var["feature_types"] == kind).to_numpy()])
        assert_same(part, given[m])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("block", [2**26, 1000])
def test_10x_folders_as_scanpy_reads_them(given, tmp_path, monkeypatch, zipped, block):
    monkeypatch.setattr("mmaavi.readers.tenx.TEXT_AT_ONCE", block)
    monkeypatch.setattr("mmaavi.intake.TURNED_AT_ONCE", block)
    write_10x_folder(tmp_path / "out", given, zipped)
    rna = read(tmp_path, "10x_mtx", counts="out", name="Gene Expression")
    np.testing.assert_array_equal(rna.X.toarray(), given["rna"].X.toarray())
    if zipped:  # scanpy reads no unzipped folders with three columns
        assert_same(rna, sc.read_10x_mtx(tmp_path / "out"))
    peaks = read(tmp_path, "10x_mtx", "atac", counts="out", name="Peaks")
    np.testing.assert_array_equal(peaks.X.toarray(), given["atac"].X.toarray())
    assert peaks.var_names[0].startswith("chr1:")


def test_genes_that_share_a_symbol_get_a_number(given, tmp_path):
    write_10x_folder(tmp_path / "out", {"rna": given["rna"]})
    file = tmp_path / "out/features.tsv.gz"
    text = gzip.decompress(file.read_bytes()).decode().replace("gene001\t", "gene000\t")
    file.write_bytes(gzip.compress(text.encode()))
    assert list(read(tmp_path, "10x_mtx", counts="out").var_names[:3]) == ["gene000", "gene000-1", "gene002"]


@pytest.mark.parametrize(("name", "separator"), [("m.csv", ","), ("m.tsv", "\t"), ("m.csv.gz", ","), ("m.txt.gz", "\t")])
@pytest.mark.parametrize("turned", [False, True])
def test_text_matrices_either_way_gzipped_or_not(given, tmp_path, monkeypatch, name, separator, turned):
    monkeypatch.setattr("mmaavi.readers.tables.BLOCK_VALUES", 17 * 30)
    monkeypatch.setattr("mmaavi.intake.TURNED_AT_ONCE", 100)
    table = given["rna"].to_df()
    (table.T if turned else table).to_csv(tmp_path / name, sep=separator)
    assert_same(read(tmp_path, "csv", counts=name, **({"features_in_rows": True} if turned else {})), given["rna"])


def test_cells_are_joined_by_id_or_by_row_number(given, tmp_path):
    rna = given["rna"]
    rna.to_df().to_csv(tmp_path / "m.csv")
    kind = pd.Series([f"k{i % 4}" for i in range(rna.n_obs)], name="kind")
    kind.set_axis(rna.obs_names).iloc[::-1].to_csv(tmp_path / "by_id.csv")
    kind.set_axis(range(1, rna.n_obs + 1)).to_csv(tmp_path / "by_row.csv")
    for table in ("by_id.csv", "by_row.csv"):
        assert list(read(tmp_path, "csv", counts="m.csv", cells=table).obs["kind"]) == list(kind)
    kind.set_axis(rna.obs_names).iloc[:40].to_csv(tmp_path / "some.csv")
    assert read(tmp_path, "csv", counts="m.csv", cells="some.csv").obs["kind"].notna().sum() == 40


@pytest.mark.parametrize("n_cells", [0, 9])
@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_parts_of_a_matrix_are_summed_wherever_they_wait(tmp_path, rng, monkeypatch, n_cells, at_once):
    monkeypatch.setattr(intake, "TURNED_AT_ONCE", at_once)
    parts = [sp.coo_array(rng.poisson(0.4, (n_cells, width))) for width in (3, 5, 6)]  # the last is the widest
    expected = sum(np.pad(x.toarray(), ((0, 0), (0, 6 - x.shape[1]))) for x in parts)
    with closing(Aside(tmp_path, 0)) as aside:
        for taken in (intake.Intake(), aside):
            blocks = list(taken.by_cell(parts, n_cells))
            assert all(x.dtype == np.float32 and x.has_canonical_format for x in blocks)
            np.testing.assert_array_equal(np.concatenate([x.toarray() for x in blocks] or [np.zeros((0, 6))]), expected)
        assert len(list(aside.by_cell(parts, n_cells))) > 1 or not n_cells or at_once > 10
        assert not aside.keep([], 4).shape[0]


MEASURE = """
import sys
from pathlib import Path
from mmaavi import intake
from mmaavi.readers import blocks, read_part
blocks.BLOCK_VALUES = intake.TURNED_AT_ONCE = 2**19
def memory(kind):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(kind))
before = memory("VmRSS")
path, keep, aside = sys.argv[1:]
taken = intake.Aside(aside, 0) if aside else intake.Intake()
part = read_part(Path, "rna", "h5ad", counts=path, intake=taken, **({"keep_features": keep} if keep else {}))
highest = memory("VmHWM")
print(highest - before, part.X[:].nnz if aside else part.X.nnz)
"""


def memory_to_read(path, keep: str = "", aside: str = "") -> tuple[float, int]:
    """MiB beyond the imports at the highest, and the number of values read; with a folder ``aside``, into a file there."""
    command = [sys.executable, "-c", MEASURE, str(path), keep, aside]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True)
    kib, n_values = done.stdout.split()
    return int(kib) / 1024, int(n_values)


def test_a_large_file_needs_the_memory_of_what_is_kept(tmp_path, rng):
    """A file of 244 MiB, dense and with a layer: all of X needs less than half of that, a fifth of its features still less."""
    n, g = 8000, 2000
    var = pd.DataFrame({"chosen": np.arange(g) % 5 == 0}, index=[f"g{i}" for i in range(g)])
    ad.AnnData(sp.csr_matrix((n, g)), var=var).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        del file["X"]
        for name in ("X", "layers/other"):
            values = file.create_dataset(name, (n, g), np.float64)
            values.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for start in range(0, n, 500):
                values[start : start + 500] = rng.poisson(0.05, (500, g))
    size = (tmp_path / "a.h5ad").stat().st_size / 2**20
    whole, n_values = memory_to_read(tmp_path / "a.h5ad")
    some, n_some = memory_to_read(tmp_path / "a.h5ad", "chosen")
    assert size > 240
    assert n_values == pytest.approx(0.0488 * n * g, rel=0.02)
    assert n_some == pytest.approx(n_values / 5, rel=0.05)
    print(f"file {size:.0f} MiB, memory {whole:.0f} MiB, with a fifth of the features {some:.0f} MiB")
    assert 0 < some < whole < size / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "norm"}, "a.h5ad has no layer 'norm'; did you mean 'normal'"),
        ({"keep_features": "highly_varable"}, "no var\\['highly_varable'\\]; did you mean 'highly_variable'"),
        ({"keep_features": "chrom"}, "'keep_features' needs a column of true and false"),
        ({"name": "Peaks"}, "has no var\\['feature_types'\\]"),
    ],
)
def test_what_a_file_lacks_is_named(given, tmp_path, settings, message):
    rna = given["rna"]
    rna.layers["normal"] = rna.X
    rna.var["highly_variable"] = True
    rna.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=message):
        read(tmp_path, "h5ad", counts="a.h5ad", **settings)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix], ids=["csr", "csc"])
def test_an_input_that_is_put_aside_is_never_held_whole(tmp_path, rng, form):
    n, drawn = 60_000, 400
    columns = np.sort(rng.integers(0, 30_000, (n, drawn)), axis=1)
    x = sp.csr_matrix((np.ones(n * drawn, np.float32), columns.ravel(), np.arange(0, n * drawn + 1, drawn)), shape=(n, 30_000))
    ad.AnnData(form(x)).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "aside").mkdir()
    whole, n_values = memory_to_read(tmp_path / "a.h5ad")
    beside, n_beside = memory_to_read(tmp_path / "a.h5ad", aside=str(tmp_path / "aside"))
    print(f"{n_values * 8 / 2**20:.0f} MiB of values: memory {whole:.0f} MiB, put aside {beside:.0f} MiB")
    assert n_beside == n_values == pytest.approx(n * drawn, rel=0.01)  # a column drawn twice is one in CSC
    assert beside < 0.8 * n_values * 8 / 2**20 < 0.5 * whole

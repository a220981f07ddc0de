"""Files from outside that mean harm, or are broken: npz, 10x folders and archives (HDF5: test_bad_files.py)."""

import gzip
import io
import shutil
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import yaml
from given import refuse, run
from published import parts, write_10x_folder

from mmaavi.archives import extract
from mmaavi.errors import InputError


def with_input(folder: Path, entry: dict) -> None:
    config = {
        "title": "t",
        "inputs": [entry | {"modality": "rna", "batch": "one"}],
        "modalities": {"rna": {}},
        "drop_empty": True,
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(config))


def object_array(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print, len], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("format", "data", "indices", "indptr", "shape"):
            archive.writestr(f"{name}.npy", buffer.getvalue())


def huge_header(path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("format", "data", "indices", "indptr", "shape"):
            archive.writestr(f"{name}.npy", content)


def deflate_bomb(path: Path) -> None:
    sp.save_npz(path, sp.csr_matrix(np.eye(3)))
    claimed = bytearray(path.read_bytes())
    at = claimed.find(b"PK\x01\x02")
    claimed[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(claimed)


def ends_before_it_begins(path: Path) -> None:
    np.savez(path, format=b"csr", data=np.ones(3), indices=np.arange(3), indptr=np.array([0, 2, 5, -1]), shape=(3, 3))


def points_outside(path: Path) -> None:
    x = sp.csr_matrix(np.eye(3))
    np.savez(path, format=b"csr", data=x.data, indices=x.indices + 10**6, indptr=x.indptr, shape=x.shape)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (object_array, "no sparse matrix saved by scipy.*allow_pickle=False"),
        (huge_header, "no sparse matrix saved by scipy"),
        (deflate_bomb, "claims 4,.* bytes, more than it can hold"),
        (points_outside, "no sparse matrix saved by scipy"),
        (ends_before_it_begins, "no sparse matrix saved by scipy.*end before they begin"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "no sparse matrix saved by scipy"),
        (lambda path: np.savez(path, x=np.eye(3)), "no sparse matrix saved by scipy"),
        (
            lambda path: sp.save_npz(path, sp.csr_matrix(np.eye(4))),
            "is 4 cells x 4 features, but 3 cells and 3 features are named",
        ),
    ],
)
def test_bad_npz(tmp_path, spoil, message):
    (tmp_path / "genes.txt").write_text("a\nb\nc\n")
    (tmp_path / "cells.csv").write_text("id,x\n1,1\n2,1\n3,1\n")
    spoil(tmp_path / "x.npz")
    with_input(tmp_path, {"reader": "npz", "counts": "x.npz", "features": "genes.txt", "cells": "cells.csv"})
    refuse(tmp_path, f"x.npz .*{message}|x.npz {message}")


def write_h5mu(file: h5py.File) -> None:
    x = ad.AnnData(sp.csr_matrix(np.eye(3, dtype=np.float32)))
    x.obs_names, x.var_names = list("abc"), list("xyz")
    ad.io.write_elem(file, "mod/rna", x)
    ad.io.write_elem(file, "mod/rna/layers/raw", x.X)


def write_hdf5(file: h5py.File) -> None:
    file["matrix/data"] = np.eye(3)
    for name in ("features", "barcodes"):
        file[f"matrix/{name}"] = list("abc")


def write_10x_h5(file: h5py.File) -> None:
    x = sp.csr_matrix(np.eye(3, dtype=int))
    content = {"data": x.data, "indices": x.indices, "indptr": x.indptr, "shape": [3, 3], "barcodes": list("abc")}
    content |= {"features/name": list("xyz"), "features/feature_type": ["Gene Expression"] * 3}
    for name, values in content.items():
        file[f"matrix/{name}"] = values


HDF5 = {
    "h5mu": (write_h5mu, {}, ["mod", "mod/rna", "mod/rna/X", "mod/rna/obs", "mod/rna/X/data"]),
    "layer": (write_h5mu, {"reader": "h5mu", "layer": "raw"}, ["mod/rna/layers", "mod/rna/layers/raw"]),
    "hdf5": (write_hdf5, {}, ["matrix", "matrix/data", "matrix/features"]),
    "10x_h5": (write_10x_h5, {}, ["matrix", "matrix/shape", "matrix/data", "matrix/features", "matrix/features/name"]),
}


def by_a_soft_link(file: h5py.File, name: str) -> h5py.SoftLink:
    """To a link into another file."""
    file["out_of_here"] = h5py.ExternalLink("good.h5", "/")
    return h5py.SoftLink(f"/out_of_here/{name}")


def web(file: h5py.File, _name: str) -> h5py.Group:
    """A group that leads to 2^40 places: each of forty is linked twice by the one before."""
    groups = [file.create_group(f"web{i}") for i in range(40)]
    for group, inner in pairwise(groups):
        group["left"] = group["right"] = inner
    return groups[0]


INSTEAD = {
    "another file": lambda file, name: h5py.ExternalLink("good.h5", name),
    "another file, by a detour": by_a_soft_link,
    "a web of groups": web,
    "a number": lambda file, name: 7,
    "text": lambda file, name: ["a", "b"],
    "nothing": lambda file, name: h5py.Empty("f4"),
    "a group": lambda file, name: file.create_group("aside"),
    "a cube": lambda file, name: np.zeros((2, 2, 2)),
}


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5_files_in_which_something_else_lies(tmp_path, kind):
    write, entry, names = HDF5[kind]
    for file_name in ("x.h5", "good.h5"):
        with h5py.File(tmp_path / file_name, "w") as file:
            write(file)
    with_input(tmp_path, {"reader": kind, "counts": "x.h5"} | entry)
    run(tmp_path)
    (tmp_path / "mosaic.h5mu").unlink()
    for name in names:
        for what, instead in INSTEAD.items():
            shutil.copy(tmp_path / "good.h5", tmp_path / "x.h5")
            with h5py.File(tmp_path / "x.h5", "a") as file:
                del file[name]
                file[name] = instead(file, name)
            refuse(tmp_path, "x.h5: .* lies in another file" if what.startswith("another file") else "x.h5")


def cut_off(folder: Path) -> None:
    file = folder / "out/matrix.mtx.gz"
    file.write_bytes(file.read_bytes()[:200])


def edit_gz(name: str, change):
    def apply(folder: Path) -> None:
        file = folder / "out" / name
        file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()).decode()).encode()))

    return apply


@pytest.mark.parametrize(
    ("spoil", "entry", "message"),
    [
        (
            lambda f: (f / "out/barcodes.tsv.gz").unlink(),
            {},
            "out has no barcodes .barcodes.tsv.gz.; in .* there is: features.tsv.gz",
        ),
        (lambda f: None, {"counts": "outs"}, "folder 'outs', which is neither .*did you mean 'out'"),
        (
            lambda f: None,
            {"name": "Gene expression"},
            "no features of the type 'Gene expression'; did you mean 'Gene Expression'",
        ),
        (lambda f: None, {}, "has the feature types Gene Expression, Peaks; say with 'name' or 'modalities'"),
        (
            edit_gz("matrix.mtx.gz", lambda t: t.replace("\n80 ", "\n81 ", 1)),
            {"name": "Peaks"},
            "claims the sizes 81 .*80 features",
        ),
        (
            edit_gz("matrix.mtx.gz", lambda t: t[: t.find("\n", len(t) // 2)]),
            {"name": "Peaks"},
            "claims [0-9]+ values, and has [0-9]",
        ),
        (
            edit_gz("matrix.mtx.gz", lambda t: "\n".join([*t.split("\n")[:2], "80 60 999999999999"])),
            {"name": "Peaks"},
            "claims 999999999999 values",
        ),
        (cut_off, {"name": "Peaks"}, "out cannot be read"),
        (edit_gz("matrix.mtx.gz", lambda t: t + "1 1 1\n"), {"name": "Peaks"}, "claims [0-9]+ values, and has more"),
        (
            edit_gz("matrix.mtx.gz", lambda t: t.replace("\n1 1 ", "\n1 0 ", 1)),
            {"name": "Peaks"},
            "lines that are no value of the",
        ),
        (
            edit_gz("matrix.mtx.gz", lambda t: t.replace("\n1 1 ", "\n1 1", 1)),
            {"name": "Peaks"},
            "lines that are no value of the",
        ),
        (edit_gz("matrix.mtx.gz", lambda t: t.replace("\n1 1 ", "\n1 1\xe9\0 ", 1)), {"name": "Peaks"}, "out cannot be read"),
        (
            edit_gz("matrix.mtx.gz", lambda t: t.replace("integer", "complex", 1)),
            {"name": "Peaks"},
            "no Matrix Market file of numb",
        ),
    ],
)
def test_bad_10x_folders(tmp_path, spoil, entry, message):
    given = parts(n_cells=60, n_genes=20, n_proteins=6)
    write_10x_folder(tmp_path / "out", {m: given[m] for m in ("rna", "atac")})
    spoil(tmp_path)
    with_input(tmp_path, {"reader": "10x_mtx", "counts": "out"} | entry)
    refuse(tmp_path, message)


def zip_of(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"inside") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)


def entry(name: str, **settings) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in settings.items():
        setattr(info, key, value)
    return info


def lying_zip(path: Path, says: int) -> None:
    zip_of(path, {"a.csv": b"1,2,3\n" * 1000})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.find(mark)
        content[at + offset : at + offset + 4] = says.to_bytes(4, "little")
    path.write_bytes(content)


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    return entry("a.csv", type=kind, linkname=target)


ARCHIVES = {
    "another name": ("a.zip", lambda p: zip_of(p, {"b.csv": b"x"}), "has no file 'a.csv'; did you mean 'b.csv'"),
    "a folder": ("a.zip", lambda p: zip_of(p, {"a.csv/": b""}), "has no file 'a.csv'"),
    "no zip": ("a.zip", lambda p: p.write_bytes(b"PK and no more"), "cannot be read from"),
    "says less": ("a.zip", lambda p: lying_zip(p, 10), "cannot be read from"),
    "says more": ("a.zip", lambda p: lying_zip(p, 2**31 - 1), "breaks off|cannot be read from"),
    "a link": ("a.tar.gz", lambda p: tar_of(p, link(tarfile.SYMTYPE, "/etc/passwd")), "is no plain file"),
    "a hard link": ("a.tar.gz", lambda p: tar_of(p, link(tarfile.LNKTYPE, "../../x")), "is no plain file"),
    "a device": ("a.tar.gz", lambda p: tar_of(p, entry("a.csv", type=tarfile.CHRTYPE)), "is no plain file"),
    "another name in a tar": ("a.tar.gz", lambda p: tar_of(p, entry("b.csv", size=6)), "no file 'a.csv'; did you mean 'b.csv'"),
    "no tar": ("a.tar.gz", lambda p: p.write_bytes(b"\x1f\x8b\x08 and no more"), "cannot be read from"),
}


@pytest.mark.parametrize(("name", "make", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_bad_archives(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message):
        extract(tmp_path / name, "a.csv", tmp_path / "to/a.csv")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [name]


def test_no_path_of_an_archive_is_ever_used(tmp_path):
    """Names that lead out of the folder (zip slip) are text to compare with: what is written has the name that was given."""
    for evil in ("../../evil.csv", "/etc/evil.csv", "..\\evil.csv"):
        zip_of(tmp_path / "a.zip", {evil: b"inside", "b.csv": b"good"})
        extract(tmp_path / "a.zip", "b.csv", tmp_path / "to/b.csv")
        extract(tmp_path / "a.zip", zipfile.ZipFile(tmp_path / "a.zip").namelist()[0], tmp_path / "to/c.csv")
    tar_of(tmp_path / "a.tar.gz", entry("../../evil.csv", size=6), entry("./b.csv", size=6, mode=0o4777))
    extract(tmp_path / "a.tar.gz", "b.csv", tmp_path / "to/d.csv")
    assert (tmp_path / "to/d.csv").stat().st_mode & 0o7000 == 0
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.tar.gz", "a.zip", "b.csv", "c.csv", "d.csv"]
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_member_larger_than_allowed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mmaavi.archives.LARGEST_MEMBER", 1000)
    zip_of(tmp_path / "a.zip", {"b.csv": bytes(10**6)})
    with pytest.raises(InputError, match="has 1,000,000 bytes; .*1,000 allowed"):
        extract(tmp_path / "a.zip", "b.csv", tmp_path / "to/b.csv")
    assert not list((tmp_path / "to").iterdir())


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    sp.save_npz(tmp_path / "x.npz", sp.csr_matrix(np.eye(3)))
    (tmp_path / "genes.txt").write_text("a\nb\x00\nc\n")
    (tmp_path / "cells.csv").write_text("cell\nc1\nc2\nc3\n")
    with_input(tmp_path, {"reader": "npz", "counts": "x.npz", "features": "genes.txt", "cells": "cells.csv"})
    refuse(tmp_path, "x.npz.* zero byte")


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
def test_a_gzip_stream_with_a_wrong_code_is_refused(tmp_path, name):
    write_10x_folder(tmp_path / "out", {"rna": parts(n_cells=30, n_genes=8, n_proteins=3)["rna"]})
    file = next((tmp_path / "out").glob(f"*{name}"))
    content = bytearray(file.read_bytes())
    content[30:60] = b"\xff" * 30
    file.write_bytes(content)
    with_input(tmp_path, {"reader": "10x_mtx", "counts": "out"})
    refuse(tmp_path, "out.*get it anew")

"""Bad files: each ends in one message that names the file, says what is wrong and what to do, and nothing is written."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from given import refuse


def rewrite(name: str, change):
    """Change an h5ad file in place."""

    def apply(folder: Path) -> None:
        adata = ad.read_h5ad(folder / name)
        change(adata)
        adata.write_h5ad(folder / name)

    return apply


def in_hdf5(name: str, change):
    def apply(folder: Path) -> None:
        with h5py.File(folder / name, "a") as file:
            change(file)

    return apply


def replaced(name: str, old: str, new: str):
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def written(name: str, content: str | bytes):
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def cut(name: str, share: float = 0.5):
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


def set_value(value: float):
    def change(adata: ad.AnnData) -> None:
        adata.X.data[0] = value

    return rewrite("rna.h5ad", change)


def external_link(file: h5py.File) -> None:
    del file["X"]
    file["X"] = h5py.ExternalLink("atac.h5ad", "X")


def external_storage(file: h5py.File) -> None:
    shape = file["X"].attrs["shape"]
    del file["X"]
    file.create_dataset("X", tuple(shape), np.float32, external=[("cells.csv", 0, int(np.prod(shape)) * 4)])


def bomb(file: h5py.File) -> None:
    del file["X/data"]
    file["X"].create_dataset("data", (2**42,), np.float64, chunks=(2**20,), compression="gzip")


def out_of_range(file: h5py.File) -> None:
    file["X/indices"][0] = 10**6


def backwards(file: h5py.File) -> None:
    file["X/indptr"][1] = file["X/indptr"][-1]
    file["X/indptr"][2] = 0


def text_values(file: h5py.File) -> None:
    n = len(file["X/data"])
    del file["X/data"]
    file["X/data"] = np.array([b"one"] * n)


def drop(name: str):
    return lambda file: file.__delitem__(name)


FILES = {
    "cut off h5ad": (cut("rna.h5ad"), "rna.h5ad cannot be read .*get it anew"),
    "no HDF5": (written("rna.h5ad", "hello"), "rna.h5ad cannot be read .*no HDF5 file"),
    "no AnnData": (in_hdf5("rna.h5ad", drop("obs")), "rna.h5ad is no AnnData: it lacks obs"),
    "no X": (in_hdf5("rna.h5ad", drop("X")), "rna.h5ad has no values in X; name one of its layers"),
    "link to another file": (in_hdf5("rna.h5ad", external_link), "'/X' lies in another file"),
    "raw bytes of another file": (in_hdf5("rna.h5ad", external_storage), "X' lies in another file"),
    "claims terabytes": (in_hdf5("rna.h5ad", bomb), "claims .* bytes, more than the file can hold"),
    "indices out of range": (in_hdf5("rna.h5ad", out_of_range), "points beyond its 20 names"),
    "indptr backwards": (in_hdf5("rna.h5ad", backwards), "contradicts itself"),
    "values are text": (in_hdf5("rna.h5ad", text_values), "holds no numbers but"),
    "fewer names": (
        in_hdf5("rna.h5ad", lambda f: f["X"].attrs.__setitem__("shape", [60, 19])),
        "shape \\(60, 19\\), but 60 cells",
    ),
    "NaN": (set_value(np.nan), "'rna' .from rna.h5ad. has 1 NaN or infinite values, in batch one"),
    "negative": (set_value(-1), "'rna' .from rna.h5ad. has 1 negative values, in batch one .*raw counts"),
    "normalised": (set_value(0.5), "has 1 non-integer values"),
    "repeated genes": (
        rewrite("rna.h5ad", lambda a: setattr(a, "var_names", ["g"] * 20)),
        "rna.h5ad has 1 duplicate feature ids",
    ),
    "repeated cells": (replaced("protein.csv", "cell00001", "cell00000"), "protein.csv has 1 duplicate cell ids .*prefix_cells"),
    "other peaks": (
        rewrite("atac.h5ad", lambda a: setattr(a, "var", pd.DataFrame(index=[f"peak{i}" for i in range(60)]))),
        "60 peak names hold no coordinates",
    ),
    "no coordinates": (
        rewrite("rna.h5ad", lambda a: setattr(a, "var", a.var[["strand"]])),
        "features of 'rna' have no chrom, start, end; give 'assembly'",
    ),
    "word in a matrix": (
        replaced("protein.csv", "\ncell00000,", "\ncell00000,many"),
        "protein.csv, line 2, column 'protein00': 'many.*' is no number",
    ),
    "ragged matrix": (
        replaced("protein.csv", "\ncell00003,", "\ncell00003,1,1,1,1,"),
        "protein.csv cannot be read as a table .*line 5",
    ),
    "empty matrix": (written("protein.csv", ""), "protein.csv cannot be read as a table"),
    "cells of something else": (
        replaced("cells.csv", "cell00000", "x"),
        "1 protein cells of protein.csv have no value in 'batch': cell00000",
    ),
    "no cell matches": (
        written("cells.csv", "id,batch,kind\nx,one,T\n"),
        "cells.csv has none of the cells of protein.csv",
    ),
    "too few rows": (
        written("cells.csv", "id,batch,kind\n1,one,T\n"),
        "cells.csv has 1 rows for the 60 cells of protein.csv",
    ),
    "a cell twice": (replaced("cells.csv", "cell00001", "cell00000"), "cells.csv has 1 cell ids more than once .cell00000"),
    "cell without a batch": (
        replaced("cells.csv", "cell00002,three", "cell00002,"),
        "1 protein cells of protein.csv have no value in 'batch': cell00002",
    ),
    "edges without target": (replaced("edges.tsv", "target", "to"), "edges.tsv lacks the columns target"),
    "edges of other features": (
        written("edges.tsv", "source\ttarget\nBRCA1\tCD4\n"),
        "none of the 1 edges .*'BRCA1' and 'CD4'",
    ),
    "weight is a word": (
        written("edges.tsv", "source\ttarget\tweight\na\tb\t1\nc\td\theavy\n"),
        "edges.tsv, line 3: 'weight' is 'heavy'",
    ),
    "weight is negative": (
        written("edges.tsv", "source\ttarget\tweight\ngene000\tprotein00\t-1\n"),
        "weights must be finite and > 0",
    ),
    "UTF-16 table": (
        written("cells.csv", "a,b".encode("utf-16")),
        "cells.csv cannot be read as a table of cells",
    ),
    "binary edges": (written("edges.tsv", bytes(range(256))), "edges.tsv cannot be read as a table of edges"),
}


@pytest.mark.filterwarnings("ignore:.*not unique")
@pytest.mark.parametrize(("change", "message"), FILES.values(), ids=FILES)
def test_bad_files(folder, change, message):
    change(folder)
    refuse(folder, message)

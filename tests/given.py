"""A good dataset config with its files, to be spoiled, and what the workflow does with it before anything is trained."""

from pathlib import Path

import pandas as pd
import pytest
from published import parts

from mmaavi import sources
from mmaavi.configuration import read_config
from mmaavi.dataset import prepare
from mmaavi.errors import InputError
from mmaavi.experiments import check_assemblies, check_settings

GOOD = """\
title: Test
assembly: null
sources:
  - {path: set/a.npz, url: "http://example.org/a.npz", sha256: SHA}
inputs:
  - {reader: h5ad, modality: rna, counts: rna.h5ad, batch: one}
  - {reader: h5ad, modality: atac, counts: atac.h5ad, batch: two}
  - reader: csv
    modality: protein
    counts: protein.csv
    cells: cells.csv
    batch_column: batch
modalities:
  rna: {}
  atac: {}
  protein: {}
labels:
  cell_type: {column: kind}
drop_empty: true
graph:
  - {kind: overlap, between: [rna, atac]}
  - {kind: file, between: [rna, protein], edges: edges.tsv}
settings:
  mmaavi: {n_steps: 10}
""".replace("SHA", "ab" * 32)
SCHEMA = Path(__file__).parents[1] / "workflow/schemas/dataset.schema.yaml"


def write_good(folder: Path) -> Path:
    """The good config and its files."""
    given = parts(n_cells=60, n_genes=20, n_proteins=6)
    for m in ("rna", "atac"):
        given[m].write_h5ad(folder / f"{m}.h5ad")
    given["protein"].to_df().astype(int).to_csv(folder / "protein.csv")
    cells = pd.DataFrame({"batch": ["three", "four"] * 30, "kind": ["T", "B"] * 30}, index=given["protein"].obs_names)
    cells.to_csv(folder / "cells.csv")
    edges = pd.DataFrame({"source": given["protein"].var["aliases"], "target": given["protein"].var_names})
    edges.to_csv(folder / "edges.tsv", sep="\t", index=False)
    (folder / "data.yaml").write_text(GOOD)
    return folder


def run(folder: Path) -> None:
    """What the workflow does before anything is trained: config, files, mosaic."""
    config = read_config(folder / "data.yaml", SCHEMA)
    known = sources.collect({"data": config}, {})
    located = sources.locations(config, folder / "data.yaml", known)
    check_settings({"data": config}, {})
    check_assemblies({"data": config}, {})
    sources.input_files(config, located, known)
    prepare(config, {}, lambda path: folder / located[path], {}).mosaic.save(folder / "mosaic.h5mu")


def refuse(folder: Path, message: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=message):
        run(folder)
    assert sorted(folder.rglob("*")) == before  # nothing half-written

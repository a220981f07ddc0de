"""Shared fixtures: a small simulated mosaic, and the folder of real data where there is one."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from given import write_good

from mmaavi import guidance, negative_binomial_numba, normal_numba, random_numba, scenarios, simulate, sparse_numba
from mmaavi.dataset import drop_empty
from mmaavi.mosaic import Mosaic, from_parts

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "workflow/schemas"
# Whole workflows and trainings, the longest first: begun last, one of two processes would wait for them.
LONG = ("workflow", "faults", "analyses_in_the_workflow", "analysis", "methods_in_the_workflow", "own_data", "train", "metrics")
for library in ("JAX_COMPILATION", "NUMBA"):  # workflows in many folders score: they compile once
    os.environ.setdefault(f"{library}_CACHE_DIR", str(ROOT / ".pytest_cache/compiled" / library.lower()))
for kept in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*_numba.*.nbi"):  # Numba looks at the file of the caller alone
    if kept.stat().st_mtime < (ROOT / "src/mmaavi/kernels.py").stat().st_mtime:
        kept.unlink(missing_ok=True)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
torch.set_num_threads(1)  # the tests' models are small: a second thread would only wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}.py": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


def small_mosaic(n_cells: int = 300, n_genes: int = 40, n_proteins: int = 10, seed: int = 0) -> Mosaic:
    """A simulated mosaic of three batches (RNA+ATAC, RNA+protein, ATAC+protein) with its guidance graph."""
    parts = simulate.simulate(seed, n_cells, n_genes, n_proteins, separation=1.5).parts
    mosaic = from_parts(parts)
    mosaic, _ = scenarios.hide(mosaic, {"batch1": ["protein"], "batch2": ["atac"], "batch3": ["rna"]})
    mosaic = drop_empty(mosaic)
    pairs = guidance.overlap_edges(mosaic.var["rna"], mosaic.var["atac"])
    aliases = dict(mosaic.var["protein"]["aliases"].str.split(","))
    named = guidance.alias_edges(mosaic.var["rna"].index, mosaic.var["protein"].index, aliases)
    graph = guidance.build_guidance(mosaic, [("rna", "atac", pairs), ("rna", "protein", named)])
    return replace(mosaic, guidance=graph)


@pytest.fixture(scope="session")
def mosaic() -> Mosaic:
    return small_mosaic()


@pytest.fixture(params=[1, 2, 3])
def parts(monkeypatch, request) -> int:
    """In how many parts compiled kernels divide their work: one a thread, but it need not be."""
    for module in (negative_binomial_numba, normal_numba, random_numba, sparse_numba):
        monkeypatch.setattr(module, "n_threads", lambda: request.param)
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real source files; tests that need it are skipped where it is not given."""
    path = os.environ.get("MMAAVI_MIRROR")
    if not path or not Path(path).is_dir():
        pytest.skip("set MMAAVI_MIRROR to a folder with the source files (see config/README.md)")
    return Path(path).resolve()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A good dataset config with its files, to be spoiled."""
    return write_good(tmp_path)

"""Every method by one rule: what it declares, what it gives, and that nothing else decides its scores."""

import ast
import importlib
import inspect
import re
import sys
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from conftest import ROOT, small_mosaic
from sklearn.neighbors import NearestNeighbors

from mmaavi import availability, methods
from mmaavi.embedding import read_embedding, save_embedding
from mmaavi.errors import InputError
from mmaavi.experiments import Run, known_methods, with_imports
from mmaavi.metrics import integration_scores
from mmaavi.mosaic import Mosaic, load

CONTROLS = ("cell_type", "shuffled")
PEERS = sorted(set(known_methods()) - {*CONTROLS, "mmaavi"})
# A few steps: what is tested is that each runs as it says, not how well.
BRIEF = {
    "scmomat": {"T": 100, "K": 8, "batch_size": 1.0, "lr": 0.1},
    "midas": {"max_epochs": 1, "dims_shared_enc": [32], "dims_shared_dec": [32]},
    "multivi": {"max_epochs": 1},
    "totalvi": {"max_epochs": 1},
    "glue": {"max_epochs": 8, "latent_dim": 8, "balance": False},  # so short a pretraining may leave no clusters that match
    "uinmf": {"n_iterations": 3},
    "stabmap": {},
    "harmony": {},
    "pca": {},
}
IMPUTES = {"midas", "multivi", "totalvi", "stabmap", "glue"}


def without(mosaic: Mosaic, *modalities: str) -> Mosaic:
    """The cells of some modalities, with the others' features and links left out."""
    kept = [m for m in mosaic.modalities if m not in modalities]
    sizes = np.repeat(mosaic.modalities, list(mosaic.n_features.values()))
    columns = np.flatnonzero(np.isin(sizes, kept))
    left = replace(
        mosaic,
        counts={m: mosaic.counts[m] for m in kept},
        measured=mosaic.measured[kept],
        var={m: mosaic.var[m] for m in kept},
        guidance=None if mosaic.guidance is None else mosaic.guidance[columns][:, columns],
    )
    return left.take(left.measured.any(axis=1).to_numpy())


def fitting(method: str, mosaic: Mosaic) -> Mosaic:
    """The part of the mosaic that the method supports."""
    return without(mosaic, "atac") if method == "totalvi" else mosaic


def run(method: str, mosaic: Mosaic, seed: int = 0) -> methods.Result:
    for package in availability.declared(method, "PACKAGES", ()):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (make peers)")
    return methods.load_method(method)(mosaic, seed, **BRIEF[method])


def alike_to_the_nearest(x: np.ndarray, mosaic: Mosaic) -> tuple[float, float]:
    """Share of cells whose nearest cell of those measured alike is of their type, and the same of any two of these."""
    kind, alike, chance = mosaic.obs["cell_type"].to_numpy(), [], []
    for rows in pd.Series(range(len(x))).groupby(mosaic.groups.to_numpy()).agg(list):
        nearest = NearestNeighbors(n_neighbors=2).fit(x[rows]).kneighbors(return_distance=False, n_neighbors=1)[:, 0]
        alike += list(kind[rows] == kind[rows][nearest])
        chance += list((kind[rows][:, None] == kind[rows][None]).mean(axis=1))
    return float(np.mean(alike)), float(np.mean(chance))


@pytest.mark.parametrize("method", [m for m in PEERS if m != "multimap"])
def test_a_method_embeds_and_imputes_every_cell_and_repeats_itself(mosaic, method, rng):
    mosaic = fitting(method, mosaic)
    mosaic = mosaic.take(rng.permutation(len(mosaic.cells)))  # groups are not side by side
    assert methods.unsupported(method, mosaic) is None
    result = run(method, mosaic)
    assert result.embedding.shape[0] == len(mosaic.cells)
    assert np.isfinite(result.embedding).all()
    assert (result.embedding.std(axis=0) > 0).any()
    alike, chance = alike_to_the_nearest(result.embedding, mosaic)
    assert alike > chance + 0.1  # states are in the rows of their cells
    assert (result.impute is not None) == (method in IMPUTES)
    if result.impute:
        some = mosaic.take(np.arange(5, len(mosaic.cells), 29))
        for m, n in mosaic.n_features.items():
            values = result.impute(some, m)
            assert values.shape == (len(some.cells), n)
            assert np.isfinite(values).all()
            assert (values >= 0).all()
    if result.embed:
        assert result.embed(mosaic.take(np.arange(10))).shape == (10, result.embedding.shape[1])
    np.testing.assert_allclose(run(method, mosaic).embedding, result.embedding, rtol=1e-3, atol=1e-4)


def test_glue_says_so_where_no_clusters_match(mosaic, monkeypatch):
    scglue = pytest.importorskip("scglue")
    real = scglue.models.estimate_balancing_weight
    # Nothing is as similar as this cutoff asks: scglue divides zero weights by their sum of zero.
    monkeypatch.setattr(scglue.models, "estimate_balancing_weight", lambda *a, **k: real(*a, **{**k, "cutoff": 2.0}))
    with pytest.raises(InputError, match="no clusters of cells that match in all modalities.*balance: false"):
        methods.load_method("glue")(mosaic, 0, max_epochs=2, latent_dim=8)


def run_of(method: str):
    """Whether its packages are here or not."""
    return importlib.import_module(f"mmaavi.methods.{method}").run


def test_all_methods_have_one_signature():
    for m in known_methods():
        first, second, *settings = inspect.signature(run_of(m)).parameters.values()
        assert (first.name, first.annotation, second.name, second.annotation) == ("mosaic", Mosaic, "seed", int), m
        assert all(p.default is not p.empty or p.kind is p.VAR_KEYWORD or p.name == "labels" for p in settings), m


def test_no_method_but_the_control_and_those_that_can_be_supervised_takes_labels():
    takes = {m for m in known_methods() if "labels" in inspect.signature(run_of(m)).parameters}
    assert takes == {"cell_type", "stabmap", "mmaavi"}


DIAGONAL = {"batch1": ["atac", "protein"], "batch2": ["rna", "atac"], "batch3": ["rna", "protein"]}


@pytest.mark.parametrize(
    ("method", "change", "reason"),
    [
        ("multivi", lambda m: without(m, "atac"), "it is a model of RNA and ATAC, and one of the two is missing"),
        ("totalvi", lambda m: m, "it has no model of atac, only of rna, protein"),
        ("totalvi", lambda m: without(m, "protein", "atac"), "it is a model of RNA and protein, and one of the two is missing"),
        (
            "totalvi",
            lambda m: replace(without(m, "atac"), obs=m.obs.assign(batch="all")),
            "in batch all only some cells have protein, and it would take the others' for zeros",
        ),
        (
            "midas",
            lambda m: replace(m, likelihoods={"protein": "normal"}),
            "it needs counts, which the values of protein are not",
        ),
        *(
            (method, lambda m: replace(m, likelihoods={"protein": "normal"}), "which the values of protein are not")
            for method in ("glue", "multimap", "scmomat", "stabmap", "uinmf")
        ),
        ("glue", lambda m: replace(m, likelihoods={"rna": "zero_inflated_log_normal"}), "which the values of rna are not"),
        (
            "multivi",
            lambda m: replace(m, obs=m.obs.assign(batch="all")),
            "in batch all only some cells have a modality",
        ),
        ("glue", lambda m: replace(m, guidance=None), "it needs a guidance graph, and the dataset has none"),
        ("glue", lambda m: without(m, "rna"), "which does not reach atac, protein"),
        ("stabmap", "diagonal", "some batches share no features with others"),
        ("uinmf", "diagonal", "no modality is shared by all batches, not even as gene activity"),
        ("multimap", "diagonal", "two batches share no features, not even by gene activity"),
        ("harmony", lambda m: m.take((m.obs["batch"] == "batch1").to_numpy()), "there is only one"),
        ("scmomat", lambda m: m.take(np.r_[0:90, 91]).take(np.r_[0:8]), "it trains on a tenth of each group of cells"),
        ("scmomat", lambda m: m.take_features({"protein": np.arange(10) < 5}), "and one has only 5"),
        ("pca", lambda m: m, None),
        ("uinmf", lambda m: m, None),  # by gene activity
        ("multimap", lambda m: without(m, "protein"), None),
    ],
)
def test_what_a_method_cannot_do_is_declared(mosaic, method, change, reason):
    if change == "diagonal":
        shown = mosaic.measured.copy()
        for batch, hidden in DIAGONAL.items():
            shown.loc[(mosaic.obs["batch"] == batch).to_numpy(), hidden] = False
        mosaic = mosaic.with_measured(shown)
        mosaic = mosaic.take(shown.any(axis=1).to_numpy())
    else:
        mosaic = change(mosaic)
    said = methods.unsupported(method, mosaic)
    assert said is None if reason is None else reason in said


def test_what_a_method_supports_does_not_depend_on_where_the_counts_are(mosaic, tmp_path):
    mosaic.save(tmp_path / "mosaic.h5mu")
    stored = load(tmp_path / "mosaic.h5mu", memory_gib=0)
    assert stored.on_disk
    for method in known_methods():
        assert methods.unsupported(method, stored) == methods.unsupported(method, mosaic)


def test_values_with_a_sign_are_reduced_as_they_are(mosaic, rng):
    shifted = {"protein": sp.csr_array(rng.normal(size=mosaic.counts["protein"].shape) * mosaic.measured[["protein"]].to_numpy())}
    signed = without(replace(mosaic, counts=mosaic.counts | shifted, likelihoods={"protein": "normal"}), "rna", "atac")
    found = run("pca", signed).embedding
    values = signed.counts["protein"].toarray()
    expected = np.linalg.svd(values - values.mean(axis=0))[1]
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), expected[: found.shape[1]], rtol=1e-4)


def test_embeddings_are_joined_by_cell_id(tmp_path, rng):
    """Cells and batches in another order, and the same scores."""
    mosaic = small_mosaic()
    n = len(mosaic.cells)
    label = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    x = np.eye(3)[np.searchsorted(["a", "b", "c"], label)] + 0.3 * rng.normal(size=(n, 3))
    batch, pattern = mosaic.obs["batch"].to_numpy(), mosaic.patterns.to_numpy()
    order = np.argsort(-np.unique(batch, return_inverse=True)[1] * n - rng.permutation(n))  # batches backwards, cells at random
    tables = []
    for name, rows in (("as_it_is", np.arange(n)), ("changed", order)):
        there = mosaic.take(rows)
        save_embedding(tmp_path / name, there, there.take(there.cells[:0]), methods.Result(x[rows]), {}, {}, {})
        adata = read_embedding(tmp_path / name, mosaic.cells)
        scores = integration_scores(adata.obsm["X_emb"], label, batch, pattern, x)
        tables.append({s.metric: s.value for s in scores if s.group == "all"})
    assert tables[0] == pytest.approx(tables[1], abs=1e-12, nan_ok=True)
    assert np.isfinite(tables[0]["total"])


def test_what_a_file_declares_is_read_without_importing_it():
    for method in known_methods():
        module = __import__(f"mmaavi.methods.{method}", fromlist=["run"])
        assert availability.declared(method, "PACKAGES", ()) == getattr(module, "PACKAGES", ())
        assert availability.environment(method) == getattr(module, "ENVIRONMENT", "main")
        assert module.__doc__, method
        assert len(inspect.getsource(module).splitlines()) < 100, method


def imported_packages(*files: str) -> set[str]:
    """What files of the project import as they are loaded, through all of its modules, beyond the standard library."""
    found = set()
    for file in with_imports(*(ROOT / f for f in files)):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.split(".")[0] for name in names}
    return found - sys.stdlib_module_names - {"mmaavi", "__future__"}


def test_every_environment_holds_what_its_methods_import():
    distribution = {
        "scvi": "scvi-tools", "sklearn": "scikit-learn", "torch": "pytorch", "yaml": "pyyaml", "MultiMAP": "multimap",
        "matplotlib": "matplotlib-base", "igraph": "python-igraph",
    }  # fmt: skip
    for method in sorted(known_methods()):
        text = (ROOT / f"envs/{availability.environment(method)}.yaml").read_text()
        pinned = [p if isinstance(p, str) else p["pip"] for p in yaml.safe_load(text)["dependencies"]]
        names = {re.split("[= ]", p)[0].lower() for part in pinned for p in ([part] if isinstance(part, str) else part)}
        names |= {"pytorch"} if "torch" in names else set()
        loaded = imported_packages("workflow/scripts/integrate.py", f"src/mmaavi/methods/{method}.py")
        loaded -= {"triton"}  # which comes with torch's GPU builds, and is asked for there alone
        for package in {*availability.declared(method, "PACKAGES", ()), *loaded}:
            assert distribution.get(package, package).lower() in names, (method, package)


def test_the_packages_of_a_method_are_kept_with_their_versions(monkeypatch):
    from mmaavi.methods import pca

    assert methods.versions("pca") == ""
    monkeypatch.setattr(pca, "PACKAGES", ("sklearn", "scipy"), raising=False)
    assert methods.versions("pca") == f"scikit-learn {version('scikit-learn')}, scipy {version('scipy')}"


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(availability, "find_spec", lambda package: None)
    assert availability.not_installed(["pca", "multivi"]) == {"multivi": "scvi not installed here"}
    monkeypatch.setattr(availability, "find_spec", lambda package: "somewhere")
    assert availability.not_installed(["pca", "multivi"]) == {}


def test_a_failed_run_is_one_with_a_log_and_without_what_it_is_the_log_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [Run("d", "full", "pca", "default", seed) for seed in range(4)]
    for run, log, output in [
        (runs[0], None, None),  # never tried
        (runs[1], "integrate", None),
        (runs[2], "score", "embedding.h5ad"),
        (runs[3], "score", "scores.tsv"),
    ]:
        folder = tmp_path / run.folder
        folder.mkdir(parents=True)
        if log:
            file = tmp_path / f"{run.folder.replace('results', f'logs/{log}')}.log"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("INFO starts\nValueError: it broke\n\n")
        for name in {None: (), "embedding.h5ad": (output,), "scores.tsv": ("embedding.h5ad", output)}[output]:
            (folder / name).touch()
    assert availability.failures(runs) == dict.fromkeys(runs[1:3], "ValueError: it broke")


def test_presets_know_all_methods():
    config = yaml.safe_load((ROOT / "config/peers.yaml").read_text())
    assert set(config["variants"]) == set(known_methods())
    assert {m for e in config["experiments"].values() for m in e["methods"]} == set(known_methods())
    table = pd.read_csv(ROOT / "envs/peers.lock", comment="#", header=None)[0]
    assert table.str.fullmatch(r"[\w.-]+==[\w.]+").all()

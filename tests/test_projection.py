"""StabMap: exact where the data are, whatever the axes of the reference, along the shortest path."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import small_mosaic

from mmaavi import methods, scenarios
from mmaavi.methods import stabmap
from mmaavi.projection import Dataset, carry, datasets_of, moments_of, pca, topology

BLOCK = 30


def dataset_of(values: sp.csr_array, has: np.ndarray) -> Dataset:
    """Values as they are, neither centred nor scaled."""
    return Dataset(np.arange(values.shape[0]), values, has, np.zeros(len(has)), np.ones(len(has)))


def chain(rng, n_cells: int, rank: int = 6) -> tuple[list[Dataset], list[np.ndarray]]:
    """Three datasets of exact rank, whose first and last share no feature; and their latent states."""
    loadings = rng.normal(size=(rank, 4 * BLOCK))
    states = [rng.normal(size=(n_cells, rank)) for _ in range(3)]
    found = []
    for i, z in enumerate(states):
        has = np.zeros(4 * BLOCK, dtype=bool)
        has[i * BLOCK : (i + 2) * BLOCK] = True
        found.append(dataset_of(sp.csr_array((z @ loadings + 1.5) * has), has))
    return found, states


def affine(states: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(states)), states])


@pytest.mark.parametrize("n_cells", [25, 200], ids=["fewer cells than features", "more cells than features"])
def test_exact_low_rank_data_are_recovered_across_two_hops(rng, n_cells):
    datasets, states = chain(rng, n_cells)
    first = datasets[0].values[:, datasets[0].has]
    scores = pca(first, 50).transform(first)
    by_state = np.linalg.lstsq(affine(states[0]), scores, rcond=None)[0]
    np.testing.assert_allclose(affine(states[0]) @ by_state, scores, atol=1e-6)  # the scores are of the states alone
    np.testing.assert_allclose(carry(datasets, scores), affine(states[2]) @ by_state, atol=1e-6)


@pytest.mark.parametrize("n_cells", [25, 200])
def test_turning_the_reference_turns_what_is_carried(rng, n_cells):
    datasets, _ = chain(rng, n_cells)
    scores = rng.normal(size=(n_cells, 10))
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    np.testing.assert_allclose(carry(datasets, scores @ turn), carry(datasets, scores) @ turn, atol=1e-8)


def test_turning_the_axes_of_all_references_changes_no_distance(mosaic, monkeypatch):
    plain = stabmap.run(mosaic, 0)
    rng = np.random.default_rng(0)

    class Turned:
        def __init__(self, *arguments):
            self.axes = pca(*arguments)
            self.turn = np.linalg.qr(rng.normal(size=(self.axes.n_components_, self.axes.n_components_)))[0]

        def transform(self, x):
            return self.axes.transform(x) @ self.turn

    monkeypatch.setattr(stabmap, "pca", Turned)
    turned = stabmap.run(mosaic, 0)
    assert not np.allclose(turned.embedding, plain.embedding, atol=0.1)
    np.testing.assert_allclose(distances(turned.embedding), distances(plain.embedding), atol=1e-6)
    without = mosaic.cells[~mosaic.measured["rna"]]
    np.testing.assert_allclose(turned.impute(mosaic.take(without), "rna"), plain.impute(mosaic.take(without), "rna"))


def test_features_are_centred_and_scaled_in_their_batch(mosaic):
    depth = dict.fromkeys(mosaic.modalities, 100.0)
    scaled = datasets_of(mosaic, depth, moments_of(mosaic, depth))
    for name, plain in datasets_of(mosaic, depth, None).items():
        dense, found = plain.values.toarray(), scaled[name]
        varies = plain.has & (dense.std(axis=0) > 0)
        np.testing.assert_array_equal(found.has, varies)
        expected = (dense - dense.mean(axis=0))[:, varies] / dense.std(axis=0)[varies]
        np.testing.assert_allclose((found.values.toarray() - found.mean)[:, varies], expected, atol=1e-5)
        assert plain.has.sum() == sum(n for m, n in mosaic.n_features.items() if mosaic.measured[m].iloc[plain.rows[0]])


def test_the_path_has_the_fewest_hops_and_then_shares_most():
    def dataset(*features):
        return dataset_of(sp.csr_array((2, 12)), np.isin(np.arange(12), features))

    datasets = {
        "a": dataset(0, 1, 2, 3, 4, 5, 6),
        "few": dataset(0, 7),
        "many": dataset(1, 2, 3, 8, 9),
        "b": dataset(7, 8, 9, 10),
        "far": dataset(10, 11),
    }
    graph = topology(datasets)
    assert nx.shortest_path(graph, "a", "b", weight="cost") == ["a", "many", "b"]
    direct = topology(datasets | {"b": dataset(6, 7, 8, 9, 10)})
    assert nx.shortest_path(direct, "a", "b", weight="cost") == ["a", "b"]
    assert "far" not in nx.descendants(topology({k: datasets[k] for k in ("a", "many", "far")}), "a")


def distances(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:60, None] - x[None, :60], axis=2)


@pytest.mark.parametrize("method", ["stabmap", "pca"])
def test_the_order_of_cells_and_the_names_of_batches_do_not_matter(mosaic, method):
    order = np.random.default_rng(1).permutation(len(mosaic.cells))
    renamed = mosaic.obs.assign(batch=mosaic.obs["batch"].map({"batch1": "z", "batch2": "y", "batch3": "x"}))
    changed = replace(mosaic, obs=renamed).take(order)
    run = methods.load_method(method)
    x, y = run(mosaic, 0).embedding, run(changed, 0).embedding
    np.testing.assert_allclose(distances(x), distances(y[np.argsort(order)]), rtol=1e-3, atol=1e-3)


def test_cells_seen_again_land_where_they_were(mosaic):
    result = stabmap.run(mosaic, 0)
    few = mosaic.take(np.arange(0, len(mosaic.cells), 7))
    np.testing.assert_allclose(result.embed(few), result.embedding[::7], atol=1e-6)


@pytest.mark.parametrize("scale", [True, False])
def test_cells_are_embedded_from_a_modality_that_their_batch_never_showed(mosaic, scale):
    seen, truth = scenarios.hide(mosaic, {"batch1": ["rna"]})
    result = stabmap.run(seen, 0, scale=scale)
    hidden = scenarios.only(seen, truth, "rna")
    found = result.embed(hidden)
    assert found.shape == (len(hidden.cells), result.embedding.shape[1])
    assert np.isfinite(found).all()


def test_labels_add_discriminants_that_tell_them_apart():
    mosaic = small_mosaic(seed=3)
    high = pd.Series(np.where(mosaic.counts["protein"].sum(axis=1) > 0, "a", "b"), index=mosaic.cells)
    rng = np.random.default_rng(0)
    label = pd.Series(np.where(stabmap.run(mosaic, 0).embedding[:, 0] > 0, "up", "down"), index=mosaic.cells)
    partly = label.where(rng.random(len(label)) < 0.5)
    without, supervised = (stabmap.run(mosaic, 0, labels=given).embedding for given in (None, partly))
    assert supervised.shape[1] == without.shape[1] + len(mosaic.batches)  # two labels: one discriminant a reference
    assert high.nunique() == 2
    added = [i for i in range(supervised.shape[1]) if not np.isclose(supervised[:, [i]], without).all(axis=0).any()]
    hidden = partly.isna().to_numpy()
    up = (label == "up").to_numpy()[hidden]
    gap = supervised[hidden][:, added]
    assert (abs(gap[up].mean(axis=0) - gap[~up].mean(axis=0)) > gap[up].std(axis=0)).all()

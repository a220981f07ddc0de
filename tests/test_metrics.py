import os

import numpy as np
import pandas as pd
import pytest
from scib_metrics.nearest_neighbors import NeighborsResults
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from mmaavi import metrics
from mmaavi.scores import AGGREGATES, BATCH, BIO, MOSAIC, summarise


def cells(rng, separation: float, shift: float, n: int = 240):
    labels, batch = rng.choice(["a", "b", "c"], n), rng.choice(["x", "y"], n)
    centres = {"a": (0, 0, 0), "b": (separation, 0, 0), "c": (0, separation, 0)}
    x = np.array([centres[label] for label in labels]) + rng.normal(size=(n, 3))
    x[:, 2] += shift * (batch == "x")
    return x.astype(np.float32), labels, batch


def by_metric(scores):
    return {s.metric: s for s in scores if s.group == "all"}


@pytest.fixture
def unmixed(rng):
    return cells(rng, separation=0, shift=8)[0]


def test_good_embeddings_score_above_bad_ones(rng):
    x, labels, batch = cells(rng, separation=10, shift=0)
    unmixed = rng.normal(size=x.shape).astype(np.float32)
    unmixed[:, 2] += 8 * (batch == "x")
    good = by_metric(metrics.integration_scores(x, labels, batch, batch, unmixed))
    bad = by_metric(metrics.integration_scores(unmixed, labels, batch, batch, unmixed))
    for metric in [*BIO, *BATCH, *AGGREGATES, *MOSAIC]:
        assert good[metric].value > bad[metric].value, metric
        assert good[metric].note == "", metric


def test_the_total_weighs_the_families_as_scib_metrics_does(rng, unmixed):
    x, labels, batch = cells(rng, separation=3, shift=1)
    scores = by_metric(metrics.integration_scores(x, labels, batch, batch, unmixed))
    bio, correction = (np.mean([scores[m].value for m in family]) for family in (BIO, BATCH))
    assert scores["total"].value == pytest.approx(0.6 * bio + 0.4 * correction)
    assert scores["silhouette_label"].value == pytest.approx((silhouette_score(x, labels) + 1) / 2, abs=1e-4)


def test_neighbours_are_exact_with_the_cell_itself_first(rng):
    x = rng.normal(size=(50, 4))
    near = metrics.neighbours(x, 7)
    distances = np.sort(cdist(x, x), axis=1)[:, :7]
    np.testing.assert_allclose(near.distances, distances, atol=1e-6)
    np.testing.assert_array_equal(near.indices[:, 0], np.arange(50))


def test_undefined_scores_are_missing_with_a_reason_and_stop_nothing(rng, unmixed):
    x, labels, batch = cells(rng, separation=10, shift=0)
    apart = np.where(labels == "a", "x", "y")  # each label in one batch only
    scores = by_metric(metrics.integration_scores(x, labels, apart, np.full(len(x), "rna"), unmixed))
    for metric in ("bras", "ilisi_pattern"):
        assert np.isnan(scores[metric].value)
        assert scores[metric].note
    assert "bras" in scores["batch"].note
    assert np.isfinite(scores["silhouette_label"].value)


def test_without_labels_the_scores_that_need_them_are_missing(rng, unmixed):
    x, _, batch = cells(rng, separation=10, shift=0)
    scores = by_metric(metrics.integration_scores(x, None, batch, batch, unmixed))
    assert scores["silhouette_label"].note == "the dataset has no labels"
    assert np.isfinite(scores["ilisi"].value)
    assert np.isnan(scores["total"].value)


def test_label_transfer_asks_only_for_labels_that_the_reference_has(rng):
    x, labels, batch = cells(rng, separation=12, shift=0)
    labels = np.where((labels == "c") & (batch == "x"), "only_x", labels)
    scores = {s.group: s.value for s in metrics.label_transfer(x, labels, batch)}
    assert scores["from y"] == pytest.approx(1.0)
    assert scores["all"] == pytest.approx((scores["from x"] + scores["from y"]) / 2)


def test_matching_agrees_with_brute_force(rng):
    x = rng.normal(size=(50, 3))
    y = x + 0.7 * rng.normal(size=(50, 3))
    hidden = np.arange(50) < 40  # the other ten were seen whole, and do not count
    d = cdist(x[:40], y[:40])
    own = np.diag(d)
    closer = np.concatenate([(d < own[:, None]).sum(axis=1), (d < own).sum(axis=0)])
    third = np.full_like(x, np.nan)
    third[:10] = y[:10]
    none = np.zeros(50, dtype=bool)
    scores = metrics.matching_scores({"a": x, "b": y, "c": third}, {"a": hidden, "b": none, "c": hidden})
    value = {(s.metric, s.group): s.value for s in scores}
    assert value["foscttm", "a - b"] == pytest.approx(closer.mean() / 39)
    assert value["matching", "a - b"] == pytest.approx((closer < 10).mean())
    assert value["foscttm", "b - c"] == 0  # of the ten cells that have both
    pairs = [value["foscttm", pair] for pair in ("a - b", "a - c", "b - c")]
    assert value["foscttm", "all"] == pytest.approx(np.mean(pairs))


def test_matching_is_zero_for_the_same_points_and_half_by_chance(rng):
    x, hidden = rng.normal(size=(500, 3)), np.ones(500, dtype=bool)
    both = {"a": hidden, "b": hidden}
    assert metrics.matching_scores({"a": x, "b": x}, both)[0].value == 0
    assert metrics.matching_scores({"a": x, "b": rng.permutation(x)}, both)[0].value == pytest.approx(0.5, abs=0.05)
    assert metrics.matching_scores({}, {}) == []


def test_matching_of_some_of_the_cells_says_of_how_many(rng):
    x, hidden = rng.normal(size=(50, 3)), {"a": np.ones(50, dtype=bool), "b": np.zeros(50, dtype=bool)}
    assert {s.note for s in metrics.matching_scores({"a": x, "b": x}, hidden)} == {""}
    drawn = x.copy()
    drawn[30:] = np.nan
    assert {s.note for s in metrics.matching_scores({"a": drawn, "b": drawn}, hidden)} == {"of 30 cells", "of some cells"}


def test_the_interval_is_students(rng):
    table = pd.DataFrame({"method": "m", "seed": [0, 1, 2], "value": [0.1, 0.2, 0.6]})
    (row,) = summarise(table, ["method"]).to_dict("records")
    half = 4.302653 * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3)
    assert row["mean"] == pytest.approx(0.3)
    assert row["high"] - row["mean"] == pytest.approx(half, rel=1e-5)
    single = summarise(table.iloc[:1], ["method"]).iloc[0]
    assert single["n_seeds"] == 1
    assert np.isnan(single["low"])


def test_too_few_labelled_cells_are_said_so(rng):
    groups = np.repeat(["a", "b"], 10)
    scores = metrics.integration_scores(rng.normal(size=(20, 3)), groups, groups, groups, rng.normal(size=(20, 3)))
    assert all(np.isnan(s.value) and "20 cells with a label are too few" in s.note for s in scores)


def brute_force(x: np.ndarray, n_neighbors: int, random_state: int, n_jobs: int) -> NeighborsResults:
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x).kneighbors(x)
    return NeighborsResults(indices=indices, distances=distances)


def test_many_cells_are_scored_by_a_sample_of_each_label_in_each_batch(rng, monkeypatch):
    labels = rng.choice(["a", "b", "c"], 3000, p=[0.7, 0.25, 0.05])
    batch = rng.choice(["x", "y"], 3000)
    x = rng.normal(size=(3000, 5)) + np.array([[{"a": 0.0, "b": 4.0, "c": 8.0}[label]] for label in labels])
    exact = metrics.neighbours(x, 20).indices
    if "MMAAVI_TEST_SCALE" not in os.environ:  # a minute of compilation: make test-scale
        monkeypatch.setattr(metrics, "pynndescent", brute_force)
    monkeypatch.setattr(metrics, "MOST_EXACT", 1000)
    monkeypatch.setattr(metrics, "N_SAMPLED", 400)
    part = metrics.sampled(labels, batch)
    assert len(np.unique(part)) == len(part)
    np.testing.assert_array_equal(part, metrics.sampled(labels, batch))
    of_all, of_part = (pd.Series(a).value_counts() for a in (labels + batch, (labels + batch)[part]))
    assert ((of_part - of_all * 400 / 3000).abs() <= 1).all()
    found = metrics.neighbours(x, 20).indices
    assert np.mean([len(set(a) & set(b)) for a, b in zip(exact, found, strict=True)]) > 0.95 * 20
    scores = by_metric(metrics.integration_scores(x, labels, batch, batch, x))
    assert "of 40" in scores["silhouette_label"].note
    assert scores["clisi"].note == "approximate neighbours"
    assert scores["total"].note.startswith("partly of 40")
    assert abs(scores["silhouette_label"].value - (silhouette_score(x, labels) + 1) / 2) < 0.02
    assert min(scores[name].value for name in ("leiden_ari", "label_transfer", "graph_connectivity")) > 0.9
    assert min(scores[name].value for name in ("ilisi", "kbet", "bras")) > 0.75

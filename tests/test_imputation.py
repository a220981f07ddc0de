from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mmaavi import scenarios
from mmaavi.imputation import imputation_scores, knn_imputed
from mmaavi.methods import Result


@pytest.fixture
def hidden(mosaic):
    return scenarios.hide(mosaic, {"batch1": ["atac"]})


def by_group(scores):
    return {(s.metric, s.group): s.value for s in scores}


def test_scores_are_scipys_and_sklearns(hidden, rng):
    seen, truth = hidden
    guess = rng.random((len(truth.cells), truth.n_features["atac"]))
    given = by_group(imputation_scores(seen, truth, Result(np.zeros((len(seen.cells), 2)), impute=lambda _cells, _m: guess)))
    real = truth.counts["atac"].toarray()
    share = real / real.sum(axis=1, keepdims=True)
    per_cell = [spearmanr(a, b).statistic for a, b in zip(share, guess, strict=True)]
    assert given["impute_cell", "atac"] == pytest.approx(np.mean(per_cell))
    varying = [g for g in range(real.shape[1]) if real[:, g].any()]
    guess_share = guess / guess.sum(axis=1, keepdims=True)
    per_feature = [spearmanr(share[:, g], guess_share[:, g]).statistic for g in varying]
    assert given["impute_feature", "atac"] == pytest.approx(np.mean(per_feature), abs=1e-6)
    auroc = [roc_auc_score(a > 0, b) for a, b in zip(real, guess, strict=True)]
    assert given["impute_auroc", "atac"] == pytest.approx(np.mean(auroc))


def test_perfect_values_score_one_and_the_mean_profile_has_no_correlation_over_cells(hidden):
    seen, truth = hidden
    perfect = truth.counts["atac"].toarray()
    perfect = perfect / perfect.sum(axis=1, keepdims=True)
    given = by_group(imputation_scores(seen, truth, Result(np.zeros((len(seen.cells), 2)), impute=lambda _cells, _m: perfect)))
    assert given["impute_cell", "atac"] == pytest.approx(1)
    assert given["impute_feature", "atac"] == pytest.approx(1)
    assert given["impute_auroc", "atac"] == pytest.approx(1)
    assert given["impute_feature", "atac: mean profile"] == pytest.approx(0, abs=1e-9)
    assert 0 < given["impute_cell", "atac: mean profile"] < 1


def test_the_depth_of_a_cell_in_the_imputed_counts_changes_no_score(hidden, rng):
    seen, truth = hidden
    guess = rng.random((len(truth.cells), truth.n_features["atac"]))
    nowhere = np.zeros((len(seen.cells), 2))
    deep, alike = (
        by_group(imputation_scores(seen, truth, Result(nowhere, impute=lambda _cells, _m, x=x: x)))
        for x in (guess * rng.gamma(1.0, size=(len(guess), 1)), guess)
    )
    assert deep == pytest.approx(alike, nan_ok=True)


def test_scores_of_some_cells_say_so(hidden, monkeypatch):
    seen, truth = hidden
    result = Result(np.random.default_rng(0).normal(size=(len(seen.cells), 2)))
    assert {s.note for s in imputation_scores(seen, truth, result)} == {""}
    monkeypatch.setattr("mmaavi.imputation.MOST_CELLS", 20)
    assert {s.note for s in imputation_scores(seen, truth, result)} == {"of 20 cells"}


def test_neighbours_are_those_that_have_the_modality(mosaic):
    """Cells without RNA sit exactly on one cell that has it: with one neighbour, they get its profile."""
    has = np.flatnonzero(mosaic.measured["rna"])
    lacks = np.flatnonzero(~mosaic.measured["rna"])
    embedding = np.random.default_rng(0).normal(size=(len(mosaic.cells), 3))
    few = mosaic.take(np.concatenate([has[:3], lacks[:2]]))
    places = embedding[:5].copy()
    places[3:] = places[1]
    imputed = knn_imputed(few, places, few.cells[3:], "rna")
    shares = few.counts["rna"][:3].toarray()
    shares = shares / shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(imputed, np.tile(shares.mean(axis=0), (2, 1)), rtol=1e-6)  # 3 cells: all are neighbours


def test_values_with_a_sign_are_averaged_as_they_are(hidden):
    seen, truth = (replace(m, likelihoods={"atac": "normal"}) for m in hidden)
    seen = replace(seen, counts=seen.counts | {"atac": seen.counts["atac"] * -1.0})
    mean = seen.counts["atac"][np.flatnonzero(seen.measured["atac"])].toarray().mean(axis=0)
    imputed = knn_imputed(seen, np.zeros((len(seen.cells), 2)), truth.cells[:1], "atac", n_neighbours=len(seen.cells))
    np.testing.assert_allclose(imputed[0], mean, rtol=1e-5)


def test_nothing_hidden_gives_no_scores(mosaic):
    truth = replace(mosaic, counts={m: sp.csr_array(x.shape) for m, x in mosaic.counts.items()}).take(mosaic.cells[:0])
    assert imputation_scores(mosaic, truth, Result(np.zeros((len(mosaic.cells), 2)))) == []

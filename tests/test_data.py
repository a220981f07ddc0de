from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from mmaavi.data import MosaicData
from mmaavi.features import LARGEST_Z_SCORE
from mmaavi.sparse import SparseRows


@pytest.fixture(scope="module")
def data(mosaic):
    return MosaicData(mosaic, mosaic.batches)


def dense(rows: SparseRows) -> np.ndarray:
    return rows.matmul(torch.eye(rows.n_columns)).numpy()


def test_a_minibatch_holds_the_counts_of_its_cells(mosaic, data, rng):
    batch = data.minibatch(rng.choice(len(mosaic.cells), 50, replace=False))
    for m, x in batch.modalities.items():
        cells = batch.cells[x.rows].numpy()
        assert mosaic.measured[m].to_numpy()[cells].all()
        assert len(cells) == mosaic.measured[m].to_numpy()[batch.cells.numpy()].sum()
        counts = mosaic.counts[m][cells].toarray()
        np.testing.assert_array_equal(dense(x.counts), counts)
        np.testing.assert_allclose(x.log_depth, np.log(counts.sum(axis=1)), rtol=1e-6)
        np.testing.assert_allclose(x.log_factorial, gammaln(counts + 1).sum(axis=1), rtol=1e-5)
        assert [mosaic.batches[b] for b in x.batch] == list(mosaic.obs["batch"].iloc[cells])


def test_inputs_are_z_scores_of_depth_normalised_log_counts_within_each_batch(mosaic, data):
    batch = data.minibatch(np.arange(len(mosaic.cells)))
    for m, x in batch.modalities.items():
        cells = batch.cells[x.rows].numpy()
        counts = mosaic.counts[m][cells].toarray().astype(float)
        target = np.median(mosaic.counts[m].sum(axis=1)[mosaic.measured[m].to_numpy()])
        log = np.log1p(counts * target / counts.sum(axis=1, keepdims=True))
        number = x.batch.numpy()
        expected = np.empty_like(log)
        for b in np.unique(number):
            part = log[number == b]
            sd = part.std(axis=0)
            expected[number == b] = (part - part.mean(axis=0)) / np.where(sd > 0, sd, 1)
        given = dense(x.inputs) + x.zeros.numpy()[number]
        np.testing.assert_allclose(given, np.clip(expected, -LARGEST_Z_SCORE, LARGEST_Z_SCORE), atol=2e-3)


def test_an_epoch_draws_the_same_number_from_each_batch_and_covers_the_largest(mosaic, data):
    cells = np.flatnonzero((mosaic.obs["batch"] != "batch2") | (np.arange(len(mosaic.cells)) % 4 == 0))
    size = mosaic.obs["batch"].iloc[cells].value_counts()
    seen: Counter = Counter()
    steps = list(data.epoch(cells, 30, torch.Generator().manual_seed(0)))
    assert len(steps) == data.steps_per_epoch(cells, 30)
    for batch in steps:
        assert len(set(Counter(batch.batch.tolist()).values())) == 1
        seen.update(batch.cells.tolist())
    assert set(seen) == set(cells.tolist())  # smaller batches are drawn again, none is left out
    small = [seen[c] for c in cells if mosaic.obs["batch"].iloc[c] == "batch2"]
    assert max(small) - min(small) <= 1
    assert np.mean(small) > size.max() / size.min() - 0.5


def test_a_modality_of_few_cells_has_two_of_them_in_every_minibatch(mosaic):
    few = mosaic.measured.copy()
    rows = np.flatnonzero(few["protein"])
    few.iloc[rows[4:], few.columns.get_loc("protein")] = False
    few.iloc[rows[4:], few.columns.get_loc("rna")] = True
    data = MosaicData(mosaic.with_measured(few), mosaic.batches)
    for batch in data.epoch(np.arange(data.n_cells), 30, torch.Generator().manual_seed(0)):
        assert len(batch.modalities["protein"].rows) >= 2


def test_every_cell_comes_once_in_order(mosaic, data):
    seen = torch.cat([b.cells for b in data.in_order(np.arange(len(mosaic.cells)), 64)])
    assert sorted(seen.tolist()) == list(range(len(mosaic.cells)))


def test_a_batch_without_a_modality_gets_the_average_scaling(mosaic, data):
    scaling = data.scaling["protein"]  # not in batch1
    np.testing.assert_allclose(scaling.mean[0], scaling.mean[1:].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaling.sd[0], scaling.sd[1:].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["pca", "lsi"])
def test_reduced_inputs_are_fitted_across_batches_and_scored_within(mosaic, reduction):
    reduced = MosaicData(replace(mosaic, inputs={"rna": reduction}), mosaic.batches)
    scaling = reduced.scaling["rna"]
    batch = reduced.minibatch(np.arange(len(mosaic.cells)))
    x = batch.modalities["rna"]
    cells = batch.cells[x.rows].numpy()
    counts = mosaic.counts["rna"][cells].toarray().astype(float)
    n = len(counts)
    if reduction == "pca":
        log = np.log1p(counts * np.median(counts.sum(axis=1)) / counts.sum(axis=1, keepdims=True))
        axes = np.linalg.svd(log - log.mean(axis=0))[2]
    else:
        idf = np.log1p(n / (1 + (counts > 0).sum(axis=0)))
        log = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True) * idf)
        axes = np.linalg.svd(log)[2]
    assert scaling.axes.shape == (40, 39)
    np.testing.assert_allclose(abs((scaling.axes[:, :5] * axes[:5].T).sum(axis=0)), 1, atol=1e-3)
    given = dense(x.inputs) + x.zeros.numpy()[x.batch.numpy()]
    for b in np.unique(x.batch.numpy()):
        part = given[x.batch.numpy() == b]
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-2)
        np.testing.assert_allclose(part.std(axis=0), 1, atol=2e-2)
    np.testing.assert_array_equal(dense(x.counts), counts)  # what is decoded stays as measured

"""A mosaic on disk gives what the same mosaic in memory gives."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmaavi import checks, stored
from mmaavi.cell_values import BLOCK_CELLS, read_ahead, shuffled_blocks, shuffled_windows
from mmaavi.data import COPIES, MosaicData
from mmaavi.estimator import MMAAVI
from mmaavi.features import fit_scaling
from mmaavi.markers import measured_by_cluster
from mmaavi.methods import pca
from mmaavi.mosaic import Mosaic, load
from mmaavi.principal_axes import principal_axes
from mmaavi.settings import Settings
from mmaavi.stored import BYTES_AN_ENTRY, StoredCounts, column_sizes, in_memory, row_blocks, row_sums
from mmaavi.summary import blocks


@pytest.fixture(scope="module")
def path(mosaic, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "mosaic.h5mu"
    mosaic.save(path)
    return path


@pytest.fixture
def on_disk(path) -> Mosaic:
    return load(path, memory_gib=0)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(stored, "BLOCK_ENTRIES", 500)


def memory_for(mosaic: Mosaic, n_cells: int) -> float:
    """GiB in which so many cells are held at a time."""
    a_cell = sum(x.nnz for x in mosaic.counts.values()) / len(mosaic.cells)
    return n_cells * a_cell * BYTES_AN_ENTRY * COPIES / 2**30 + 1e-9


def test_what_lies_on_disk_is_saved_as_it_is(mosaic, on_disk, small_blocks, tmp_path):
    kept = {m: np.arange(n) % 3 > 0 for m, n in mosaic.n_features.items()}
    on_disk.take(np.arange(0, 200, 2)).take_features(kept).save(tmp_path / "part.h5mu")
    part, expected = load(tmp_path / "part.h5mu"), mosaic.take(np.arange(0, 200, 2)).take_features(kept)
    for m, x in expected.counts.items():
        np.testing.assert_array_equal(part.counts[m].toarray(), x.toarray())
    assert part.measured.equals(expected.measured)


def test_what_is_large_stays_on_disk_and_nothing_else(mosaic, path):
    needed = sum(x.nnz for x in mosaic.counts.values()) * BYTES_AN_ENTRY / 2**30
    assert all(isinstance(x, StoredCounts) for x in load(path, memory_gib=0.99 * needed).counts.values())
    assert not any(isinstance(x, StoredCounts) for x in load(path, memory_gib=1.01 * needed).counts.values())


def test_rows_and_columns_are_those_of_the_matrix_in_memory(mosaic, on_disk, rng):
    for m, x in mosaic.counts.items():
        y = on_disk.counts[m]
        rows, columns = rng.choice(x.shape[0], 40), rng.choice(x.shape[1], 7, replace=False)
        assert y.shape == x.shape
        np.testing.assert_array_equal(y.read().toarray(), x.toarray())
        np.testing.assert_array_equal(y[rows].read().toarray(), x[rows].toarray())  # in any order, some twice
        np.testing.assert_array_equal(y[:, columns][rows].read().toarray(), x[rows][:, columns].toarray())
        mask = rng.random(x.shape[1]) < 0.3
        np.testing.assert_array_equal(y[rows][:, mask].read().toarray(), x[rows][:, mask].toarray())
        np.testing.assert_array_equal(y[:0].read().toarray(), x[:0].toarray())
        half = rng.random(x.shape[0]) < 0.5
        np.testing.assert_array_equal(y.without(half).read().toarray(), np.where(half[:, None], 0, x.toarray()))


def test_blocks_of_rows_are_the_matrix(mosaic, on_disk, small_blocks):
    for m, x in mosaic.counts.items():
        blocks = list(row_blocks(on_disk.counts[m]))
        assert len(blocks) > 3
        np.testing.assert_array_equal(np.concatenate([b.toarray() for _, b in blocks]), x.toarray())
        assert [rows.start for rows, _ in blocks[1:]] == [rows.stop for rows, _ in blocks[:-1]]
        np.testing.assert_allclose(row_sums(on_disk.counts[m]), x.sum(axis=1), rtol=1e-6)
        np.testing.assert_array_equal(column_sizes(on_disk.counts[m]), (x.toarray() > 0).sum(axis=0))


def test_values_are_scaled_alike(mosaic, on_disk, small_blocks):
    batch = np.array([mosaic.batches.index(b) for b in mosaic.obs["batch"]])
    inputs = {"rna": "lsi", "atac": "pca"}
    ours, theirs = (fit_scaling(replace(x, inputs=inputs), batch, 3) for x in (on_disk, mosaic))
    for m in mosaic.modalities:
        for name in ("depth", "weight", "start", "known"):
            np.testing.assert_allclose(getattr(ours[m], name), getattr(theirs[m], name), rtol=1e-5)
    np.testing.assert_allclose(ours["protein"].mean, theirs["protein"].mean, rtol=1e-5)
    np.testing.assert_allclose(ours["protein"].sd, theirs["protein"].sd, rtol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_the_axes_of_a_matrix_on_disk_are_the_exact_ones(mosaic, on_disk, small_blocks, centred):
    x = mosaic.counts["rna"].toarray().astype(np.float64)
    exact = np.linalg.svd(x - centred * x.mean(axis=0))[2][:5].T
    found = principal_axes(on_disk.counts["rna"], lambda block: block, 5, centred)
    np.testing.assert_allclose(abs((found * exact).sum(axis=0)), 1, atol=1e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_the_zero_filled_pca_is_that_of_memory(mosaic, on_disk, small_blocks, centred):
    ours, exact = (pca.run(x, seed=0, n_latent=5, centred=centred).embedding for x in (on_disk, mosaic))
    for a, b in zip(ours.T, exact.T, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) > 1 - 1e-4
        np.testing.assert_allclose(a.std(), b.std(), rtol=1e-3)


def test_minibatches_of_an_epoch_are_balanced_whole_and_right(mosaic, on_disk):
    data = MosaicData(on_disk, on_disk.batches, memory_gib=memory_for(mosaic, 70))
    cells = np.arange(len(mosaic.cells))
    seen: Counter = Counter()
    orders = []
    for seed in (0, 1):
        steps = list(data.epoch(cells, 30, torch.Generator().manual_seed(seed)))
        orders.append(torch.cat([b.cells for b in steps]))
    assert len(steps) == data.steps_per_epoch(cells, 30)
    assert not torch.equal(*orders)
    for batch in steps:
        assert len(set(Counter(batch.batch.tolist()).values())) == 1
        seen.update(batch.cells.tolist())
        for m, x in batch.modalities.items():
            of = batch.cells[x.rows].numpy()
            np.testing.assert_array_equal(x.counts.to_dense().numpy(), mosaic.counts[m][of].toarray())
            assert [mosaic.batches[b] for b in x.batch] == list(mosaic.obs["batch"].iloc[of])
    assert set(seen) == set(cells.tolist())


def test_no_more_cells_are_held_than_memory_allows(mosaic, on_disk, monkeypatch):
    held = []
    values = MosaicData._values
    monkeypatch.setattr(MosaicData, "_values", lambda self, cells: held.append(len(cells)) or values(self, cells))
    total = sum(np.diff(x.indptr) for x in mosaic.counts.values())
    densest = max(total[(mosaic.groups == g).to_numpy()].mean() for g in mosaic.groups.unique())
    data = MosaicData(on_disk, on_disk.batches, memory_gib=memory_for(mosaic, 70))
    everything = np.arange(len(mosaic.cells))
    n_steps = len(list(data.epoch(everything, 30, torch.Generator().manual_seed(0))))
    assert len(list(data.in_order(everything, 16))) == -(-len(everything) // 16)
    assert max(held) <= 70 * total.mean() / densest
    assert len(held) >= n_steps / 2


def test_a_training_within_an_epoch_goes_on_with_the_same_minibatches(mosaic, on_disk):
    data = MosaicData(on_disk, on_disk.batches, memory_gib=memory_for(mosaic, 70))
    cells = np.arange(len(mosaic.cells))
    whole, rest = (list(data.epoch(cells, 30, torch.Generator().manual_seed(0), n_done=n)) for n in (0, 3))
    assert all(torch.equal(a.cells, b.cells) for a, b in zip(whole[3:], rest, strict=True))


def test_a_checkpoint_of_another_order_of_cells_is_another_trainings(mosaic, on_disk):
    prints = {MosaicData(on_disk, on_disk.batches, memory_gib=memory_for(mosaic, n)).fingerprint for n in (70, 140)}
    assert len(prints | {MosaicData(mosaic, mosaic.batches).fingerprint}) == 3


def test_cells_that_are_empty_without_some_features_are_found_on_disk(mosaic, on_disk):
    few = {m: np.arange(x.shape[1]) == column_sizes(x).argmin() for m, x in mosaic.counts.items()}
    empty = checks.empty_cells(on_disk.take_features(few))
    np.testing.assert_array_equal(empty, checks.empty_cells(mosaic.take_features(few)))
    assert empty.any()


def test_a_fit_from_disk_embeds_as_well_and_alike(mosaic, on_disk):
    settings = Settings(n_components=6, n_steps=40)
    model = MMAAVI(settings, memory_gib=memory_for(mosaic, 100)).fit(on_disk, progress=False)
    from_memory = model.embed(mosaic)
    for name, values in model.embed(on_disk).items():
        np.testing.assert_allclose(values, from_memory[name], rtol=1e-4, atol=1e-5)
    in_memory_fit = MMAAVI(settings).fit(mosaic, progress=False)
    last = [m.history.query("phase == 'validation'")["total"].iloc[-1] for m in (model, in_memory_fit)]
    assert abs(last[0] - last[1]) < 0.02 * last[1]
    few = on_disk.take(np.arange(0, len(mosaic.cells), 7))
    np.testing.assert_allclose(model.impute(few, "atac"), model.impute(few.in_memory(), "atac"), rtol=1e-4)


def test_bad_values_on_disk_are_named_with_their_batch_and_cell(mosaic, tmp_path, small_blocks):
    x = mosaic.counts["rna"].copy()
    row = np.flatnonzero(np.diff(x.indptr))[-1]
    x.data[x.indptr[row]] = -1.0
    broken = replace(mosaic, counts=mosaic.counts | {"rna": x})
    broken.save(tmp_path / "mosaic.h5mu")
    ours = checks.check_trainable(load(tmp_path / "mosaic.h5mu", memory_gib=0))
    assert ours == checks.check_trainable(broken)
    assert mosaic.cells[row] in ours[0]


def test_a_file_that_cannot_be_read_on_ends_the_training(on_disk, mosaic):
    def read(cells):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(read_ahead(read, [np.arange(3)]))
    assert list(read_ahead(lambda cells: cells.sum(), [np.arange(n) for n in range(5)])) == [0, 0, 1, 3, 6]


def test_blocks_stay_together_and_windows_are_shuffled():
    generator = torch.Generator().manual_seed(0)
    n = 10 * BLOCK_CELLS + 5
    order = shuffled_blocks(n, generator)
    assert sorted(order.tolist()) == list(range(n))
    assert (order.diff() == 1).sum() >= n - 12  # consecutive but at the ends of blocks
    mixed = shuffled_windows(order, 100, generator)
    for start in range(0, n, 100):
        assert sorted(mixed[start : start + 100].tolist()) == sorted(order[start : start + 100].tolist())
    assert (mixed.diff() == 1).float().mean() < 0.1


def test_reading_gives_the_mosaic_back(mosaic, on_disk):
    for m, x in on_disk.in_memory().counts.items():
        assert (in_memory(x) != mosaic.counts[m]).nnz == 0


def test_summary_and_markers_are_those_of_the_mosaic_in_memory(mosaic, on_disk, small_blocks):
    nothing = {False: mosaic.take(mosaic.cells[:0]), True: on_disk.take(mosaic.cells[:0])}
    got, wanted = (blocks(m, nothing[m.on_disk]) for m in (on_disk, mosaic))
    pd.testing.assert_frame_equal(got, wanted)
    groups = pd.Series(pd.Categorical(np.array(["a", "b", None])[np.arange(len(mosaic.cells)) % 3]), mosaic.cells)
    for m in mosaic.modalities:
        for got, wanted in zip(*(measured_by_cluster(x, m, groups) for x in (on_disk, mosaic)), strict=True):
            pd.testing.assert_frame_equal(got, wanted, rtol=1e-6)

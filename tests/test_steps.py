"""A step as a GPU takes it, as far as a CPU can tell: minibatches of one shape, and steps that read them from one place."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import small_mosaic

from mmaavi import sparse, steps
from mmaavi.data import MosaicData
from mmaavi.edges import EdgeSampler
from mmaavi.model import MosaicVAE
from mmaavi.mosaic import Mosaic, load
from mmaavi.schedules import OneCycle
from mmaavi.settings import Settings

LIKELIHOODS = ("negative_binomial", "poisson", "bernoulli", "normal", "zero_inflated_log_normal")


def given(mosaic, padded: bool, **options) -> MosaicData:
    data = MosaicData(mosaic, mosaic.batches, **options)
    data._padded = padded
    return data


def minibatches(mosaic, padded: bool) -> list:
    labels = np.where(np.arange(len(mosaic.cells)) % 7 == 0, 0, -1)
    data = given(mosaic, padded, labels=labels, memory_gib=1e-4)
    return list(data.epoch(np.arange(data.n_cells), 24, torch.Generator().manual_seed(0), labelled_share=0.3))


def shapes(batch) -> list[tuple]:
    return [t.shape for t in steps._tensors(batch)]


@pytest.fixture(scope="module", params=LIKELIHOODS)
def mosaic(request):
    return replace(small_mosaic(), likelihoods={"rna": request.param, "atac": "poisson", "protein": "negative_binomial"})


@pytest.mark.parametrize("dense_elements", [2**17, 0], ids=["dense", "sparse"])
def test_padded_minibatches_are_all_of_one_shape_and_give_the_same_losses(mosaic, dense_elements, monkeypatch):
    monkeypatch.setattr(sparse, "DENSE_ELEMENTS", dense_elements)
    monkeypatch.setattr(sparse, "DENSE_FROM", 1.0)
    exact, padded = minibatches(mosaic, False), minibatches(mosaic, True)
    assert len({str(shapes(batch)) for batch in padded}) == 1
    assert len({str(shapes(batch)) for batch in exact}) > 1
    torch.manual_seed(0)
    data = MosaicData(mosaic, mosaic.batches)
    model = MosaicVAE(Settings(graph_share=0.9, dropout=0.0), data.scaling, len(mosaic.batches), mosaic.guidance, [3]).eval()
    edges = EdgeSampler(mosaic.guidance).sample(50)
    own = steps._copy(padded[0])
    for one, other in zip(exact, padded, strict=True):
        for kept, new in zip(steps._tensors(own), steps._tensors(other), strict=True):
            kept.copy_(new)
        losses = []
        for batch in (one, other, steps._copy(own)):  # a copy, since a minibatch keeps what it derives from its values
            torch.manual_seed(1)
            losses.append(model(batch, edges))
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-4)  # large terms cancel
        torch.testing.assert_close(losses[1], losses[2], rtol=0, atol=0)


def test_a_step_descends_the_weight_of_its_schedule_and_reports_all_terms_in_full(mosaic):
    torch.manual_seed(0)
    data, settings = MosaicData(mosaic, mosaic.batches), Settings(graph_share=0.9)
    model = MosaicVAE(settings, data.scaling, len(mosaic.batches), mosaic.guidance)
    descended, weights = [], []

    def total(terms, kl_weight):
        weights.append(float(kl_weight))
        loss = model.total(terms, kl_weight)
        descended.append(float(loss))
        return loss

    schedule = OneCycle(model, 1e-3, n_epochs=1, per_epoch=8)
    step = steps.Step(model, total, schedule, EdgeSampler(mosaic.guidance))
    rows = torch.stack([step(batch) for batch in minibatches(mosaic, False)[:1] * 8])
    np.testing.assert_allclose(weights, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    column = {name: rows[:, i] for i, name in enumerate(step.names)}
    left_out = (1 - torch.tensor(weights)) * (column["kl_z"] + column["kl_u"] + column["kl_c"])
    torch.testing.assert_close(model.total(column) - left_out, torch.tensor(descended), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("n_others", [9, 40, 100])
@pytest.mark.parametrize("reduced", [False, True], ids=["log1p_norm", "pca"])
def test_no_value_is_lost_where_a_small_group_with_a_large_cell_is_drawn_again_and_again(place, n_others, reduced, tmp_path):
    rng = np.random.default_rng(0)
    n = 10 + n_others
    x = sp.csr_array((rng.random((n, 60)) < np.where(np.arange(n) == 3, 0.9, 0.1)[:, None]).astype(np.float32) * 2)
    x[:, [0]] = 1.0
    obs = pd.DataFrame({"batch": np.where(np.arange(n) < 10, "small", "large")}, index=[f"c{i}" for i in range(n)])
    var = {"rna": pd.DataFrame(index=[f"g{i}" for i in range(60)])}
    mosaic = Mosaic(
        {"rna": x}, pd.DataFrame({"rna": True}, index=obs.index), obs, var, inputs={"rna": "pca" if reduced else "log1p"}
    )
    if place == "disk":
        mosaic.save(tmp_path / "mosaic.h5mu")
        mosaic = load(tmp_path / "mosaic.h5mu", memory_gib=0)
    exact, padded = (given(mosaic, p, memory_gib=2e-5) for p in (False, True))
    cells = np.delete(np.arange(n), 5)
    shapes_seen = set()
    for seed in range(20):
        draws = [data.epoch(cells, 20, torch.Generator().manual_seed(seed)) for data in (exact, padded)]
        for one, other in zip(*draws, strict=True):
            assert torch.equal(one.cells, other.cells)
            for name in ("counts", "inputs"):
                a, b = (getattr(batch.modalities["rna"], name) for batch in (one, other))
                assert torch.equal(a.to_dense(), b.to_dense())
            shapes_seen.add(str(shapes(other)))
    assert len(shapes_seen) == 1
    for one, other in zip(exact.in_order(cells, 7), padded.in_order(cells, 7), strict=True):
        assert torch.equal(one.modalities["rna"].counts.to_dense(), other.modalities["rna"].counts.to_dense())

"""A step as a GPU takes it, as far as a CPU can tell: minibatches of one shape, and steps that read them from one place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_mosaic

from mmaavi import steps
from mmaavi.data import MosaicData
from mmaavi.edges import EdgeSampler
from mmaavi.model import MosaicVAE
from mmaavi.mosaic import load
from mmaavi.settings import Settings

LIKELIHOODS = ("negative_binomial", "poisson", "bernoulli", "normal", "zero_inflated_log_normal")


def minibatches(mosaic, padded: bool) -> list:
    labels = np.where(np.arange(len(mosaic.cells)) % 7 == 0, 0, -1)
    data = MosaicData(mosaic, mosaic.batches, labels=labels, memory_gib=1e-4)
    data._padded = padded
    return list(data.epoch(np.arange(data.n_cells), 24, torch.Generator().manual_seed(0), labelled_share=0.3))


def shapes(batch) -> list[tuple]:
    return [t.shape for t in steps._tensors(batch)]


@pytest.fixture(scope="module", params=LIKELIHOODS)
def mosaic(request):
    return replace(small_mosaic(), likelihoods={"rna": request.param, "atac": "poisson", "protein": "negative_binomial"})


def test_padded_minibatches_are_all_of_one_shape_and_give_the_same_losses(mosaic):
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


def test_cells_on_disk_are_padded_to_one_shape_too(tmp_path):
    small_mosaic().save(tmp_path / "mosaic.h5mu")
    assert len({str(shapes(batch)) for batch in minibatches(load(tmp_path / "mosaic.h5mu", memory_gib=0), True)}) == 1

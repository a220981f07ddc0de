import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mmaavi.edges import EdgeSampler


@pytest.fixture
def graph(rng):
    upper = np.triu(rng.random((25, 25)) < 0.15, 1) * rng.uniform(0.5, 2.0, (25, 25)) * rng.choice([-1, 1], (25, 25))
    return sp.csr_array(upper + upper.T)


def test_negatives_are_never_neighbours_nor_the_feature_itself(graph):
    torch.manual_seed(0)
    sample = EdgeSampler(graph, n_negatives=10).sample(3000)
    linked = graph.toarray() != 0
    np.fill_diagonal(linked, True)
    assert sample.targets.shape == (3000, 11)
    assert not linked[sample.source[:, None], sample.targets[:, 1:]].any()


def test_positives_are_real_edges_with_their_sign(graph):
    torch.manual_seed(0)
    sample = EdgeSampler(graph).sample(2000)
    looped = graph.toarray() + np.eye(25)
    np.testing.assert_array_equal(np.sign(looped[sample.source, sample.targets[:, 0]]), sample.sign)


def test_positives_come_in_proportion_to_their_weight(graph):
    torch.manual_seed(0)
    n = 200_000
    sample = EdgeSampler(graph, n_negatives=1).sample(n)
    drawn = sp.coo_array((np.ones(n), (sample.source, sample.targets[:, 0])), shape=(25, 25)).toarray() / n
    weight = np.abs(graph.toarray()) + np.eye(25)
    expected = weight / weight.sum()
    assert np.abs(drawn - expected).max() < 5 * np.sqrt(expected.max() / n)


def test_negatives_come_by_degree(graph):
    torch.manual_seed(0)
    sampler = EdgeSampler(graph, n_negatives=50)
    lonely = 7  # of one source, all targets that are no neighbours
    sample = sampler.sample(40_000)
    target = sample.targets[sample.source == lonely, 1:].flatten().numpy()
    linked = graph.toarray() != 0
    np.fill_diagonal(linked, True)
    degree = np.where(linked[lonely], 0, linked.sum(axis=1))
    np.testing.assert_allclose(np.bincount(target, minlength=25) / len(target), degree / degree.sum(), atol=0.01)

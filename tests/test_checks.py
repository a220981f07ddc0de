from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from mmaavi.checks import check_guidance, check_mosaic
from mmaavi.dataset import drop_empty
from mmaavi.errors import InputError


def test_a_sound_mosaic_passes(mosaic):
    check_mosaic(mosaic)


@pytest.mark.parametrize(
    ("value", "name"), [(-1.0, "negative"), (0.5, "non-integer"), (np.nan, "NaN or infinite"), (np.inf, "NaN")]
)
def test_values_that_are_no_counts_name_modality_batch_and_cell(mosaic, value, name):
    x = mosaic.counts["rna"].copy()
    x.data[0] = value
    row = np.flatnonzero(np.diff(x.indptr))[0]
    broken = replace(mosaic, counts=mosaic.counts | {"rna": x})
    with pytest.raises(InputError, match=f"'rna' has 1 .*{name}.*{mosaic.obs['batch'].iloc[row]}.*{mosaic.cells[row]}"):
        check_mosaic(broken)


def test_non_integers_pass_where_no_count_likelihood_is_asked_for(mosaic):
    x = mosaic.counts["rna"] * 0.5
    check_mosaic(replace(mosaic, counts=mosaic.counts | {"rna": sp.csr_array(x)}, likelihoods={"rna": "normal"}))


def test_cells_of_a_batch_must_agree_unless_allowed(mosaic):
    cell = mosaic.cells[(mosaic.obs["batch"] == "batch1").to_numpy()][0]
    measured = mosaic.measured.copy()
    measured.loc[cell, "atac"] = False
    mixed = mosaic.with_measured(measured)
    with pytest.raises(InputError, match="batch 'batch1' disagree about their modalities.*mixed_batches"):
        check_mosaic(mixed)
    check_mosaic(mixed, mixed_batches=True)


def test_a_modality_in_no_batch_is_refused(mosaic):
    with pytest.raises(InputError, match="modality 'protein' is measured in no batch"):
        check_mosaic(mosaic.with_measured(mosaic.measured.assign(protein=False)))


def test_empty_cells_and_features_are_refused_and_can_be_dropped(mosaic):
    counts = {}
    for m, x in mosaic.counts.items():
        x = x.tolil()
        x[3] = 0
        x[:, 0] = 0
        counts[m] = sp.csr_array(x)
    hollow = replace(mosaic, counts=counts, guidance=None)
    with pytest.raises(InputError, match="1 cells of batch .* empty.*'rna' has 1 features without a count.*drop_empty"):
        check_mosaic(hollow)
    check_mosaic(drop_empty(hollow))


def edited(mosaic, change):
    graph = mosaic.guidance.tolil()
    change(graph)
    return replace(mosaic, guidance=sp.csr_array(graph))


def test_an_asymmetric_graph_is_refused(mosaic):
    row, col = (int(i[0]) for i in mosaic.guidance.nonzero())
    assert "asymmetric" in check_guidance(edited(mosaic, lambda g: g.__setitem__((row, col), 7.0)))[0]


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0])
def test_bad_weights_are_refused(mosaic, weight):
    graph = mosaic.guidance.copy()
    graph.data[0] = weight
    assert "weights" in check_guidance(replace(mosaic, guidance=graph))[0]


def test_a_modality_that_the_graph_does_not_reach_is_named(mosaic):
    start = mosaic.n_features["rna"] + mosaic.n_features["atac"]
    graph = mosaic.guidance.tolil()
    graph[start:], graph[:, start:] = 0, 0
    (problem,) = check_guidance(replace(mosaic, guidance=sp.csr_array(graph)))
    assert "leaves modality 'protein' unconnected (0 of 10" in problem


def test_a_graph_of_other_features_is_refused(mosaic):
    assert "the guidance graph is (3, 3)" in check_guidance(replace(mosaic, guidance=sp.csr_array((3, 3))))[0]


def test_a_feature_linked_to_all_others_is_named(mosaic):
    graph = mosaic.guidance.tolil()
    graph[2], graph[:, 2] = 1, 1
    (problem,) = check_guidance(replace(mosaic, guidance=sp.csr_array(graph)))
    assert f"links '{mosaic.var['rna'].index[2]}' of 'rna' to all other features" in problem


def test_messages_name_the_file(mosaic):
    x = mosaic.counts["rna"].copy()
    x.data[0] = -1
    from_file = replace(mosaic, counts=mosaic.counts | {"rna": x}, provenance={"files": {"rna": "some/counts.h5"}})
    with pytest.raises(InputError, match="modality 'rna' \\(from some/counts.h5\\) has 1 negative values"):
        check_mosaic(from_file)

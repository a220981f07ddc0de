from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mmaavi.errors import InputError
from mmaavi.mosaic import from_parts, load


def part(cells: str, batches: str, features: list[str], counts) -> ad.AnnData:
    obs = pd.DataFrame({"batch": list(batches)}, index=list(cells))
    return ad.AnnData(sp.csr_matrix(np.asarray(counts, dtype=np.float32)), obs=obs, var=pd.DataFrame(index=features))


@pytest.fixture
def parts():
    rna = part("cab", "xxy", ["CD4", "CD8"], [[1, 2], [0, 0], [3, 0]])
    protein = part("bd", "yy", ["CD4"], [[5], [6]])
    return {"rna": rna, "protein": protein}


def test_cells_are_joined_by_id(parts):
    mosaic = from_parts(parts)
    assert list(mosaic.cells) == ["c", "a", "b", "d"]
    np.testing.assert_array_equal(mosaic.counts["rna"].toarray(), [[1, 2], [0, 0], [3, 0], [0, 0]])
    np.testing.assert_array_equal(mosaic.counts["protein"].toarray(), [[0], [0], [5], [6]])
    assert list(mosaic.patterns) == ["rna", "rna", "rna+protein", "protein"]


def test_a_measured_cell_without_counts_stays_measured(parts, tmp_path):
    mosaic = from_parts(parts)
    mosaic.save(tmp_path / "m.h5mu")
    assert mosaic.measured.loc["a", "rna"]
    assert load(tmp_path / "m.h5mu").measured.loc["a", "rna"]


def test_saved_mosaic_comes_back_the_same(mosaic, tmp_path, rng):
    shuffled = mosaic.take(rng.permutation(len(mosaic.cells)))
    shuffled.save(tmp_path / "m.h5mu")
    back = load(tmp_path / "m.h5mu")
    assert list(back.cells) == list(shuffled.cells)
    pd.testing.assert_frame_equal(back.measured, shuffled.measured)
    assert list(back.obs["batch"]) == list(shuffled.obs["batch"])
    for m in shuffled.modalities:
        assert (back.counts[m] != shuffled.counts[m]).nnz == 0
        assert list(back.var[m].index) == list(shuffled.var[m].index)
    assert abs(back.guidance - shuffled.guidance).max() == 0
    assert not list(tmp_path.glob("*.partial"))


def test_counts_of_one_cell_and_feature_are_one_count(mosaic):
    x = sp.csr_array(mosaic.counts["rna"])
    twice = sp.csr_array((np.repeat(x.data, 2), np.repeat(x.indices, 2), 2 * x.indptr), shape=x.shape)
    stored = replace(mosaic, counts=mosaic.counts | {"rna": twice}).counts["rna"]
    assert stored.nnz == x.nnz
    np.testing.assert_array_equal(stored.toarray(), 2 * x.toarray())


def test_a_mosaic_without_cells_can_be_saved(mosaic, tmp_path):
    mosaic.take(np.zeros(len(mosaic.cells), dtype=bool)).save(tmp_path / "m.h5mu")
    assert len(load(tmp_path / "m.h5mu").cells) == 0


def test_take_by_id_refuses_unknown_cells(mosaic):
    assert list(mosaic.take(mosaic.cells[[5, 2]]).cells) == list(mosaic.cells[[5, 2]])
    with pytest.raises(InputError, match="1 cells are not in the mosaic: nobody"):
        mosaic.take(pd.Index(["nobody"]))


def test_fewer_measurements_drop_their_counts(mosaic):
    measured = mosaic.measured.assign(rna=False)
    less = mosaic.with_measured(measured)
    assert less.counts["rna"].nnz == 0
    assert less.counts["atac"].nnz == mosaic.counts["atac"].nnz


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["rna"].obs.__delitem__("batch"), "modality 'rna' has no column 'batch'"),
        (lambda p: setattr(p["rna"], "obs_names", ["a", "a", "b"]), "modality 'rna' has 1 duplicate cell ids \\(a\\)"),
        (lambda p: setattr(p["rna"], "var_names", ["g", "g"]), "modality 'rna' has 1 duplicate feature ids \\(g\\)"),
        (lambda p: p["protein"].obs.__setitem__("batch", ["x", "y"]), "'protein' puts 1 cells in another batch: b"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, change, message):
    change(parts)
    with pytest.raises(InputError, match=message):
        from_parts(parts)

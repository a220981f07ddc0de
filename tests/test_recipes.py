"""Graph recipes, the released graph, features chosen and joined: by config, on small inputs."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
import yaml
from given import SCHEMA, write_good

from mmaavi import sources, variable_features
from mmaavi.configuration import read_config
from mmaavi.dataset import prepare
from mmaavi.errors import InputError
from mmaavi.normalisation import log_normalised, median_depth
from mmaavi.released import human_loci, substring_edges
from mmaavi.variable_features import highly_variable


def made(folder, scenario: dict | None = None, assemblies: dict | None = None, **changes):
    """Prepare the good config of a folder, with some keys replaced."""
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"sources": []} | changes))
    config = read_config(file, SCHEMA)
    located = sources.locations(config, file, {})
    return prepare(config, scenario or {}, lambda path: folder / located[path], assemblies or {})


def weights(mosaic, source: str, target: str) -> pd.Series:
    """(source, target) -> signed weight of the edges between two modalities."""
    starts = dict(zip(mosaic.modalities, np.cumsum([0, *mosaic.n_features.values()]), strict=False))
    block = sp.coo_array(mosaic.guidance)
    rows, cols = block.row - starts[source], block.col - starts[target]
    here = (rows >= 0) & (rows < mosaic.n_features[source]) & (cols >= 0) & (cols < mosaic.n_features[target])
    index = pd.MultiIndex.from_arrays([mosaic.var[source].index[rows[here]], mosaic.var[target].index[cols[here]]])
    return pd.Series(block.data[here], index=index)


def test_own_edges_with_weights_and_signs_where_the_mosaic_has_both_features(folder):
    rows = [("gene000", "protein00", 2.5, -1), ("gene001", "protein01", 1, 1), ("unknown", "protein01", 1, 1)]
    pd.DataFrame(rows, columns=["source", "target", "weight", "sign"]).to_csv(folder / "own.csv", index=False)
    graph = [{"kind": "file", "between": ["rna", "protein"], "edges": "own.csv"}, {"kind": "overlap", "between": ["rna", "atac"]}]
    found = weights(made(folder, graph=graph).mosaic, "rna", "protein")
    assert found.to_dict() == {("gene000", "protein00"): -2.5, ("gene001", "protein01"): 1.0}


def test_features_named_after_a_gene_are_linked_with_the_sign_that_is_asked_for(folder):
    table = pd.read_csv(folder / "protein.csv", index_col=0)
    table.columns = ["gene000_mCH", "gene000_mCG", "GENE001_mCG", "gene002", "gene003_mCH_x", "other_mCG"]
    table.to_csv(folder / "protein.csv")
    graph = [{"kind": "name", "between": ["rna", "protein"], "ignore_suffix": "_mC[HG]", "sign": -1}]
    prepared = made(folder, graph=[*graph, {"kind": "overlap", "between": ["rna", "atac"]}])
    found = weights(prepared.mosaic, "rna", "protein")
    expected = [("gene000", "gene000_mCH"), ("gene000", "gene000_mCG"), ("gene001", "GENE001_mCG"), ("gene002", "gene002")]
    assert found.to_dict() == dict.fromkeys(expected, -1.0)
    assert list(prepared.mosaic.var["protein"].index) == list(table.columns)  # features without an edge are kept


def test_features_without_an_edge_are_dropped_where_that_is_asked_for(folder):
    before, after = made(folder).mosaic, made(folder, drop_unlinked=["atac"]).mosaic
    linked = weights(before, "rna", "atac").index.get_level_values(1).unique()
    assert set(after.var["atac"].index) == set(linked) < set(before.var["atac"].index)
    assert list(after.var["protein"].index) == list(before.var["protein"].index)
    pd.testing.assert_series_equal(weights(after, "rna", "atac"), weights(before, "rna", "atac"))
    np.testing.assert_array_equal(
        after.counts["atac"].toarray(), before.counts["atac"][:, before.var["atac"].index.isin(linked)].toarray()
    )


def test_the_released_graph_takes_human_loci_and_substrings(folder):
    rna = ad.read_h5ad(folder / "rna.h5ad")
    loci = rna.var.set_axis(rna.var_names.str.upper())  # another species' spelling
    elsewhere = rna.var.assign(chrom="chr99")
    overlap = {"kind": "overlap", "between": ["rna", "atac"]}
    alias = {"kind": "alias", "between": ["rna", "protein"], "aliases": "a.txt"}
    own = {"kind": "file", "between": ["rna", "protein"], "edges": "edges.tsv"}
    (folder / "a.txt").write_text("protein00 gene0000,xgene001x\n")
    assemblies = {"hg19": rna.var, "hg38": loci}
    ours = made(folder, assemblies=assemblies, assembly="hg19", graph=[overlap, own]).mosaic
    changes = {"assembly": "hg19", "graph": [overlap, alias]}
    old = made(folder, {"graph": "released"}, assemblies | {"hg19": elsewhere}, **changes).mosaic
    pd.testing.assert_series_equal(weights(old, "rna", "atac"), weights(ours, "rna", "atac"))  # by hg38, whatever the config says
    assert set(weights(old, "rna", "protein").index) == {("gene000", "protein00"), ("gene001", "protein00")}
    with pytest.raises(InputError, match="do not fit the assembly|unconnected"):
        made(folder, {}, assemblies | {"hg19": elsewhere}, **changes)


def test_a_wrong_graph_has_as_many_edges_elsewhere_and_no_graph_has_none(folder):
    right, wrong, none = (made(folder, {"graph": kind}).mosaic for kind in ("recipe", "permuted", "none"))
    for source, target in (("rna", "atac"), ("rna", "protein")):
        a, b = weights(right, source, target), weights(wrong, source, target)
        assert sorted(a.groupby(level=0).size()) == sorted(b.groupby(level=0).size())
        assert sorted(a.groupby(level=1).size()) == sorted(b.groupby(level=1).size())
        assert set(a.index.get_level_values(1)) == set(b.index.get_level_values(1))
        assert len(set(a.index) & set(b.index)) < 0.5 * len(a)
    assert none.guidance is None
    assert none.n_features == made(folder, {"graph": "none"}, drop_unlinked=[]).mosaic.n_features
    linked = made(folder, {"graph": "none"}, drop_unlinked=["atac"]).mosaic
    assert linked.n_features == made(folder, drop_unlinked=["atac"]).mosaic.n_features


def test_released_helpers():
    genes, proteins = pd.Index(["Cd4", "Ptprc", "a"]), pd.Index(["CD4", "CD45"])
    assert set(map(tuple, substring_edges(genes, proteins, {"CD45": ["PTPRC"]}).to_numpy())) == {
        ("Cd4", "CD4"), ("Cd4", "CD45"), ("Ptprc", "CD45"),
    }  # fmt: skip
    hg38 = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": 1, "end": 2, "strand": "+"}, index=["CD4", "CD4"])
    assert human_loci(genes, hg38).to_dict("index") == {"Cd4": {"chrom": "chr1", "start": 1, "end": 2, "strand": "+"}}


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("n_top", [15, None])
def test_variable_features_are_those_of_scanpy(mosaic, flavor, n_top):
    x = mosaic.counts["rna"][mosaic.measured["rna"].to_numpy()]
    batch = mosaic.obs.loc[mosaic.measured["rna"], "batch"].astype("category")
    adata = ad.AnnData(sp.csr_matrix(log_normalised(x, median_depth(x))), obs=batch.to_frame())
    sc.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=n_top, batch_key="batch")
    found = highly_variable(mosaic, "rna", flavor, n_top)
    np.testing.assert_array_equal(found, adata.var["highly_variable"])
    assert n_top is None or found.sum() == n_top


def test_a_feature_that_varies_is_chosen_and_a_constant_one_is_not(mosaic, rng):
    x = mosaic.counts["rna"].toarray()
    has = np.flatnonzero(mosaic.measured["rna"])
    x[has, 0] = 3  # the same in every cell
    x[has, 1] = rng.choice([0, 900], len(has))
    changed = replace(mosaic, counts=mosaic.counts | {"rna": sp.csr_array(x)})
    assert list(highly_variable(changed, "rna", "pearson_residuals", 10)[:2]) == [False, True]
    with pytest.raises(InputError, match="'select' ranks counts, and 'rna' has none"):
        highly_variable(replace(mosaic, likelihoods={"rna": "normal"}), "rna", "seurat", 10)


def test_of_very_many_values_an_even_share_of_each_batch_is_looked_at(mosaic, monkeypatch):
    has = mosaic.measured["rna"].to_numpy()
    sizes, batch = np.diff(mosaic.counts["rna"].indptr), mosaic.obs["batch"].to_numpy()
    looked_at = []
    monkeypatch.setattr(variable_features, "MOST_ENTRIES", sizes[has].sum() // 3)
    monkeypatch.setattr(variable_features, "FEWEST_CELLS", 5)
    monkeypatch.setattr(variable_features, "in_memory", lambda x: looked_at.append(x) or x)
    assert highly_variable(mosaic, "rna", "seurat", 10).sum() == 10
    share = variable_features._even_share(mosaic, "rna")
    assert looked_at[0].shape[0] == len(share) == len(np.unique(share))
    assert has[share].all()
    for b in np.unique(batch[has]):
        assert 0 <= (batch[share] == b).sum() - (batch[has] == b).sum() / 3 <= 1
    assert abs(looked_at[0].nnz - sizes[has].sum() / 3) < 0.1 * sizes[has].sum() / 3
    monkeypatch.setattr(variable_features, "FEWEST_CELLS", 60)
    share = variable_features._even_share(mosaic, "rna")
    for b in np.unique(batch[has]):
        assert (batch[share] == b).sum() == max(60, np.ceil((batch[has] == b).sum() / 3))


def test_selection_reads_visible_values_alone(folder):
    """What is hidden takes no part in the choice of features."""
    select = {"rna": {"select": {"flavor": "pearson_residuals", "n_top": 8}}, "atac": {}, "protein": {}}
    rna = ad.read_h5ad(folder / "rna.h5ad")
    inputs = yaml.safe_load((folder / "data.yaml").read_text())["inputs"]
    inputs.append({"reader": "h5ad", "modality": "rna", "counts": "hidden.h5ad", "batch": "two"})
    chosen = []
    for shuffled in (False, True):
        hidden = rna.copy()
        if shuffled:
            hidden.X = sp.csr_matrix(hidden.X[:, ::-1])
        hidden.write_h5ad(folder / "hidden.h5ad")
        prepared = made(folder, modalities=select, inputs=inputs, hide={"two": ["rna"]})
        chosen.append(list(prepared.mosaic.var["rna"].index))
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 8


def test_inputs_with_other_features_are_cut_to_those_in_common(folder):
    rna = ad.read_h5ad(folder / "rna.h5ad")
    rna[:, [5, 3, 4, *range(6, 20)]].write_h5ad(folder / "more.h5ad")
    inputs = yaml.safe_load((folder / "data.yaml").read_text())["inputs"]
    inputs.append({"reader": "h5ad", "modality": "rna", "counts": "more.h5ad", "batch": "more"})
    with pytest.raises(InputError, match="differ in 3 features: gene000, .*'join: common'"):
        made(folder, inputs=inputs)
    mosaic = made(folder, inputs=inputs, modalities={"rna": {"join": "common"}, "atac": {}, "protein": {}}).mosaic
    assert list(mosaic.var["rna"].index) == list(rna.var_names[3:])
    more = mosaic.take((mosaic.obs["batch"] == "more").to_numpy())
    np.testing.assert_array_equal(more.counts["rna"].toarray(), rna[:, 3:].X.toarray())


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_ids_that_repeat_across_batches_of_a_file_are_prefixed(folder):
    table = pd.read_csv(folder / "protein.csv", index_col=0)
    cells = pd.read_csv(folder / "cells.csv", index_col=0)
    obs = pd.DataFrame({"batch": cells["batch"].to_numpy(), "kind": "T"}, index=[f"c{i // 2}" for i in range(60)])
    ad.AnnData(sp.csr_matrix(table.to_numpy(np.float32)), obs=obs, var=pd.DataFrame(index=table.columns)).write_h5ad(
        folder / "p.h5ad"
    )
    inputs = yaml.safe_load((folder / "data.yaml").read_text())["inputs"]
    inputs[2] = {"reader": "h5ad", "modality": "protein", "counts": "p.h5ad", "batch_column": "batch"}
    with pytest.raises(InputError, match="30 duplicate cell ids of batch .*'prefix_cells: true'"):
        made(folder, inputs=inputs)
    inputs[2]["prefix_cells"] = True
    assert {"three_c0", "four_c0"} < set(made(folder, inputs=inputs).mosaic.cells)
    inputs[2] |= {"batch_prefix": "p_"}
    assert {"p_three_c0", "p_four_c0"} < set(made(folder, inputs=inputs).mosaic.cells)


def test_the_good_config_is_found_wherever_it_lies(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    assert made(write_good(tmp_path / "deep/er")).mosaic.batches == ["four", "one", "three", "two"]

"""Markers, agreement and links of a trained model, against hand computation, brute force and the planted truth."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import small_mosaic
from scipy.stats import false_discovery_control, spearmanr
from sklearn.metrics import average_precision_score
from test_plots import texts
from test_workflow import copy_project, planned

from mmaavi import guidance, simulate
from mmaavi.directions import AGREEMENT, agreement, linked_features
from mmaavi.estimator import MMAAVI
from mmaavi.files import write_table
from mmaavi.markers import DIFFERENTIAL, clusters, differential_features, dots, measured_by_cluster, read_table
from mmaavi.mosaic import Mosaic
from mmaavi.peak_links import LINKS, genes_and_peaks, nearby, peak_links
from mmaavi.plots.agreement import agreement_panels
from mmaavi.plots.dot_plot import dot_plot
from mmaavi.plots.genome import best_genes, genome_tracks
from mmaavi.plots.volcano import volcano
from mmaavi.settings import Settings

QUICK = Settings(n_components=8, width=64, n_fused=32, n_latent=10, n_steps=200, minibatch_size=60)
SIZE = {"n_cells": 450, "n_genes": 60}


@pytest.fixture(scope="module")
def given() -> Mosaic:
    return small_mosaic(**SIZE)


@pytest.fixture(scope="module")
def truth(given) -> Mosaic:
    """The mosaic with the planted links as its graph."""
    planted = simulate.simulate(0, **SIZE, n_proteins=10, separation=1.5).links
    planted = planted[planted["target"].isin(given.var["atac"].index) & planted["source"].isin(given.var["rna"].index)]
    return replace(given, guidance=guidance.build_guidance(given, [("rna", "atac", planted)]))


@pytest.fixture(scope="module")
def labels(given) -> pd.DataFrame:
    types = simulate.simulate(0, **SIZE, n_proteins=10, separation=1.5).parts["rna"].obs["cell_type"].astype(str)
    return pd.DataFrame({"batch": given.obs["batch"], "pattern": given.patterns, "cell_type": types.loc[given.cells]})


@pytest.fixture(scope="module")
def model(given) -> MMAAVI:
    return MMAAVI(QUICK, seed=0, device="cpu").fit(given, progress=False)


@pytest.fixture(scope="module")
def groups(given, labels, model) -> pd.Series:
    return clusters(model.embed(given)["mmaavi_c"], labels)


@pytest.fixture(scope="module")
def table(given, model, groups) -> pd.DataFrame:
    return differential_features(model, given, groups)


@pytest.fixture(scope="module")
def found(given, truth, model) -> pd.DataFrame:
    return peak_links(model, given, truth)


def tiny() -> Mosaic:
    """Four genes, four peaks and two proteins: edges g0-p0, g1-p1, g2-p2, g3-p3 (this one negative), g0-q0, g1-q1."""
    cells = pd.Index(["c0", "c1"])
    sizes = {"rna": ("g", 4), "atac": ("p", 4), "protein": ("q", 2)}
    mosaic = Mosaic(
        {m: sp.csr_array((2, n), dtype=np.float32) for m, (_, n) in sizes.items()},
        pd.DataFrame(True, index=cells, columns=list(sizes)),
        pd.DataFrame({"batch": "b"}, index=cells),
        {m: pd.DataFrame(index=[f"{letter}{i}" for i in range(n)]) for m, (letter, n) in sizes.items()},
    )
    peaks = pd.DataFrame({"source": ["g0", "g1", "g2", "g3"], "target": ["p0", "p1", "p2", "p3"], "sign": [1, 1, 1, -1]})
    proteins = pd.DataFrame({"source": ["g0", "g1"], "target": ["q0", "q1"]})
    return replace(mosaic, guidance=guidance.build_guidance(mosaic, [("rna", "atac", peaks), ("rna", "protein", proteins)]))


def differences(fdr: dict[str, float], **by_feature: float) -> pd.DataFrame:
    modality = {"g": "rna", "p": "atac", "q": "protein"}
    rows = [(modality[f[0]], "0", f, value, fdr.get(f, 0.01)) for f, value in by_feature.items()]
    return pd.DataFrame(rows, columns=["modality", "group", "feature", "difference", "fdr"])


def test_agreement_is_what_a_hand_counts():
    # p2 does not differ: of g0-p0 (+ +), g1-p1 (+ -) and g3-p3 (- +, by a negative edge) two agree; of the triples, none of two.
    rows = differences({"p2": 0.2}, g0=1, g1=2, g2=3, g3=-4, p0=1, p1=-2, p2=5, p3=3, q0=-1, q1=2)
    rng = np.random.default_rng(0)
    by = agreement(rows, tiny(), rng, n_null=4000).set_index(["features", "group"])
    assert list(by.reset_index().columns) == AGREEMENT
    pair = by.loc[("rna - atac", "0")]
    assert (pair["n"], pair["share"]) == (3, pytest.approx(2 / 3))
    assert pair["spearman"] == pytest.approx(spearmanr([1, 2, -4], [1, -2, -3]).statistic)
    assert by.loc[("rna - protein", "0"), "share"] == 0.5
    assert by.loc[("rna - atac - protein", "0"), ["n", "share"]].tolist() == [2, 0]
    assert by.xs("all", level="group").equals(by.xs("0", level="group"))  # there is one cluster alone
    g, p = np.array([1, 2, 3, -4]), np.array([1, -2, np.nan, -3])
    null = [np.mean((g * p[list(order)] > 0)[np.isfinite(p[list(order)])]) for order in permutations(range(4))]
    assert pair["null_share"] == pytest.approx(np.mean(null), abs=0.02)
    assert pair["p_value"] == pytest.approx(np.mean(np.array(null) >= 2 / 3), abs=0.03)
    assert pair["null_low"] <= pair["null_share"] <= pair["null_high"]


def test_without_a_graph_or_differences_nothing_agrees():
    rows = differences({}, g0=1, p0=1)
    for mosaic, part in ((replace(tiny(), guidance=None), rows), (tiny(), rows[:0])):
        empty = agreement(part, mosaic, np.random.default_rng(0))
        assert empty.empty
        assert list(empty.columns) == AGREEMENT
    assert "there is no graph" in texts(agreement_panels(empty, "Title"))
    assert linked_features(tiny())["rna", "atac", "protein"][0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_linked_features_of_a_trained_model_agree_more_than_exchanged_ones(given, table):
    by = agreement(table, given, np.random.default_rng(0))
    everything = by[by["group"] == "all"].set_index("features")
    assert list(everything.index) == ["rna - atac", "rna - protein", "rna - atac - protein"]
    pair = everything.loc["rna - atac"]
    assert pair["share"] > pair["null_high"]
    assert pair["p_value"] < 0.05
    assert pair["spearman"] > 0.3
    text = texts(agreement_panels(by, "Title"))
    for word in (
        "rna - atac - protein",
        "all clusters",
        "share that agrees",
        "links exchanged at random",
        *table["group"].unique(),
    ):
        assert word in text


def test_clusters_are_named_by_labels_and_small_ones_left_out():
    cells = [f"c{i}" for i in range(60)]
    chosen = np.repeat([1, 0, 2], [35, 24, 1])
    labels = pd.DataFrame({"batch": "b", "pattern": "rna", "kind": ["T"] * 20 + ["B"] * 15 + [None] * 25}, index=cells)
    groups = clusters(np.eye(3)[chosen], labels)
    assert list(groups.cat.categories) == ["1: T", "0"]  # the largest first; no cell of 0 has a label
    assert groups.isna().sum() == 1
    assert list(clusters(np.eye(3)[chosen], labels.iloc[:, :2], smallest=1, most=2).cat.categories) == ["1", "0"]


def test_differential_features_agree_with_brute_force(given, model, groups, table):
    assert list(table.columns) == DIFFERENTIAL
    assert set(table["modality"]) == {"rna", "atac", "protein"}
    assert list(dict.fromkeys(table["group"])) == list(groups.cat.categories)
    name = groups.cat.categories[0]
    with torch.no_grad():
        x = model.decode(torch.tensor(model.embed(given)["X_mmaavi"]), "protein").numpy().astype(float)
    small = 1e-6 * model.scaling["protein"].depth
    rest = x[(groups.notna() & (groups != name)).to_numpy()].mean(axis=0)
    change = np.log2((x[(groups == name).to_numpy()] + small) / (rest + small))
    mean = change.mean(axis=0)
    share = np.where(mean > 0, (change > 0.25).mean(axis=0), (change < -0.25).mean(axis=0))
    ours = table[(table["modality"] == "protein") & (table["group"] == name)].set_index("feature")
    ours = ours.loc[given.var["protein"].index]
    np.testing.assert_allclose(ours["difference"], mean, atol=1e-4)
    np.testing.assert_allclose(ours["probability"], share, atol=1.5 / (groups == name).sum())
    fdr = np.cumsum(1 - np.sort(share)[::-1]) / np.arange(1, len(share) + 1)
    np.testing.assert_allclose(np.sort(ours["fdr"]), fdr, atol=0.01)
    assert differential_features(model, given, groups.where(groups == name).cat.remove_unused_categories()).empty


def test_of_a_large_cluster_some_cells_stand_for_all(given, model, groups, table):
    some = differential_features(model, given, groups, most_cells=30)
    assert list(some["n_cells"]) == list(table["n_cells"])
    assert (some["n_cells"] > 30).any()
    counted = some["probability"] * some["n_cells"].clip(upper=30)
    np.testing.assert_allclose(counted, counted.round(), atol=1e-6)
    key = ["modality", "group", "feature"]
    ours, exact = (t.set_index(key).sort_index() for t in (some, table))
    assert np.corrcoef(ours["difference"], exact["difference"])[0, 1] > 0.95
    np.testing.assert_allclose(ours["mean_reference"].mean(), exact["mean_reference"].mean(), rtol=0.05)


def test_cells_are_joined_by_id(given, model, groups, table, rng):
    order = rng.permutation(len(given.cells))
    shuffled, mixed = given.take(order), groups.iloc[rng.permutation(len(groups))]
    for ours, theirs in zip(
        measured_by_cluster(shuffled, "atac", mixed), measured_by_cluster(given, "atac", groups), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    again = differential_features(model, shuffled, mixed)
    key = ["modality", "group", "feature"]
    pd.testing.assert_series_equal(
        again.set_index(key)["difference"].sort_index(), table.set_index(key)["difference"].sort_index(), atol=1e-3
    )


def test_dots_are_the_means_of_measured_cells(given, groups, table):
    shown = dots(given, table, groups, fdr=0.2, n_markers=2)
    assert shown.groupby(["modality", "feature"])["marker_of"].nunique().max() == 1  # each is drawn once
    assert shown.groupby(["modality", "marker_of"])["feature"].nunique().max() <= 2
    here = given.measured["rna"].to_numpy()
    x = pd.DataFrame(given.counts["rna"].toarray()[here], given.cells[here], given.var["rna"].index)
    depth = x.sum(axis=1)
    logged = np.log1p(x.mul(depth.median() / depth, axis=0))
    mean, share = (t.groupby(groups[here], observed=False).mean() for t in (logged, x > 0))
    scaled = (mean - mean.min()) / (mean.max() - mean.min())
    part = shown[shown["modality"] == "rna"]
    assert len(part)
    np.testing.assert_allclose(
        part["mean"], [scaled.loc[g, f] for g, f in zip(part["group"], part["feature"], strict=True)], atol=1e-5
    )
    np.testing.assert_allclose(
        part["share"], [share.loc[g, f] for g, f in zip(part["group"], part["feature"], strict=True)], atol=1e-6
    )
    text = texts(dot_plot(shown, "Title, 600 cells"))
    for word in ("Title, 600 cells", "rna", "scaled by feature", "share of\nmeasured cells\nwith a count", *shown["feature"]):
        assert word in text
    assert "No feature tells a cluster" in texts(dot_plot(shown[:0], "Title"))


def test_a_cluster_without_measured_cells_has_no_dots(given, groups):
    name = groups.cat.categories[0]
    hidden = given.measured.assign(atac=given.measured["atac"] & (groups != name).to_numpy())
    mean, share = measured_by_cluster(given.with_measured(hidden), "atac", groups)
    assert mean.loc[name].isna().all()
    assert share.loc[name].isna().all()
    assert share.drop(name).notna().all(axis=None)


def test_near_pairs_are_those_of_brute_force(rng):
    def loci(n, letter):
        start = rng.integers(0, 5000, n)
        table = pd.DataFrame({"chrom": rng.choice(["chr1", "chr2"], n), "start": start, "end": start + rng.integers(1, 800, n)})
        return table.set_axis([f"{letter}{i}" for i in range(n)])

    genes, peaks = loci(30, "g"), loci(50, "p")
    genes.loc["g3", ["chrom", "start", "end"]] = None  # its place is not known
    expected = {}
    for gene, g in genes.drop("g3").iterrows():
        for peak, p in peaks.iterrows():
            distance = max(p["start"] - g["end"], g["start"] - p["end"], 0)
            if g["chrom"] == p["chrom"] and distance < 300:
                expected[gene, peak] = distance
    pairs = nearby(genes, peaks, within=300)
    assert pairs.set_index(["source", "target"])["distance"].to_dict() == expected
    assert len(pairs) == len(expected) > 100


def test_planted_links_score_above_chance(given, found):
    assert list(found.columns) == LINKS
    assert genes_and_peaks(given) == ("rna", "atac")
    assert found["score"].is_monotonic_decreasing
    assert average_precision_score(found["planted"].astype(bool), found["score"]) > 1.5 * found["planted"].mean()
    new = found[~found["in_graph"]]
    assert average_precision_score(new["planted"].astype(bool), new["score"]) > 5 * new["planted"].mean()
    edges = linked_features(given)["rna", "atac"][0]
    assert found["in_graph"].sum() == len(edges)  # all of them are near
    for part in (found[found["in_graph"]], new):  # what the model was told does not make the rest look better
        np.testing.assert_allclose(part["fdr"], false_discovery_control(part["p_value"]))


def test_links_are_drawn_where_they_are(given, groups, found):
    share = measured_by_cluster(given, "atac", groups)[1]
    genes = best_genes(found, 0.01, 2)
    text = texts(genome_tracks(found, given.var["rna"], given.var["atac"], share, "Title", fdr=0.2, n_genes=2))
    for gene in genes:
        assert f"{gene}: {given.var['rna'].loc[gene, 'chrom']}, kb" in text
    for word in (
        "not in the graph",
        "not planted",
        "share of measured cells with a count",
        "were planted",
        *groups.cat.categories,
    ):
        assert word in text
    assert "linked (FDR \u2264 0%): 0" in texts(genome_tracks(found, given.var["rna"], given.var["atac"], share, "Title", fdr=0))
    assert "No cluster has enough cells" in texts(genome_tracks(found, given.var["rna"], given.var["atac"], share[:0], "Title"))


def test_without_peaks_there_are_no_links_and_the_figure_says_so(given, model):
    mosaic = given.of_modalities(["rna", "protein"])
    empty = peak_links(model, mosaic, mosaic)
    assert empty.empty
    assert list(empty.columns) == LINKS
    assert "no genes with coordinates and peaks" in texts(genome_tracks(empty, *[pd.DataFrame()] * 3, "Title"))


def test_volcanoes_of_several_modalities_share_a_figure(table):
    shown = list(dict.fromkeys(table["group"]))
    text = texts(volcano(table, "Title", n_named=2, most_groups=2))
    for word in (*shown[:2], "ln Bayes factor, atac", "ln Bayes factor, protein", f"2 of {len(shown)} clusters, the largest"):
        assert word in text
    assert shown[2] not in text
    assert "fewer than two clusters" in texts(volcano(table[:0], "Title"))


def test_tables_are_read_as_they_were_written(table, found, tmp_path):
    named = table.assign(feature=table["feature"].where(table.index > 0, "NA"), group="3")
    for rows in (named, found.assign(planted=np.nan), found[:0]):
        write_table(rows, tmp_path / "table.tsv", index=False)
        read = read_table(tmp_path / "table.tsv")
        pd.testing.assert_frame_equal(read, rows.reset_index(drop=True), check_dtype=False)


def test_the_workflow_draws_the_first_seed_of_each_variant(tmp_path):
    folder = copy_project(tmp_path)
    (folder / "mine.yaml").write_text(
        "datasets: [demo]\n"
        "variants: {mmaavi: {default: {}, k8: {n_components: 8}}, pca: {default: {}}}\n"
        "experiments: {mine: {analysis: markers, methods: {mmaavi: [default, k8], pca: [default]}, seeds: [3, 4]}}\n"
    )
    jobs = planned(folder, "--configfile", "mine.yaml")
    assert jobs["integrate"] == 6
    ours = ("markers", "figure_volcano", "figure_dot_plot", "figure_agreement", "figure_links")
    assert {name: jobs[name] for name in ours} == dict.fromkeys(ours, 2)

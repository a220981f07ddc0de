"""What a fitted model tells about cells and features, against the planted truth of a simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks.held_out_links import held_out_links
from conftest import small_mosaic
from scipy.stats import false_discovery_control, spearmanr

from mmaavi import differential, links, simulate
from mmaavi.activity import links_between
from mmaavi.calibration import expected_calibration_error, fit_temperature
from mmaavi.data import MosaicData
from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.mixture import DiagonalNormal, MixturePrior
from mmaavi.model import graph_share
from mmaavi.settings import Settings

QUICK = Settings(n_components=6, width=64, n_fused=32, n_latent=10, n_steps=300, minibatch_size=60)


@pytest.fixture(scope="module")
def truth(mosaic):
    parts = simulate.simulate(0, 300, 40, 10, separation=1.5).parts
    return parts["rna"].obs["cell_type"].loc[mosaic.cells].astype(str), parts


@pytest.fixture(scope="module")
def known(mosaic, truth):
    """Ten labelled cells of each type, all of batch1, but none of the first type."""
    types = truth[0][(mosaic.obs["batch"] == "batch1").to_numpy()]
    types = types[types != sorted(types.unique())[0]]
    return types.groupby(types).head(10)


@pytest.fixture(scope="module")
def supervised(mosaic, known):
    return MMAAVI(replace(QUICK, n_components=7), seed=0, device="cpu").fit(mosaic, labels=known, progress=False)


@pytest.fixture(scope="module")
def fitted(mosaic):
    return MMAAVI(QUICK, seed=0, device="cpu").fit(mosaic, progress=False)


def test_labels_reach_cells_of_other_batches_and_modalities(mosaic, truth, known, supervised):
    probabilities = supervised.predict_labels(mosaic)
    assert list(probabilities.columns[:5]) == sorted(known.unique())
    assert [c for c in probabilities if c.startswith("new_")] == ["new_1", "new_2"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    others = (mosaic.obs["batch"] != "batch1").to_numpy() & truth[0].isin(known.unique()).to_numpy()
    right = (probabilities.idxmax(axis=1) == truth[0]).to_numpy()
    assert right[others].mean() > 0.75
    assert expected_calibration_error(probabilities.max(axis=1).to_numpy()[others], right[others]) < 0.25


def test_labels_do_not_depend_on_their_order_nor_on_other_cells(mosaic, known, supervised):
    more = pd.concat([known.sample(frac=1, random_state=0), pd.Series({"no such cell": "t"})])
    again = MMAAVI(replace(QUICK, n_components=7), seed=0, device="cpu")
    with pytest.raises(InputError, match="none of the 1 labels is of a cell"):
        again.fit(mosaic, labels=more[-1:], progress=False)
    again.fit(mosaic, labels=more[:-1], progress=False)
    np.testing.assert_array_equal(again.predict_labels(mosaic), supervised.predict_labels(mosaic))


def test_a_model_without_labels_predicts_none(mosaic, fitted):
    with pytest.raises(InputError, match="trained without labels"):
        fitted.predict_labels(mosaic)


def test_an_observed_component_counts_as_such_in_the_kl_terms():
    torch.manual_seed(0)
    prior = MixturePrior(4, torch.tensor([0.0, 2.0, 5.0, 0.0, 1.0])).eval()
    log_p_c = torch.tensor([1, 3, 6, 1, 2]).div(13).log()
    z = torch.randn(6, 4)
    q_z = DiagonalNormal(torch.randn(6, 4), torch.rand(6, 4) + 0.2)
    label = torch.tensor([2, -1, 0, -1, 4, 1])
    torch.manual_seed(1)
    terms = prior(z, q_z, label)
    torch.manual_seed(1)
    u = prior.q_u(z)
    log_p_z = prior.p_z(u.rsample()).log_prob(z[:, None])
    q_c = prior.q_c(z)
    for n, c in enumerate(label.tolist()):
        probs, logits = q_c.probs[n], q_c.logits[n]
        weights = torch.eye(5)[c] if c >= 0 else probs
        torch.testing.assert_close(terms["kl_z"][n], q_z.log_prob(z)[n] - weights @ log_p_z[n])
        torch.testing.assert_close(terms["kl_u"][n], weights @ u.kl_to_standard()[n])
        entropy = 0.0 if c >= 0 else -(probs @ logits)
        torch.testing.assert_close(terms["kl_c"][n], -(weights @ log_p_c) - entropy)


def test_labelled_cells_have_their_share_of_every_minibatch(mosaic, known):
    label = pd.Categorical(known.reindex(mosaic.cells)).codes.astype(np.int64)
    data = MosaicData(mosaic, mosaic.batches, labels=label)
    for share in (0.0, 0.3):
        seen = [b.label for b in data.epoch(np.arange(data.n_cells), 60, torch.Generator().manual_seed(0), share)]
        shares = [float((x >= 0).float().mean()) for x in seen]
        assert min(shares) == max(shares)
        assert shares[0] >= share
        assert set(torch.cat(seen).tolist()) == set(label)


def test_hidden_values_are_imputed_better_than_by_the_batch_mean(mosaic, truth, fitted):
    hidden = (mosaic.obs["batch"] == "batch3").to_numpy()  # RNA was taken away
    imputed = fitted.impute(mosaic.take(hidden), "rna")
    assert imputed.shape == (hidden.sum(), 40)
    assert imputed.dtype == np.float32
    np.testing.assert_allclose(imputed.sum(axis=1), fitted.scaling["rna"].depth, rtol=1e-4)
    counts = truth[1]["rna"][mosaic.cells[hidden]].X.toarray()
    share = counts / counts.sum(axis=1, keepdims=True)
    by_feature = [spearmanr(imputed[:, g], share[:, g]).statistic for g in range(40)]
    assert np.nanmean(by_feature) > 0.15  # a batch mean, being constant, has none
    per_cell = np.mean([spearmanr(a, b).statistic for a, b in zip(imputed, share, strict=True)])
    mean = np.asarray(mosaic.counts["rna"].sum(axis=0)).ravel()
    assert per_cell > np.mean([spearmanr(mean, b).statistic for b in share])


def test_only_trained_batches_are_decoded(mosaic, fitted):
    before = fitted.impute(mosaic.take(np.arange(5)), "rna")
    decoder = fitted.network.decoder["rna"].likelihood
    untrained = mosaic.batches.index("batch3")
    assert not fitted.scaling["rna"].known[untrained]
    saved = decoder.bias.data[untrained].clone()
    decoder.bias.data[untrained] = 1e3
    np.testing.assert_array_equal(fitted.impute(mosaic.take(np.arange(5)), "rna"), before)
    decoder.bias.data[untrained] = saved


def test_differential_features_are_the_planted_ones_even_where_not_measured(mosaic, truth, fitted):
    types, parts = truth
    cells = mosaic.take((mosaic.obs["batch"] == "batch3").to_numpy())  # no RNA
    groups = types.loc[cells.cells]
    name = groups.value_counts().index[0]
    table = fitted.differential(cells, "rna", groups, group=name, n_draws=800)
    counts = parts["rna"][cells.cells].X.toarray()
    share = counts / counts.sum(axis=1, keepdims=True)
    inside = (groups == name).to_numpy()
    real = np.log2((share[inside].mean(axis=0) + 1e-3) / (share[~inside].mean(axis=0) + 1e-3))
    ours = table.set_index("feature")["difference"].loc[mosaic.var["rna"].index]
    assert spearmanr(ours, real).statistic > 0.5
    assert table["probability"].is_monotonic_decreasing
    assert table["fdr"].is_monotonic_increasing
    logit = np.log(table["probability"] / (1 - table["probability"]))
    inner = table["probability"].between(0.01, 0.99)
    np.testing.assert_allclose(table["ln_bayes_factor"][inner], logit[inner], rtol=1e-6)


def test_differential_agrees_with_brute_force(mosaic, truth, fitted):
    states = pd.DataFrame(fitted.embed(mosaic)["X_mmaavi"], index=mosaic.cells)
    groups = truth[0]
    a, b = sorted(groups.unique())[:2]
    table = differential.differential(
        fitted, states, "protein", groups, np.random.default_rng(5), group=a, reference=b, n_draws=300
    ).set_index("feature")
    rng = np.random.default_rng(5)
    rows = [rng.choice(np.flatnonzero(groups == g), 300) for g in (a, b)]
    with torch.no_grad():
        x, y = (fitted.decode(torch.tensor(states.to_numpy()[r]), "protein").numpy().astype(float) for r in rows)
    small = 1e-6 * fitted.scaling["protein"].depth
    change = np.log2((x + small) / (y + small))
    for i, protein in enumerate(mosaic.var["protein"].index):
        assert table.loc[protein, "difference"] == pytest.approx(change[:, i].mean(), abs=1e-4)
        up = change[:, i].mean() > 0
        expected = (change[:, i] > 0.25).mean() if up else (change[:, i] < -0.25).mean()
        assert table.loc[protein, "probability"] == pytest.approx(expected, abs=0.011)


def test_groups_may_be_numbers(mosaic, truth, fitted):
    numbers = pd.Series(pd.Categorical(truth[0]).codes, index=truth[0].index)
    table = fitted.differential(mosaic, "protein", numbers, n_draws=50)
    assert set(table["group"]) == {str(n) for n in numbers.unique()}


def test_groups_that_do_not_exist_are_named(mosaic, truth, fitted):
    with pytest.raises(InputError, match="no cells of the group 'typo'"):
        fitted.differential(mosaic, "rna", truth[0], group="typo")


def test_pairs_are_scored_by_correlation_and_only_those_that_go_together_pass(rng):
    genes = pd.DataFrame(rng.normal(size=(100, 60)).astype(np.float32), index=[f"g{i}" for i in range(100)])
    peaks = pd.DataFrame(rng.normal(size=(200, 60)).astype(np.float32), index=[f"p{i}" for i in range(200)])
    peaks.iloc[:20] = 0.2 * peaks.iloc[:20] + 3 * genes.iloc[:20].to_numpy()
    shared = rng.normal(size=60)  # what a modality shares changes nothing
    some = pd.DataFrame(
        {"source": np.r_[:20, rng.integers(100, size=300)], "target": np.r_[:20, rng.integers(20, 200, size=300)]}
    )
    told = pd.DataFrame({"source": genes.index[some["source"]], "target": peaks.index[some["target"]]})
    told["in_graph"] = rng.random(len(told)) < 0.5
    table = links.scored(pd.DataFrame(np.asfortranarray(genes + shared), genes.index), peaks * 3 + 2, told, rng)
    assert table["score"].is_monotonic_decreasing
    i, j = genes.index.get_indexer(table["source"]), peaks.index.get_indexer(table["target"])
    expected = np.corrcoef(genes - genes.mean(), peaks - peaks.mean())[:100, 100:]
    np.testing.assert_allclose(table["score"], expected[i, j], atol=1e-5)
    assert ((table["fdr"] <= 0.05) == ((i == j) & (i < 20))).all()
    for _, part in table.groupby("in_graph"):
        np.testing.assert_allclose(part["fdr"], false_discovery_control(part["p_value"]))
    assert abs((table["p_value"] < 0.2)[i != j].mean() - 0.2) < 0.07
    one_gene = links.scored(genes, peaks, told[:1], rng)  # the null is of all features
    assert one_gene["p_value"].min() < 0.001
    assert one_gene["target"].iloc[0] == "p0"
    every = pd.MultiIndex.from_product([genes.index, peaks.index[20:]], names=["source", "target"]).to_frame(index=False)
    unlinked = links.scored(genes, peaks[20:], every.assign(in_graph=False), rng)
    assert abs((unlinked["p_value"] < 0.1).mean() - 0.1) < 0.01
    assert unlinked["fdr"].min() > 0.05


def test_features_that_do_not_vary_have_no_links(rng):
    varying = pd.DataFrame(rng.normal(size=(5, 500)).astype(np.float32))
    constant = pd.DataFrame(np.asfortranarray(np.full((40, 500), rng.normal(size=(40, 1))), dtype=np.float32))
    pairs = pd.DataFrame({"source": [0] * 40, "target": range(40), "in_graph": False})
    assert (links.scored(varying, constant, pairs, rng)["score"] == 0).all()


def test_links_are_of_what_the_decoders_say(mosaic, fitted, tmp_path):
    pairs = pd.DataFrame({"source": mosaic.var["rna"].index[:3], "target": mosaic.var["protein"].index[:3], "more": 1})
    table = fitted.links(mosaic, "rna", "protein", pairs).set_index(["source", "target"])
    z = torch.tensor(fitted.embed(mosaic)["X_mmaavi"])
    profiles = []
    for m in ("rna", "protein"):
        logits, v = np.zeros((len(z), mosaic.n_features[m])), torch.tensor(fitted.feature_embeddings()[m].to_numpy())
        known = np.flatnonzero(fitted.scaling[m].known)
        for b in known:
            logits += fitted.network.decoder[m](z, v, torch.full((len(z),), b)).detach().numpy() / len(known)
        profiles.append(logits - logits.mean(axis=1, keepdims=True))
    for i, pair in enumerate(zip(pairs["source"], pairs["target"], strict=True)):
        expected = np.corrcoef(profiles[0][:, i], profiles[1][:, i])[0, 1]
        assert table.loc[pair, "score"] == pytest.approx(expected, abs=1e-4)
    fitted.save(tmp_path / "model")
    without_graph = replace(mosaic, guidance=None)  # the model's graph counts
    again = MMAAVI.load(tmp_path / "model").links(without_graph, "rna", "protein", pairs)
    pd.testing.assert_frame_equal(again.set_index(["source", "target"]), table)


def test_all_pairs_are_those_of_the_graph_and_the_others(mosaic, fitted):
    table = fitted.links(mosaic, "rna", "atac")
    assert len(table) == mosaic.n_features["rna"] * mosaic.n_features["atac"]
    assert table["in_graph"].sum() == (links_between(mosaic, "rna", "atac") != 0).sum()


def test_links_that_cannot_be_told_are_refused(mosaic, fitted):
    pairs = pd.DataFrame({"source": [mosaic.var["rna"].index[0]], "target": ["no such peak"]})
    for wrong, message in (
        (("rna", "typo"), "no modality 'typo'"),
        (("rna", "atac", pairs), "'target' names features that the model does not have: no such peak"),
        (("rna", "atac", pairs[:0]), "needs the columns 'source' and 'target', and a row for each pair"),
        (("rna", "atac", pairs[["source"]]), "it has source"),
    ):
        with pytest.raises(InputError, match=message):
            fitted.links(mosaic, *wrong)
    with pytest.raises(InputError, match="3 cells do not tell"):
        fitted.links(mosaic.take(mosaic.cells[:3]), "rna", "atac")


@pytest.mark.parametrize(("n_shared", "share"), [(10, 0.99), (11, 0.9)])
def test_the_graph_has_a_larger_share_where_hardly_a_cell_is_shared(n_shared, share):
    measured = np.zeros((100, 3), dtype=bool)
    measured[:50, 0] = measured[50:, 1] = measured[:n_shared, 2] = True
    assert graph_share(Settings(), measured) == share
    assert graph_share(Settings(graph_share=0.5), measured) == 0.5
    assert graph_share(Settings(decoder="graph", graph_share=0.5), measured) == 1
    assert graph_share(Settings(decoder="mlp"), measured) == 0


def test_held_out_links_score_above_chance_and_correlation():
    mosaic = small_mosaic(n_cells=600, n_genes=60)
    found = pd.DataFrame([held_out_links(mosaic, mosaic.guidance, seed, QUICK) for seed in range(3)]).mean()
    assert found["ours"] > 30 * found["chance"]
    assert found["ours"] > 1.2 * found["correlation"]


def test_the_temperature_makes_the_labels_most_likely(rng):
    logits = rng.normal(size=(4000, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = np.array([rng.choice(3, p=p) for p in probability])
    assert fit_temperature(3 * logits, label) == pytest.approx(3, rel=0.1)
    sure = 10 * np.eye(3)[label[:20]]
    assert fit_temperature(sure, label[:20]) > 0.5  # a few right answers are no reason to be surer
    assert expected_calibration_error(probability.max(axis=1), probability.argmax(axis=1) == label) < 0.03

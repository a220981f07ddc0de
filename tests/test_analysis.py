"""What a fitted model tells about cells and features, against the planted truth of a simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks.held_out_links import held_out_links
from conftest import small_mosaic
from scipy.stats import spearmanr

from mmaavi import differential, links, simulate
from mmaavi.calibration import expected_calibration_error, fit_temperature
from mmaavi.data import MosaicData
from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.mixture import DiagonalNormal, MixturePrior
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


def test_links_have_scores_and_a_uniform_null(rng):
    values = pd.DataFrame(rng.normal(size=(300, 40)))
    genes, peaks = values.iloc[:100] + rng.normal(size=40), values.iloc[100:] * 3 + 2  # what a modality shares changes nothing
    table = links.links(genes, peaks, None, rng)
    assert len(table) == 100 * 200
    assert table["score"].is_monotonic_decreasing
    centred = pd.concat([part - part.mean() for part in (values.iloc[:100], values.iloc[100:])])
    np.testing.assert_allclose(table["score"], np.corrcoef(centred)[table["source"], table["target"]], atol=1e-12)
    assert abs((table["p_value"] < 0.1).mean() - 0.1) < 0.01
    assert table["fdr"].min() > 0.05
    with pytest.raises(InputError, match="'target' names features without a profile: 999"):
        links.links(values, values, pd.DataFrame({"source": [1], "target": [999]}), rng)
    with pytest.raises(InputError, match="no pairs to score"):
        links.links(values, values, pd.DataFrame(columns=["source", "target"]), rng)


def test_links_are_of_what_the_decoders_say(mosaic, fitted):
    pairs = pd.DataFrame({"source": mosaic.var["rna"].index[:3], "target": mosaic.var["protein"].index[:3]})
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


def test_held_out_links_score_above_chance_and_correlation():
    mosaic = small_mosaic(n_cells=600, n_genes=60)
    found = pd.DataFrame([held_out_links(mosaic, mosaic.guidance, seed, QUICK) for seed in range(3)]).mean()
    assert found["ours"] > 20 * found["chance"]
    assert found["ours"] > 1.2 * found["correlation"]


def test_the_temperature_makes_the_labels_most_likely(rng):
    logits = rng.normal(size=(4000, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = np.array([rng.choice(3, p=p) for p in probability])
    assert fit_temperature(3 * logits, label) == pytest.approx(3, rel=0.1)
    sure = 10 * np.eye(3)[label[:20]]
    assert fit_temperature(sure, label[:20]) > 0.5  # a few right answers are no reason to be surer
    assert expected_calibration_error(probability.max(axis=1), probability.argmax(axis=1) == label) < 0.03

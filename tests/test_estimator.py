from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mmaavi import simulate
from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.model import MosaicVAE
from mmaavi.settings import Settings

QUICK = Settings(n_components=6, width=32, n_fused=16, n_latent=8, n_continuous=8, n_steps=300, minibatch_size=60)


@pytest.fixture(scope="module")
def fitted(mosaic):
    return MMAAVI(QUICK, seed=3, device="cpu").fit(mosaic, progress=False)


def test_training_finds_the_planted_types(mosaic, fitted):
    truth = simulate.simulate(0, 300, 40, 10, separation=1.5).parts["rna"].obs["cell_type"].loc[mosaic.cells]

    def agreement(x):
        return adjusted_rand_score(truth, KMeans(6, n_init=5, random_state=0).fit_predict(x))

    untrained = MMAAVI(replace(QUICK, n_steps=1, learning_rate=1e-9), seed=3, device="cpu").fit(mosaic, progress=False)
    after = agreement(fitted.embed(mosaic)["X_mmaavi"])
    assert after > 0.6
    assert after > agreement(untrained.embed(mosaic)["X_mmaavi"]) + 0.2


def test_the_loss_falls_and_every_term_is_logged(fitted):
    total = fitted.history[fitted.history["phase"] == "validation"]["total"].to_numpy()
    assert total[-1] < 0.95 * total[0]
    terms = {"nll_rna", "nll_atac", "nll_protein", "kl_z", "kl_u", "kl_c", "kl_v", "graph", "discriminator", "total"}
    assert set(fitted.history) == terms | {"epoch", "phase", "seconds"}
    assert fitted.history.notna().all(axis=None)


def test_the_same_seed_gives_the_same_bits(mosaic, fitted):
    again = MMAAVI(QUICK, seed=3, device="cpu").fit(mosaic, progress=False)
    np.testing.assert_array_equal(again.embed(mosaic)["X_mmaavi"], fitted.embed(mosaic)["X_mmaavi"])
    other = MMAAVI(QUICK, seed=4, device="cpu").fit(mosaic, progress=False)
    assert not np.allclose(other.embed(mosaic)["X_mmaavi"], fitted.embed(mosaic)["X_mmaavi"])


def test_what_stands_in_place_of_a_missing_modality_changes_nothing(mosaic, fitted, rng):
    rubbish = {}
    for m, x in mosaic.counts.items():
        noise = sp.random_array(x.shape, density=0.2, format="csr", rng=rng, dtype=np.float32)
        noise.data[:] = 999.0
        missing = sp.diags_array((~mosaic.measured[m].to_numpy()).astype(np.float32))
        rubbish[m] = sp.csr_array(x + missing @ noise)
    spoilt = replace(mosaic, counts=rubbish)
    for name, value in fitted.embed(mosaic).items():
        np.testing.assert_array_equal(value, fitted.embed(spoilt)[name])
    refitted = MMAAVI(QUICK, seed=3, device="cpu").fit(spoilt, progress=False)
    np.testing.assert_array_equal(refitted.embed(mosaic)["X_mmaavi"], fitted.embed(mosaic)["X_mmaavi"])


def test_rows_follow_the_cells_in_any_order(mosaic, fitted, rng):
    order = rng.permutation(len(mosaic.cells))
    for name, value in fitted.embed(mosaic.take(order)).items():
        np.testing.assert_allclose(value, fitted.embed(mosaic)[name][order], rtol=1e-4, atol=1e-5)


def test_attention_and_responsibilities_are_distributions(mosaic, fitted):
    slots = fitted.embed(mosaic)
    assert slots["X_mmaavi"].shape == (len(mosaic.cells), 8)
    np.testing.assert_allclose(slots["mmaavi_c"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.nansum(slots["mmaavi_attention"], axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(slots["mmaavi_attention"]), mosaic.measured.to_numpy())


def test_a_model_works_without_a_guidance_graph(mosaic):
    model = MMAAVI(replace(QUICK, n_steps=5), device="cpu").fit(replace(mosaic, guidance=None), progress=False)
    assert np.isfinite(model.embed(mosaic)["X_mmaavi"]).all()


def test_other_features_or_batches_are_refused(mosaic, fitted):
    turned = mosaic.var | {"rna": mosaic.var["rna"].iloc[::-1]}
    with pytest.raises(InputError, match="features of 'rna' are not those of the training: another order"):
        fitted.embed(replace(mosaic, var=turned))
    with pytest.raises(InputError, match="not trained with the batches elsewhere"):
        fitted.embed(replace(mosaic, obs=mosaic.obs.assign(batch="elsewhere")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_componentes": 5}, "no setting 'n_componentes'; did you mean 'n_components'"),
        ({"dropout": 1.5}, "'dropout' is 1.5; it must be a number between 0 and 0.99"),
        ({"n_latent": 0}, "'n_latent' is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Settings.from_dict(settings)


def test_a_loss_that_is_not_finite_stops_training_and_is_named(mosaic, monkeypatch):
    honest, calls = MosaicVAE.loss_terms, []

    def broken(self, batch, edges):
        calls.append(1)
        terms = honest(self, batch, edges)
        return terms | {"kl_u": terms["kl_u"] * float("nan")} if len(calls) == 12 else terms

    monkeypatch.setattr(MosaicVAE, "loss_terms", broken)
    with pytest.raises(InputError, match="loss terms .*'kl_u'.* are not finite in epoch 1 \\(validation\\)"):
        MMAAVI(QUICK, device="cpu").fit(mosaic, progress=False)
    assert len(calls) < 30

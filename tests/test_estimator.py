from dataclasses import replace

import mudata as md
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
import torch
from conftest import needs_gpu
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mmaavi import simulate, steps
from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.mosaic import load
from mmaavi.settings import Settings

QUICK = Settings(n_components=6, width=32, n_fused=16, n_latent=8, n_steps=300, minibatch_size=60)


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
    terms = {"nll_rna", "nll_atac", "nll_protein", "kl_z", "kl_u", "kl_c", "kl_v", "graph", "agreement", "discriminator", "total"}
    assert set(fitted.history) == terms | {"epoch", "phase", "seconds"}
    assert fitted.history.notna().all(axis=None)


def few_steps(mosaic, seed: int = 3) -> np.ndarray:
    """Cell states after a short training."""
    model = MMAAVI(replace(QUICK, n_steps=40), seed=seed, device="cpu").fit(mosaic, progress=False)
    return model.embed(mosaic)["X_mmaavi"]


@pytest.fixture(scope="module")
def states(mosaic):
    return few_steps(mosaic)


def test_the_same_seed_gives_the_same_bits(mosaic, states):
    np.testing.assert_array_equal(few_steps(mosaic), states)
    assert not np.allclose(few_steps(mosaic, seed=4), states)


def test_what_stands_in_place_of_a_missing_modality_changes_nothing(mosaic, fitted, states, rng):
    rubbish = {}
    for m, x in mosaic.counts.items():
        noise = sp.random_array(x.shape, density=0.2, format="csr", rng=rng, dtype=np.float32)
        noise.data[:] = 999.0
        missing = sp.diags_array((~mosaic.measured[m].to_numpy()).astype(np.float32))
        rubbish[m] = sp.csr_array(x + missing @ noise)
    spoilt = replace(mosaic, counts=rubbish)
    for name, value in fitted.embed(mosaic).items():
        np.testing.assert_array_equal(value, fitted.embed(spoilt)[name])
    np.testing.assert_array_equal(few_steps(spoilt), states)


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


def test_features_in_another_order_are_put_right(mosaic, fitted):
    turned = replace(
        mosaic,
        counts=mosaic.counts | {"rna": sp.csr_array(mosaic.counts["rna"][:, ::-1])},
        var=mosaic.var | {"rna": mosaic.var["rna"].iloc[::-1]},
    )
    np.testing.assert_array_equal(fitted.embed(turned)["X_mmaavi"], fitted.embed(mosaic)["X_mmaavi"])


def test_missing_features_and_unknown_modalities_are_named(mosaic, fitted):
    fewer = {"counts": mosaic.counts["rna"][:, 2:], "var": mosaic.var["rna"].iloc[2:]}
    short = replace(mosaic, counts=mosaic.counts | {"rna": sp.csr_array(fewer["counts"])}, var=mosaic.var | {"rna": fewer["var"]})
    with pytest.raises(InputError, match="modality 'rna' lacks 2 of the 40 features of the training \\(gene000, gene001"):
        fitted.embed(short)
    renamed = replace(
        mosaic,
        counts={m.replace("rna", "RNA"): x for m, x in mosaic.counts.items()},
        var={m.replace("rna", "RNA"): x for m, x in mosaic.var.items()},
        measured=mosaic.measured.rename(columns={"rna": "RNA"}),
    )
    with pytest.raises(InputError, match="not trained with a modality 'RNA'; did you mean 'rna'"):
        fitted.embed(renamed)


def test_a_subset_of_modalities_is_embedded_as_if_the_others_were_not_measured(mosaic, fitted):
    cells = mosaic.take((mosaic.obs["batch"] == "batch1").to_numpy())
    alone = replace(cells, counts={"rna": cells.counts["rna"]}, var={"rna": cells.var["rna"]}, measured=cells.measured[["rna"]])
    hidden = cells.with_measured(cells.measured.assign(atac=False))
    np.testing.assert_array_equal(fitted.embed(alone)["X_mmaavi"], fitted.embed(hidden)["X_mmaavi"])


def test_cells_of_a_new_batch_land_where_they_would_in_their_own(mosaic, fitted):
    cells = mosaic.take((mosaic.obs["batch"] == "batch2").to_numpy())
    new = fitted.embed(replace(cells, obs=cells.obs.assign(batch="elsewhere")))["X_mmaavi"]
    np.testing.assert_allclose(new, fitted.embed(cells)["X_mmaavi"], atol=1e-4)  # the same cells, the same mean and sd


def test_a_mudata_gets_the_results_in_place_by_cell_id(mosaic, tmp_path):
    mosaic.save(tmp_path / "mosaic.h5mu")
    mdata = md.read_h5mu(tmp_path / "mosaic.h5mu")
    model = MMAAVI(replace(QUICK, n_steps=20), device="cpu").fit(mdata, progress=False)
    slots = model.embed(mosaic)
    rows = mosaic.cells.get_indexer(mdata.obs_names)
    np.testing.assert_allclose(mdata.obsm["X_mmaavi"], slots["X_mmaavi"][rows], atol=1e-5)
    assert mdata.obsm["mmaavi_c"].shape == (mdata.n_obs, 6)
    assert mdata["rna"].varm["mmaavi_v"].shape == (40, 8)
    assert (mdata["atac"].varm["mmaavi_v_sd"] > 0).all()
    assert mdata.obs["mmaavi_cluster"].notna().all()
    sc.pp.neighbors(mdata, use_rep="X_mmaavi")


@needs_gpu
def test_a_gpu_trains_and_embeds_as_the_cpu_does(mosaic, fitted, tmp_path):
    fitted.save(tmp_path / "model")
    there = MMAAVI.load(tmp_path / "model", device="cuda").embed(mosaic)["X_mmaavi"]
    np.testing.assert_allclose(there, fitted.embed(mosaic)["X_mmaavi"], atol=1e-3)
    trained = MMAAVI(replace(QUICK, n_steps=30), seed=0, device="cuda").fit(mosaic, progress=False)
    assert np.isfinite(trained.embed(mosaic)["X_mmaavi"]).all()


@needs_gpu
def test_a_gpu_trains_from_disk_as_from_memory(mosaic, tmp_path):
    mosaic.save(tmp_path / "mosaic.h5mu")
    totals = []
    for counts in (mosaic, load(tmp_path / "mosaic.h5mu", memory_gib=0)):
        history = MMAAVI(replace(QUICK, n_steps=60), seed=0, device="cuda", memory_gib=1e-3).fit(counts, progress=False).history
        totals.append(history.loc[history["phase"] == "validation", "total"].to_numpy())
    np.testing.assert_allclose(totals[0][-1], totals[1][-1], rtol=0.02)  # other minibatches
    assert totals[1][-1] < 0.95 * totals[1][0]


@needs_gpu
def test_steps_that_a_gpu_replays_train_as_those_that_it_takes_one_by_one(mosaic, monkeypatch):
    histories = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(steps, "triton_works", lambda: False)
        histories.append(MMAAVI(replace(QUICK, n_steps=60), seed=0, device="cuda").fit(mosaic, progress=False).history)
    totals = [h.loc[h["phase"] == "validation", "total"].to_numpy() for h in histories]
    np.testing.assert_allclose(totals[0], totals[1], rtol=0.02)  # other noise


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


def test_adapting_fits_the_new_batchs_decoder_and_nothing_else(mosaic, fitted):
    cells = mosaic.take((mosaic.obs["batch"] == "batch1").to_numpy())
    skewed = cells.counts["rna"].toarray()
    skewed[:, :10] *= 5
    new = replace(
        cells, counts=cells.counts | {"rna": sp.csr_array(skewed)}, obs=cells.obs.assign(batch="elsewhere"), guidance=None
    )
    adapted = fitted.adapt(new, n_steps=60)
    assert adapted.batches == [*fitted.batches, "elsewhere"]
    np.testing.assert_allclose(adapted.embed(mosaic)["X_mmaavi"], fitted.embed(mosaic)["X_mmaavi"], atol=1e-5)
    before, after = fitted.network.decoder["rna"].likelihood.bias, adapted.network.decoder["rna"].likelihood.bias
    np.testing.assert_array_equal(after[:3].detach(), before.detach())
    share = adapted.network.decoder["rna"].mean(
        torch.tensor(adapted.embed(new)["X_mmaavi"]),
        adapted.network.by_modality(adapted.network.graph.q_v().mean)["rna"],
        torch.full((len(cells.cells),), 3),
        1.0,
    )
    real = skewed / skewed.sum(axis=1, keepdims=True)
    assert share.detach().numpy()[:, :10].sum() == pytest.approx(real[:, :10].sum(), rel=0.05)
    with pytest.raises(InputError, match="there is nothing to adapt"):
        fitted.adapt(cells)

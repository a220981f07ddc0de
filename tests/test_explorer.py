import base64
import importlib.util
import shutil
import zlib
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmaavi import explorer
from mmaavi.estimator import MMAAVI
from mmaavi.explorer import categories, explorer_page, numbers, page_data
from mmaavi.plots.style import colours_of
from mmaavi.settings import Settings

QUICK = Settings(n_components=6, width=32, n_fused=16, n_latent=8, n_steps=30, minibatch_size=60)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_BROWSER = (CHROMIUM is None and "chromium is not installed (Debian: apt-get install chromium)") or (
    importlib.util.find_spec("playwright") is None and "playwright is not installed (envs/requirements.lock)"
)


@pytest.fixture(scope="module")
def parts(mosaic):
    """What a page is made of; peaks are binarised, a label is missing now and then, another looks like HTML."""
    mosaic = replace(mosaic, likelihoods={"atac": "bernoulli"})
    model = MMAAVI(QUICK, device="cpu").fit(mosaic, progress=False)
    slots = model.embed(mosaic)
    obsm = {"X_emb": slots["X_mmaavi"], "mmaavi_c": slots["mmaavi_c"], "mmaavi_attention": slots["mmaavi_attention"]}
    uns = {"modalities": np.array(mosaic.modalities, dtype=object)}
    embedding = ad.AnnData(obs=pd.DataFrame(index=mosaic.cells), obsm=obsm, uns=uns)
    umap = pd.DataFrame(slots["X_mmaavi"][:, :2], index=mosaic.cells, columns=["x", "y"]).assign(
        cluster=np.arange(len(mosaic.cells)) % 3 + 1.0
    )
    label = mosaic.obs["cell_type"].where(np.arange(len(mosaic.cells)) % 7 > 0).replace({"type1": "<b>type & 1"})
    labels = pd.concat([mosaic.obs[["batch"]], mosaic.patterns, label], axis=1)
    return mosaic, labels, umap, embedding, model


def steps_of(paint: dict) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(paint["data"])), dtype=np.uint8)


def shown_by(paint: dict) -> np.ndarray:
    """The numbers that a colouring stands for."""
    steps = steps_of(paint)
    return np.where(steps == 255, np.nan, paint["low"] + steps / explorer.STEPS * (paint["high"] - paint["low"]))


def test_values_are_joined_by_cell_id(parts, rng):
    mosaic, labels, umap, embedding, model = parts
    order = rng.permutation(len(mosaic.cells))
    data, other = (
        page_data(mosaic, *tables, model) for tables in (parts[1:4], [t[order] for t in (labels.iloc, umap.iloc, embedding)])
    )
    pd.testing.assert_frame_equal(data.cells, other.cells)
    assert data.colourings == other.colourings
    assert data.features == other.features
    cells = data.cells.index
    assert set(cells) == set(mosaic.cells)
    assert (data.cells["Batch"] == mosaic.obs["batch"].loc[cells]).all()
    assert (data.cells["x"] == umap.loc[cells, "x"]).all()
    assert data.colourings["Cells"]["Cell type"]["colours"] == list(colours_of(labels["cell_type"]).values())
    cluster = data.colourings["Cells"]["mmAAVI cluster"]
    found = np.array(cluster["names"], dtype=int)[steps_of(cluster)]
    np.testing.assert_array_equal(found, embedding[cells].obsm["mmaavi_c"].argmax(axis=1))
    leiden = data.colourings["Cells"]["Leiden cluster"]
    np.testing.assert_array_equal(np.array(leiden["names"], dtype=int)[steps_of(leiden)], umap.loc[cells, "cluster"])
    attention = shown_by(data.colourings["Attention"]["Attention to protein"])
    np.testing.assert_allclose(attention, embedding[cells].obsm["mmaavi_attention"][:, 2], atol=1 / 500)


def test_features_are_shown_as_measured_and_as_imputed(parts):
    mosaic, *_, model = parts
    data = page_data(*parts)
    shown = mosaic.take(data.cells.index)
    imputed_by = {m: model.impute(shown, m) for m in mosaic.modalities}
    for name, (measured, imputed) in data.features.items():
        m, feature = name.split(":")
        column = mosaic.var[m].index.get_loc(feature)
        counts = shown.counts[m][:, [column]].toarray()[:, 0]
        expected = imputed_by[m][:, column]
        if m == "atac":
            counts = (counts > 0).astype(float)
        else:
            counts = np.log1p(1e4 * counts / np.maximum(shown.counts[m].sum(axis=1), 1))
            expected = np.log1p(1e4 * expected / model.scaling[m].depth)
        for paint, values in ((measured, np.where(shown.measured[m], counts, np.nan)), (imputed, expected)):
            half_a_step = (paint["high"] - paint["low"]) / explorer.STEPS / 2
            np.testing.assert_allclose(shown_by(paint), values, atol=half_a_step + 1e-4, err_msg=name)
    assert data.searchable == {"rna": (40, 40), "atac": (len(mosaic.var["atac"]),) * 2, "protein": (10, 10)}


@pytest.mark.parametrize("values", [[np.nan, np.nan], [2.0, 2.0], [-1e6, np.nan, 3.0], [0.0, 1e-12]])
def test_odd_numbers_are_kept(values):
    paint = numbers(np.array(values), "unit")
    tolerance = (paint["high"] - paint["low"]) / explorer.STEPS / 2 + 1e-9
    np.testing.assert_allclose(shown_by(paint), values, atol=tolerance)


def test_categories_beyond_what_a_byte_holds_are_named_together():
    values = pd.Series([f"{i:03d}" for i in range(300)] + [None])
    paint = categories(values, values.index)
    assert len(paint["names"]) == len(paint["colours"]) == 255
    assert paint["names"][254] == "all others"
    assert steps_of(paint)[[0, 253, 254, 299, 300]].tolist() == [0, 253, 254, 254, 255]


def test_the_page_says_what_it_leaves_out(parts):
    mosaic = parts[0]
    data = page_data(*parts, most_cells=100, feature_bytes=20_000)
    share = data.cells["Batch"].value_counts() / mosaic.obs["batch"].value_counts()
    np.testing.assert_allclose(share, 100 / len(mosaic.cells), atol=0.01)
    assert sum(len(paint["data"]) for pair in data.features.values() for paint in pair) <= 20_000
    counts = [found for found, _ in data.searchable.values()]
    assert counts[2] == 10  # all proteins; of the others as many each
    assert 10 < counts[0] < 40
    assert abs(counts[0] - counts[1]) <= 1
    page = explorer_page(data, "A <title>", "someone")
    assert f"{len(data.cells)} of {len(mosaic.cells)} cells" in page
    assert f"{counts[0]} of 40 rna" in page
    # The most varying between clusters are kept.
    kept = [name.removeprefix("rna:") for name in data.features if name.startswith("rna:")]
    states = pd.DataFrame(explorer._expected(parts[4], "rna", parts[3].obsm["X_emb"]), columns=mosaic.var["rna"].index)
    spread = states.groupby(parts[3].obsm["mmaavi_c"].argmax(axis=1)).mean().std()
    assert spread[kept].mean() > spread.drop(kept).mean()


@pytest.fixture(scope="module")
def browser():
    if NO_BROWSER:
        pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--headless", "--no-sandbox", "--disable-gpu"]
        with playwright.chromium.launch(executable_path=CHROMIUM, args=options) as chromium:
            yield chromium


def open_page(browser, html: str, folder):
    """The page in a browser, with all that is said in its console and that it asks the network for."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    page, said = browser.new_page(viewport={"width": 1100, "height": 700}), []
    page.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith("http") and said.append(request.url))
    page.goto(file.as_uri())
    page.locator("h3").wait_for(timeout=60_000)
    return page, said


def picture(page) -> bytes:
    """The plot, once it has been drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(300)
    return page.screenshot(clip={"x": 300, "y": 0, "width": 740, "height": 700})


def test_a_browser_colours_and_searches(parts, browser, tmp_path):
    data = page_data(*parts)
    page, said = open_page(browser, explorer_page(data, "Simulated & small", "simulated by mmaavi.simulate"), tmp_path)
    assert page.title() == "Simulated & small: explore"
    legend = page.locator("h3 + *, h3 ~ div")
    assert page.locator("h3").inner_text() == "Cell type"
    assert "<b>type & 1" in legend.all_inner_texts()[0]
    assert any(text.startswith("unassigned") for text in legend.all_inner_texts())
    pictures = [picture(page)]
    page.locator("select").select_option("Attention to rna")
    page.get_by_text("not measured").wait_for()
    assert page.locator("h3").inner_text() == "Attention to rna"
    pictures.append(picture(page))

    search = page.get_by_placeholder("part of its name")
    search.press_sequentially("ENE01")  # any part of the name, in any case
    page.get_by_text("rna:gene012", exact=True).click()
    page.get_by_text("log1p of counts per 10,000").wait_for()
    assert page.locator("h3").inner_text() == "rna:gene012"
    assert search.input_value() == ""
    pictures.append(picture(page))
    page.get_by_text("Imputed", exact=True).click()
    page.get_by_text("not measured").wait_for(state="detached")
    pictures.append(picture(page))
    page.locator("select").select_option("Batch")
    page.get_by_text("batch2").wait_for()
    page.locator("select").select_option("rna:gene012")  # what was searched stays a choice
    page.locator("h3", has_text="rna:gene012").wait_for()
    assert picture(page) == pictures[-1]
    assert len(set(pictures)) == 4
    page.screenshot(path=tmp_path / "page.png")
    assert not said


def test_a_page_of_as_many_cells_as_are_ever_shown_recolours(browser, tmp_path, rng):
    n = explorer.MOST_CELLS
    kind = pd.Series(rng.choice(["a", "b", "c"], n), index=[f"c{i}" for i in range(n)])
    cells = pd.DataFrame(rng.normal(size=(n, 2)), kind.index, ["x", "y"]).assign(Type=kind)
    colourings = {"Cells": {"Type": categories(kind, kind.index), "Attention": numbers(rng.random(n), "weight", (0, 1))}}
    data = explorer.PageData(cells, colourings, {}, {}, n)
    page, said = open_page(browser, explorer_page(data, "Many cells", ""), tmp_path)
    pictures = [picture(page)]
    page.locator("select").select_option("Attention")
    page.get_by_text("weight", exact=True).wait_for()
    pictures.append(picture(page))
    page.locator("select").select_option("Type")
    page.locator("h3", has_text="Type").wait_for()
    assert picture(page) == pictures[0] != pictures[1]
    assert f"{n:,} cells" in page.content()
    assert not said


def test_a_page_without_labels_opens(parts, browser, tmp_path):
    mosaic, labels, *rest = parts
    page, said = open_page(
        browser, explorer_page(page_data(mosaic, labels[["batch", "pattern"]], *rest), "No labels", ""), tmp_path
    )
    assert page.locator("h3").inner_text() == "Measured modalities"
    assert not said

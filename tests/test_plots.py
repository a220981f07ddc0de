import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from mmaavi.metrics import AGGREGATES, BATCH, BIO, IMPUTATION, MOSAIC, TRUTH
from mmaavi.plots.attention import attention_heatmaps
from mmaavi.plots.cost import cost_panels
from mmaavi.plots.scores import score_panels
from mmaavi.plots.style import COLOURS, colours_of, save
from mmaavi.plots.umap import umap_grid
from mmaavi.plots.volcano import volcano

NAMES = AGGREGATES | BIO | BATCH | MOSAIC | TRUTH | IMPUTATION


@pytest.fixture
def labels(rng):
    n = 60
    table = pd.DataFrame({"batch": rng.choice(["b1", "b2"], n), "pattern": "rna", "cell_type": rng.choice(["T", "B", None], n)})
    return table.set_axis([f"c{i}" for i in range(n)])


def texts(figure) -> str:
    figure.canvas.draw()
    return " | ".join(t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_a_value_keeps_its_colour_whatever_else_is_drawn(labels):
    colours = colours_of(labels["cell_type"])
    assert list(colours) == ["B", "T"]
    assert len(set(COLOURS)) == len(COLOURS) > 15


def test_umaps_are_joined_by_cell_id(labels, rng):
    umap = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"], index=labels.index).assign(method="mmaavi")
    figure = umap_grid(umap.iloc[::-1], labels, ["mmaavi"], "Title")
    drawn = figure.axes[0].collections[0]
    for point, colour in zip(drawn.get_offsets(), drawn.get_facecolors(), strict=True):
        cell = umap.index[np.argmin(((umap[["x", "y"]].to_numpy() - point) ** 2).sum(axis=1))]
        expected = colours_of(labels["batch"])[labels.loc[cell, "batch"]]
        np.testing.assert_allclose(colour[:3], to_rgb(expected))
    assert "unassigned" in texts(figure)
    assert "Title, 60 cells" in texts(figure)


def scores(missing: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        {
            "method": m,
            "variant": "default",
            "metric": k,
            "group": g,
            "seed": s,
            "value": np.nan if k == missing else 0.1 * s + 0.5,
            "note": "",
        }
        for m in ("mmaavi", "pca")
        for k in NAMES
        for g in (["rna", "rna: mean profile"] if k in IMPUTATION else ["all"])
        for s in range(3)
    ]
    table = pd.DataFrame(rows)
    mean = table.groupby(["method", "variant", "metric", "group"], sort=False)["value"].mean().rename("mean").reset_index()
    return mean.assign(low=mean["mean"] - 0.1, high=mean["mean"] + 0.1), table


def test_every_score_has_a_panel_and_missing_ones_say_so():
    text = texts(score_panels(*scores(missing="kbet"), "Title"))
    for name in NAMES.values():
        assert name in text
    assert text.count("not defined") == 2
    assert "FOSCTTM (lower is better)" in text


def test_a_method_that_was_not_run_is_named_with_its_reason():
    summary, table = scores(missing="")
    not_run = {"method": "uinmf", "variant": "default", "group": "all"}
    rows = [{**not_run, "metric": k, "seed": 0, "value": np.nan, "note": "not run: no modality is shared"} for k in NAMES]
    summary = pd.concat([summary, pd.DataFrame([{**not_run, "metric": k, "mean": np.nan} for k in NAMES])])
    text = texts(score_panels(summary, pd.concat([table, pd.DataFrame(rows)]), "Title"))
    assert "not run: no modality is shared" in text
    assert "not defined" not in text


def test_attention_shows_what_was_not_measured_as_empty(labels):
    attention = pd.DataFrame({"rna": 0.25, "atac": np.where(labels["batch"] == "b1", 0.75, np.nan)}, index=labels.index)
    text = texts(attention_heatmaps(attention, labels, "Title"))
    assert text.count("0.25") == 6  # three labels with 'unassigned', two batches
    assert text.count("0.75") >= 3


def test_figures_are_written_whole(tmp_path):
    cost = pd.DataFrame(
        {"dataset": "d", "method": "pca", "variant": "k8", "seed": 0, "fit_seconds": 1.0, "peak_memory_gib": 0.5}, index=[0]
    )
    paths = [tmp_path / "a.svg", tmp_path / "a.png"]
    save(cost_panels(cost), paths)
    assert b"PCA, zero-filled (k8)" in paths[0].read_bytes()
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_volcano_names_the_strongest_features_of_each_direction(rng):
    table = pd.DataFrame(
        {
            "group": "T",
            "reference": "rest",
            "feature": [f"gene{i}" for i in range(100)],
            "difference": np.linspace(-3, 3, 100),
            "ln_bayes_factor": np.abs(np.linspace(-8, 8, 100)),
            "fdr": np.where(np.abs(np.linspace(-8, 8, 100)) > 6, 0.01, 0.5),
        }
    )
    text = texts(volcano(table, "Title", n_named=3))
    assert {name for name in text.split(" | ") if name.startswith("gene")} == {f"gene{i}" for i in (0, 1, 2, 97, 98, 99)}
    assert "T against rest" in text

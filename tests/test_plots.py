import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.colors import to_rgb

from mmaavi.configuration import read_config
from mmaavi.plots.ablation import differences
from mmaavi.plots.attention import attention_heatmaps
from mmaavi.plots.components import component_losses
from mmaavi.plots.cost import cost_panels
from mmaavi.plots.curves import curves
from mmaavi.plots.imputation import imputation_panels
from mmaavi.plots.populations import population_panels
from mmaavi.plots.score_table import ranking, score_table
from mmaavi.plots.scores import score_panels
from mmaavi.plots.style import COLOURS, colours_of, save
from mmaavi.plots.transfer import confusion, transfer_groups, transfer_umap
from mmaavi.plots.umap import umap_grid
from mmaavi.plots.volcano import volcano
from mmaavi.scores import AGGREGATES, BATCH, BIO, IMPUTATION, MOSAIC, TRUTH
from mmaavi.selection import by_components

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
    known = {"T": COLOURS[0], "NK": COLOURS[1]}
    assert colours_of(labels["cell_type"], known) == {"B": COLOURS[1], "T": COLOURS[0]}
    many = pd.Series([f"{i:02d}" for i in range(len(COLOURS) + 1)] + ["T"])
    colours = colours_of(many, known)
    assert colours["T"] == COLOURS[0]
    assert set(colours.values()) == set(COLOURS)  # and none but T has the first


def test_labels_have_one_colour_in_all_datasets():
    known = read_config(ROOT / "config/colours.yaml", ROOT / "workflow/schemas/colours.schema.yaml")
    assert set(known.values()) <= set(COLOURS)
    quickstart = ["B", "CD4 T", "CD8 T", "DC", "Mono", "NK", "other", "other T"]
    teaseq = [
        "B.Activated", "B.Naive", "DC.Myeloid", "Mono.CD14", "Mono.CD16", "NK", "Platelets", "T.CD4.Memory", "T.CD4.Naive",
        "T.CD8.Effector", "T.CD8.Naive",
    ]  # fmt: skip
    for names in (quickstart, teaseq):
        assert len({known[name] for name in names}) == len(names)


def test_umaps_are_joined_by_cell_id(labels, rng):
    umap = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"], index=labels.index).assign(method="mmaavi", cluster=1)
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


def tidy(dataset: str = "d", methods=("mmaavi", "pca", "cell_type")) -> pd.DataFrame:
    table = pd.concat([scores(missing="")[0].query("method == 'mmaavi'").assign(method=m) for m in methods])
    return table.assign(dataset=dataset, scenario="full", n_seeds=3)


def test_the_score_table_puts_the_best_first_and_controls_last():
    table = tidy()
    table.loc[(table["method"] == "pca") & (table["metric"] == "total"), ["mean", "low", "high"]] += 0.2
    figure = score_table(table, "Title")
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == ["PCA, zero-filled  (3)", "mmAAVI  (3)", "Cell types (upper bound)  (3)"]
    for name in (*BIO.values(), *BATCH.values(), *AGGREGATES.values()):
        assert name.split()[0] in texts(figure)
    bold = {t.get_position()[1] for axis in figure.axes[:2] for t in axis.texts if t.get_fontweight() == "bold"}
    assert bold == {0, -1}  # the two methods are alike; so is the control, which is not


def test_a_single_seed_has_no_interval_and_is_drawn():
    assert "Total" in texts(score_table(tidy().assign(low=np.nan, high=np.nan, n_seeds=1), "Title"))


def test_the_ranking_counts_by_dataset_and_leaves_controls_out():
    one, two = tidy("one"), tidy("two", ("mmaavi",))
    one.loc[(one["method"] == "pca") & (one["metric"] == "total"), ["mean", "n_seeds"]] = [0.9, 1]
    cells = {("one", "full"): "12 cells", ("two", "full"): "34 cells"}
    text = texts(ranking(pd.concat([one, two]), cells, "Title"))
    assert "two\n34 cells" in text
    assert "0.900  #1 *" in text
    assert "#2 *" not in text
    assert "no" not in text.split(" | ")
    assert "Cell types" not in text
    assert "1.0 of some" in text  # PCA, on one of two
    declared = tidy("two", ("pca",)).assign(mean=np.nan, n_seeds=0)
    assert "no" in texts(ranking(pd.concat([one, two, declared]), cells, "Title")).split(" | ")


def test_curves_have_a_line_for_each_method_and_a_panel_for_each_measure():
    rows = [
        (m, "default", p, x, 0.1 * x, 0.1 * x, 0.1 * x) for m in ("mmaavi", "pca") for p in ("Total", "seconds") for x in (1, 10)
    ]
    table = pd.DataFrame(rows, columns=["method", "variant", "panel", "x", "mean", "low", "high"])
    figure = curves(table, "cells", "Title", log_x=True, log_y=("seconds",))
    assert [len(axis.lines) for axis in figure.axes] == [2, 2]
    assert figure.axes[1].get_yscale() == "log"
    assert "cells" in texts(figure)


def test_differences_lie_on_both_sides_of_zero():
    table = pd.DataFrame({"name": ["a", "b"], "panel": "Total", "seed": 0, "difference": [0.1, -0.2]})
    text = texts(differences(table, "default", "Title"))
    assert "+0.100" in text
    assert "-0.200" in text
    assert "difference to 'default'" in text


def test_the_chosen_number_of_components_is_marked():
    losses = pd.DataFrame({"n_components": [3, 3, 5, 5], "seed": [0, 1, 0, 1], "loss": [2.0, 2.1, 1.5, 1.6]})
    assert "chosen: K = 5" in texts(component_losses(losses, by_components(losses), "Title"))


def test_populations_show_before_and_after():
    table = pd.DataFrame({"method": "mmaavi", "variant": "default", "when": ["before", "after"]})
    table = table.assign(scenario="cut", score="purity of B")
    table = table.assign(mean=[0.9, 0.4], low=[0.85, np.nan], high=[0.95, np.nan])
    lines = [line.get_xdata() for line in population_panels(table, "Title").axes[0].lines]
    assert {float(x[0]) for x in lines if len(x) == 1} == {0.9, 0.4}
    assert [0.85, 0.95] in [list(x) for x in lines if len(x) == 2]
    assert len(population_panels(table[1:], "Title").axes[0].lines) > 0  # with all cells, nothing was run


def test_imputation_shows_the_baseline_and_says_where_nothing_was_hidden():
    rows = [
        ("pca", "default", s, k, g, v) for k in IMPUTATION for s in (0, 1) for g, v in (("rna", 0.5), ("rna: mean profile", 0.3))
    ]
    table = pd.DataFrame(rows, columns=["method", "variant", "seed", "metric", "group", "value"])
    assert "mean profile" in texts(imputation_panels(table, "Title"))
    assert "Nothing was hidden" in texts(imputation_panels(table[table["group"] == "none"], "Title"))


def test_transferred_labels_are_drawn_by_cell_id(labels, rng):
    cells = pd.DataFrame({"truth": labels["cell_type"], "predicted": "T", "probability": 0.8, "labelled": False})
    cells.loc[cells["truth"].dropna().index[:5], "labelled"] = True
    layout = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"], index=labels.index).iloc[::-1]
    text = texts(transfer_umap(layout, cells, "Title"))
    assert "labelled (5 cells)" in text
    both = cells[["truth", "predicted"]].dropna()
    text = texts(confusion({"mmaavi": both}, "Title")).split(" | ")
    assert "mmAAVI" in text
    assert f"T ({(both['truth'] == 'T').sum()})" in text
    assert "100" in text
    groups = pd.DataFrame({"method": ["mmaavi", "pca"], "variant": "default", "group": "all", "mean": [0.2, 0.7]})
    names = [t.get_text() for t in transfer_groups(groups, "Title").axes[0].get_yticklabels()]
    assert names == ["PCA, zero-filled", "mmAAVI"]  # the best first

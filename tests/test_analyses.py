import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmaavi import analyses
from mmaavi.analyses import of_runs, panels, removed_populations, series, share_with
from mmaavi.experiments import Run
from mmaavi.overview import packages
from mmaavi.plan import earlier_runs, estimates, plan
from mmaavi.reference import AS_SCORES, compare

RUNS = [["d", s, "mmaavi", v, k] for s, v in (("full", "default"), ("full", "small"), ("cut", "default")) for k in (0, 1)]


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = []
    for i, run in enumerate([*RUNS, ["other", "full", "pca", "default", 0]]):
        rows += [(*run, "total", "all", 0.5 + 0.01 * i), (*run, "purity", "B", 0.9 - 0.1 * i), (*run, "bio", "all", np.nan)]
    return pd.DataFrame(rows, columns=[*analyses.RUN, "metric", "group", "value"])


def test_only_the_runs_of_an_experiment_are_taken_in_its_order(scores):
    part = of_runs(scores.sample(frac=1, random_state=0), RUNS[::-1])
    assert set(part["dataset"]) == {"d"}
    assert part.drop_duplicates(analyses.RUN)[analyses.RUN].to_numpy().tolist() == RUNS[::-1]


def test_a_series_is_the_mean_over_seeds_at_each_x(scores):
    table = series(panels(of_runs(scores, RUNS), {"total": "Total"}), pd.Series({"full": 100, "cut": 50}).rename_axis("scenario"))
    of = table.set_index(["variant", "x"])["mean"]
    assert of["default", 100] == pytest.approx(0.505)
    assert of["small", 100] == pytest.approx(0.525)
    assert of["default", 50] == pytest.approx(0.545)
    assert set(table["panel"]) == {"Total"}


def test_the_share_of_a_modality_is_read_from_the_patterns():
    labels = pd.DataFrame({"pattern": ["rna+protein", "rna", "protein", "rna_protein"]})
    assert share_with(labels, "protein") == 0.5


def test_differences_are_paired_by_seed(scores):
    table = analyses.differences(of_runs(scores, RUNS), {"total": "Total"}, ("full", "mmaavi", "default"))
    assert table.groupby("name")["difference"].apply(list).to_dict() == {
        "small": pytest.approx([0.02, 0.02]),
        "cut": pytest.approx([0.04, 0.04]),
    }


def test_a_removed_population_is_compared_with_all_of_its_cells(scores):
    before = of_runs(scores, RUNS).query("scenario == 'full' and metric == 'purity'").drop(columns="metric")
    before = before.assign(scenario="cut", value=before["value"] - 0.05)  # of the cells that remain
    removed = {"cut": {"b1": ["B"], "b2": ["B"]}}
    table = removed_populations(of_runs(scores, RUNS), removed, "full", before[before["variant"] == "default"])
    table = table.query("variant == 'default'")
    purity = table.query("score == 'purity of B' and scenario == 'cut'").set_index("when")
    assert purity["mean"].to_dict() == pytest.approx({"before": 0.80, "after": 0.45})
    # Two values 0.1 apart: the 97.5% point of Student's t with one degree of freedom times 0.05.
    assert (purity["high"] - purity["mean"]).to_numpy() == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert len(table) == 4  # and the total
    unknown = removed_populations(of_runs(scores, RUNS), {"other": {"b1": ["C"]}}, "full", before)
    assert set(unknown["score"]) == {"total"}
    assert set(unknown["scenario"]) == {"other"}
    assert set(unknown["when"]) == {"before"}


def test_each_method_is_named_with_what_it_ran_with():
    cost = pd.DataFrame({"method": ["glue", "glue", "pca", "uinmf"], "packages": ["scglue 0.4.1", "scglue 0.4.1", "", np.nan]})
    assert packages(cost) == {"GLUE": "scglue 0.4.1"}


def known() -> pd.DataFrame:
    rows = [
        ("d", "full", "mmaavi", "default", 0, 100.0, 1.0),
        ("d", "full", "mmaavi", "k3", 0, 300.0, 3.0),
        ("e", "full", "pca", "default", 0, 10.0, np.nan),
    ]
    return pd.DataFrame(rows, columns=["dataset", "scenario", "method", "variant", "seed", "seconds", "gib"])


def test_costs_are_those_of_the_runs_most_alike():
    runs = [
        Run("d", "full", "mmaavi", "default", 5),
        Run("d", "cut", "mmaavi", "new", 0),
        Run("x", "full", "pca", "default", 0),
        Run("x", "full", "glue", "default", 0),
    ]
    assert estimates(runs, known())["seconds"].fillna(-1).tolist() == [100, 200, 10, -1]


def test_a_plan_counts_each_run_once_and_leaves_out_those_that_are_done():
    a, b, c = (Run("d", "full", "mmaavi", "default", seed) for seed in range(3))
    table = plan({"one": [a, b], "two": [b, c]}, {a}, known()).set_index("experiment")
    assert table["runs"].to_dict() == {"one": 2, "two": 2, "all": 3}
    assert table["first_here"].to_dict() == {"one": 2, "two": 1, "all": 3}
    assert table["to_do"].to_dict() == {"one": 1, "two": 1, "all": 2}
    assert table.loc["all", "hours"] == pytest.approx(200 / 3600)
    assert table.loc["all", "unknown"] == 0
    nothing_known = plan({"one": [Run("d", "full", "pca", "default", 0)], "none": []}, set(), known()).set_index("experiment")
    assert nothing_known["disk_gib"].fillna(-1).to_dict() == {"one": -1, "none": 0, "all": -1}


def test_earlier_runs_are_read_from_results_and_from_the_reference(tmp_path):
    folder = tmp_path / "results/d/full/pca/default/seed3"
    folder.mkdir(parents=True)
    not_run = tmp_path / "results/d/full/uinmf/default/seed0"
    not_run.mkdir(parents=True)
    for name, seconds in (("benchmark.tsv", 5.0), ("benchmark_score.tsv", 2.0)):
        for each in (folder, not_run):
            pd.DataFrame({"s": [seconds], "max_rss": [100.0]}).to_csv(each / name, sep="\t", index=False)
    ad.AnnData(np.zeros((2, 1))).write_h5ad(folder / "embedding.h5ad")
    ad.AnnData(np.zeros((2, 1)), uns={"not_run": "no"}).write_h5ad(not_run / "embedding.h5ad")
    cost = pd.DataFrame(
        {"dataset": ["e"], "scenario": "full", "method": "glue", "variant": "default", "seed": 0, "job_seconds": 60.0}
    )
    cost.to_csv(tmp_path / "cost.tsv", sep="\t", index=False)
    table = earlier_runs(tmp_path / "results", tmp_path / "cost.tsv").set_index("method")
    assert table["seconds"].to_dict() == {"pca": 7.0, "glue": 60.0}
    assert table.loc["pca", "seed"] == 3
    assert earlier_runs(tmp_path / "none", tmp_path / "none.tsv").empty


def test_a_score_moved_if_it_left_both_intervals_and_the_tolerance():
    key = {"dataset": "d", "scenario": "full", "method": "mmaavi", "variant": "default", "group": "all"}
    old = pd.DataFrame(
        [{**key, "metric": m, "mean": 0.7, "high": h} for m, h in (("total", 0.71), ("bio", 0.78), ("batch", np.nan))]
    )
    new = pd.DataFrame(
        [{**key, "metric": m, "mean": v, "high": v + 0.01} for m, v in (("total", 0.74), ("bio", 0.74), ("batch", 0.72))]
    )
    table = compare(new, old).set_index("metric")
    assert table["moved"].to_dict() == {"total": True, "bio": False, "batch": False}
    assert table.loc["total", "difference"] == pytest.approx(0.04)
    assert compare(new.assign(dataset="x"), old).empty
    assert compare(new.assign(mean=np.nan), old)["moved"].all()  # it broke
    assert compare(new.assign(mean=0.4, high=1.4), old)["moved"].all()  # intervals of few seeds excuse only so much


def test_a_score_that_a_run_no_longer_has_moved():
    run = {"dataset": "d", "scenario": "full", "variant": "default", "group": "all", "mean": 0.7, "high": 0.7}
    old = pd.DataFrame([{**run, "method": method, "metric": m} for method in ("pca", "glue") for m in ("total", "bio")])
    table = compare(old[:1], old)  # GLUE was not run
    assert table.set_index("metric")["moved"].to_dict() == {"total": False, "bio": True}


def test_losses_populations_and_agreement_are_compared_as_scores_are():
    about = {"dataset": "d", "scenario": "full", "method": "mmaavi", "variant": "default"}
    losses = [{**about, "n_components": k, "mean": 800.0, "sd": sd} for k, sd in ((3, 0.1), (4, 1), (5, np.nan))]
    purity = [{**about, "score": "purity of B", "when": when, "mean": 0.5, "high": 0.6} for when in ("before", "after")]
    links = [{**about, "features": "rna - atac", "group": group, "share": 0.9, "n": 100} for group in ("1: B", "all")]
    tables = {"components": losses, "populations": purity, "agreement": links}
    old = {name: AS_SCORES[name](pd.DataFrame(rows)) for name, rows in tables.items()}
    new = {"components": [800.7, 803.0, 800.9], "populations": [0.59, 0.61], "agreement": [0.97]}
    moved = {name: compare(old[name].assign(mean=mean, high=np.nan), old[name])["moved"].tolist() for name, mean in new.items()}
    assert moved == {"components": [False, False, True], "populations": [False, True], "agreement": [False]}
    assert compare(old["agreement"].assign(mean=0.8, high=np.nan), old["agreement"])["moved"].all()

"""What the figures of an experiment are drawn from: its rows of the tables, changed into what the figure asks for."""

import pandas as pd

from .scores import summarise

RUN = ["dataset", "scenario", "method", "variant", "seed"]
SERIES = ["method", "variant", "panel", "x"]


def of_runs(table: pd.DataFrame, runs: list[list]) -> pd.DataFrame:
    """The rows of some runs, each ``[dataset, scenario, method, variant, seed]``; in the order of the runs."""
    wanted = pd.DataFrame(runs, columns=RUN)
    return wanted.merge(table.astype({"seed": wanted["seed"].dtype}), on=RUN, how="left", sort=False)


def series(values: pd.DataFrame, x: pd.Series) -> pd.DataFrame:
    """Mean and 95% interval over seeds for each panel and x: ``method, variant, panel, x, mean, low, high, n_seeds``.

    Parameters
    ----------
    values
        ``method, variant, seed, panel, value`` and the column that ``x`` is indexed by.
    x
        What the horizontal axis shows, by a value of the column that its index is named after.
    """
    table = values.assign(x=values[x.index.name].map(x))
    return summarise(table.dropna(subset="value"), SERIES)


def panels(scores: pd.DataFrame, names: dict[str, str], group: str = "all") -> pd.DataFrame:
    """The rows of some metrics about one group, with the name of each metric as its ``panel``, in that order."""
    rows = scores[scores["metric"].isin(names) & (scores["group"] == group)]
    order = rows["metric"].map(list(names).index)
    return rows.assign(panel=rows["metric"].map(names)).iloc[order.argsort(kind="stable")]


def share_with(labels: pd.DataFrame, modality: str) -> float:
    """The share of cells that were measured in a modality, from the column ``pattern``."""
    return float(labels["pattern"].str.split("+").map(lambda measured: modality in measured).mean())


def differences(scores: pd.DataFrame, names: dict[str, str], reference: tuple[str, str, str]) -> pd.DataFrame:
    """Difference of each run to the reference of the same seed: ``name, panel, seed, difference``.

    Parameters
    ----------
    scores
        Tidy scores of one dataset.
    names
        Metrics, and how they are called.
    reference
        Its scenario, method and variant.
    """
    table = panels(scores, names)
    key = ["scenario", "method", "variant"]
    is_reference = (table[key] == list(reference)).all(axis=1)
    base = table[is_reference].set_index(["panel", "seed"])["value"]
    rest = table[~is_reference]
    own = base.reindex(pd.MultiIndex.from_frame(rest[["panel", "seed"]])).to_numpy()
    scenario = rest["scenario"].where(rest["scenario"] != reference[0], "")
    variant = rest["variant"].where(rest["variant"] != reference[2], "")
    label = (variant + " " + scenario).str.strip().str.replace("_", " ")
    name = label.where(rest["method"] == reference[1], rest["method"] + " " + label)
    return rest.assign(name=name.str.strip(), difference=rest["value"] - own)[["name", "panel", "seed", "difference"]]


def removed_populations(
    scores: pd.DataFrame, removed: dict[str, dict[str, list[str]]], whole: str, before: pd.DataFrame
) -> pd.DataFrame:
    """How far the rest of a population is kept apart, where all of it was integrated and where some batches lost theirs.

    The same cells are looked at in both cases: a rarer label has fewer neighbours of its own, and batches differ in how far
    they keep it apart, whether it is over-corrected or not.

    Parameters
    ----------
    scores
        Tidy scores of one dataset.
    removed
        Scenario -> batch -> labels whose cells were left out.
    whole
        The scenario with all cells.
    before
        Purity of each label among the cells of a scenario that removes some, in the embeddings of all cells: ``method, variant,
        seed, group, value`` and that ``scenario``.

    Returns
    -------
    ``method, variant, scenario, score, when ('before' or 'after'), mean, low, high, n_seeds``, with 95% intervals over seeds:
    purity (share of a cell's nearest cells that have its label) of the label, and the total of all cells, for each scenario that
    removes some. What was not run is left out.
    """
    tables, known = [], scores.dropna(subset="value")
    total = known[(known["scenario"] == whole) & (known["metric"] == "total")]
    for scenario, by_batch in removed.items():
        after = known[known["scenario"] == scenario]
        earlier = pd.concat([before[before["scenario"] == scenario].assign(metric="purity"), total]).assign(when="before")
        both = pd.concat([earlier, after.assign(when="after")])
        asked = [("purity", label, f"purity of {label}") for label in dict.fromkeys(sum(by_batch.values(), []))]
        for metric, group, what in [*asked, ("total", "all", "total")]:
            rows = both[(both["metric"] == metric) & (both["group"] == group)]
            tables.append(rows.assign(scenario=scenario, score=what))
    return summarise(pd.concat(tables), ["scenario", "score", "method", "variant", "when"])

"""A dataset config -> the mosaic that every method gets, its labels, and the truth that was hidden."""

from dataclasses import dataclass, replace

import pandas as pd

from . import guidance, scenarios, simulate
from .checks import check_mosaic, empty_cells, empty_features
from .errors import InputError
from .inputs import read_dataset, reader_settings
from .intake import Aside
from .mosaic import Mosaic
from .readers import Locate
from .recipes import link
from .variable_features import highly_variable


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` makes of a dataset config.

    Attributes
    ----------
    mosaic
        Checked counts with the guidance graph; what methods see.
    labels
        By cell id: ``batch``, ``pattern`` and the label columns.
    truth
        What was hidden, in the cells that lost it (none if nothing is hidden), with the planted links of a simulation as
        its graph.
    assemblies
        Report of the assembly check; no rows without a peak-gene graph on an assembly.
    """

    mosaic: Mosaic
    labels: pd.DataFrame
    truth: Mosaic
    assemblies: pd.DataFrame


def prepare(
    config: dict, scenario: dict, locate: Locate, assemblies: dict[str, pd.DataFrame], aside: Aside | None = None
) -> Prepared:
    """Read, change by the scenario, link and check a dataset.

    Parameters
    ----------
    config
        A validated dataset config (``workflow/schemas/dataset.schema.yaml``).
    scenario
        A change by the workflow's config (``workflow/schemas/config.schema.yaml``); may be empty.
    locate
        Gives the file of a path in the config.
    assemblies
        Name -> gene coordinates, for the assembly check.
    aside
        Where counts are put that would be too many in memory; the mosaic reads them from there.

    Raises
    ------
    InputError
        For files, columns, batches, modalities or counts that are not as the config says.
    """
    mosaic, labels = read_dataset(config, locate, aside)
    if "remove" in scenario:
        if not labels.shape[1]:
            raise InputError("'remove' needs labels, which the dataset does not have")
        mosaic = scenarios.remove(mosaic, labels.iloc[:, 0], scenario["remove"])
    mosaic, truth = scenarios.hide(mosaic, _hidden(mosaic, config["hide"], scenario))
    mosaic = scenarios.without_unmeasured(mosaic)
    if "n_cells" in scenario:
        mosaic = scenarios.subsample(mosaic, scenario["n_cells"])
    if config["drop_empty"]:
        mosaic = drop_empty(mosaic)
    chosen = {m: config["modalities"][m]["select"] for m in mosaic.modalities if config["modalities"][m]["select"]}
    mosaic = mosaic.take_features({m: highly_variable(mosaic, m, **select) for m, select in chosen.items()})
    mosaic, report = link(mosaic, config, locate, assemblies, scenario.get("graph", "recipe"))
    if config["drop_empty"] and (chosen or config["drop_unlinked"]):
        mosaic = drop_empty(mosaic)  # cells may have had counts in other features alone
    check_mosaic(mosaic, config["mixed_batches"])
    labels = pd.concat([mosaic.obs[["batch"]], mosaic.patterns, labels.loc[mosaic.cells]], axis=1)
    return Prepared(mosaic, labels.rename_axis("cell"), _matching(truth, mosaic, config), report)


def _hidden(mosaic: Mosaic, by_dataset: dict[str, list[str]], scenario: dict) -> dict[str, list[str]]:
    """Batch -> all modalities that are hidden in it."""
    by_scenario = scenario.get("hide", {})
    hidden = {b: [*by_dataset.get(b, []), *by_scenario.get(b, [])] for b in {**by_dataset, **by_scenario}}
    visible, _ = scenarios.hide(mosaic, hidden)
    for m, n_batches in scenario.get("hide_from", {}).items():
        for batch in scenarios.batches_to_hide(visible, m, n_batches):
            hidden.setdefault(batch, []).append(m)
    return hidden


def _matching(truth: Mosaic, mosaic: Mosaic, config: dict) -> Mosaic:
    """The truth of the mosaic's cells and features, with the planted links of a simulation as its graph."""
    truth = truth.of_modalities(mosaic.modalities)
    truth = truth.take(truth.measured.any(axis=1).to_numpy())
    columns = {m: truth.var[m].index.get_indexer(mosaic.var[m].index) for m in mosaic.modalities}
    truth = truth.take(truth.cells.intersection(mosaic.cells, sort=False))
    truth = replace(truth, counts={m: x[:, columns[m]] for m, x in truth.counts.items()}, var=mosaic.var)
    simulated = next((entry for entry in config["inputs"] if entry["reader"] == "simulate"), None)
    if simulated is None:
        return truth
    links = simulate.simulate(**reader_settings(simulated)).links
    edges = [
        ("rna", m, table[table["source"].isin(mosaic.var["rna"].index) & table["target"].isin(mosaic.var[m].index)])
        for m, table in links.groupby("target_modality")
        if {"rna", m} <= set(mosaic.modalities)
    ]
    return replace(truth, guidance=guidance.build_guidance(truth, edges))


def drop_empty(mosaic: Mosaic) -> Mosaic:
    """The mosaic without cells and features that have no count at all."""
    mosaic = mosaic.take(~empty_cells(mosaic))
    return mosaic.take_features({m: ~empty for m, empty in empty_features(mosaic).items()})

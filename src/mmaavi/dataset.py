"""A dataset config -> the mosaic that every method gets, its labels, and the truth that was hidden."""

from dataclasses import dataclass, replace

import anndata as ad
import pandas as pd

from . import guidance, scenarios, simulate
from .checks import check_mosaic, empty_cells, empty_features
from .errors import InputError, listing, nearest
from .mosaic import Mosaic, from_parts
from .readers import READERS, Locate


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


def prepare(config: dict, scenario: dict, locate: Locate, assemblies: dict[str, pd.DataFrame]) -> Prepared:
    """Read, change by the scenario, link and check a dataset.

    Parameters
    ----------
    config
        A validated dataset config (``workflow/schemas/dataset.schema.yaml``).
    scenario
        ``hide`` (batch -> modalities) and ``n_cells``, from the workflow's config; may be empty.
    locate
        Gives the file of a path in the config.
    assemblies
        Name -> gene coordinates, for the assembly check.

    Raises
    ------
    InputError
        For files, columns, batches, modalities or counts that are not as the config says.
    """
    mosaic, labels = read_dataset(config, locate)
    by_dataset, by_scenario = config["hide"], scenario.get("hide", {})
    hidden = {b: [*by_dataset.get(b, []), *by_scenario.get(b, [])] for b in {**by_dataset, **by_scenario}}
    mosaic, truth = scenarios.hide(mosaic, hidden)
    if "n_cells" in scenario:
        mosaic = scenarios.subsample(mosaic, scenario["n_cells"])
    if config["drop_empty"]:
        mosaic = drop_empty(mosaic)
    mosaic, report = link(mosaic, config, locate, assemblies)
    check_mosaic(mosaic, config["mixed_batches"])
    labels = pd.concat([mosaic.obs[["batch"]], mosaic.patterns, labels.loc[mosaic.cells]], axis=1)
    return Prepared(mosaic, labels.rename_axis("cell"), _matching(truth, mosaic, config), report)


def read_dataset(config: dict, locate: Locate) -> tuple[Mosaic, pd.DataFrame]:
    """The mosaic of a dataset config, as measured, and its labels.

    Parameters
    ----------
    config
        A validated dataset config (``workflow/schemas/dataset.schema.yaml``).
    locate
        Gives the file of a path in the config.

    Returns
    -------
    The mosaic, whose ``obs`` holds the batch alone, and a table of labels by cell id (missing where unassigned).

    Raises
    ------
    InputError
        For files, columns, batches or modalities that are not as the config says.
    """
    parts: dict[str, list[ad.AnnData]] = {m: [] for m in config["modalities"]}
    for entry in config["inputs"]:
        if entry["modality"] not in parts:
            raise InputError(f"an input names a modality '{entry['modality']}'; {nearest(entry['modality'], parts)}")
        part = READERS[entry["reader"]](locate, entry["modality"], **_settings(entry))
        parts[entry["modality"]].append(_with_batch(part, entry))
        _check_ids(parts[entry["modality"]][-1], entry)
    for m, given in parts.items():
        if not given:
            raise InputError(f"modality '{m}' has no input; add one, or take it out of 'modalities'")
    known = {batch for given in parts.values() for part in given for batch in part.obs["batch"].unique()}
    merged = {old: new for new, olds in config["batches"].items() for old in olds}
    if unknown := sorted(set(merged) - known):
        raise InputError(f"'batches' names values that no input has: {listing(unknown)}; {nearest(unknown[0], sorted(known))}")
    for part in (part for given in parts.values() for part in given):
        part.obs["batch"] = part.obs["batch"].replace(merged)
    joined = {m: _stack(m, given) for m, given in parts.items()}
    mosaic = from_parts(joined)
    labels = pd.DataFrame(index=mosaic.cells)
    for name, spec in config["labels"].items():
        if spec["column"] not in mosaic.obs:
            raise InputError(f"no input has the label column '{spec['column']}'; {nearest(spec['column'], mosaic.obs)}")
        text = mosaic.obs[spec["column"]].astype("string")
        labels[name] = text.mask(text.isin(spec["unassigned"])).replace(spec["rename"])
    files = {m: listing(_file(e) for e in config["inputs"] if e["modality"] == m) for m in parts}
    mosaic = replace(mosaic, obs=mosaic.obs[["batch"]], provenance={"title": config["title"], "files": files})
    chosen = {f"{k}s": {m: spec[k] for m, spec in config["modalities"].items()} for k in ("likelihood", "input")}
    mosaic = replace(mosaic, **chosen)
    return mosaic, labels


def _settings(entry: dict) -> dict:
    """What the reader of an input gets, beside the modality."""
    return {k: v for k, v in entry.items() if k not in ("reader", "modality", "batch", "batch_column")}


def _file(entry: dict) -> str:
    """What an input is read from, for messages."""
    return entry.get("counts", entry["reader"])


def _check_ids(part: ad.AnnData, entry: dict) -> None:
    for what, names in (("cell", part.obs_names), ("feature", part.var_names)):
        repeated = names[names.duplicated()].unique()
        if len(repeated):
            of = f" of batch {listing(part.obs.loc[repeated, 'batch'].unique())}" if what == "cell" else ""
            raise InputError(
                f"{_file(entry)} has {len(repeated)} duplicate {what} ids{of} in modality '{entry['modality']}' "
                f"({listing(repeated)}); make them unique"
            )


def _with_batch(part: ad.AnnData, entry: dict) -> ad.AnnData:
    """The part with ``obs['batch']``; ids of cells whose batch is named by the config get the batch before them."""
    if "batch" in entry:
        part.obs["batch"] = entry["batch"]
        part.obs_names = entry["batch"] + "_" + part.obs_names
    else:
        column = entry["batch_column"]
        if column not in part.obs:
            raise InputError(
                f"the {entry['modality']} cells of {_file(entry)} have no batch column '{column}'; {nearest(column, part.obs)}"
            )
        missing = part.obs_names[part.obs[column].isna()]
        if len(missing):
            raise InputError(
                f"{len(missing)} {entry['modality']} cells of {_file(entry)} have no value in '{column}': {listing(missing)}"
            )
        part.obs["batch"] = part.obs[column].astype(str)
    return part


def _stack(modality: str, parts: list[ad.AnnData]) -> ad.AnnData:
    """The cells of all inputs of a modality, which must have the same features."""
    features = parts[0].var_names
    for part in parts[1:]:
        odd = features.symmetric_difference(part.var_names)
        if len(odd):
            raise InputError(f"the inputs of modality '{modality}' differ in {len(odd)} features: {listing(odd)}")
    return parts[0] if len(parts) == 1 else ad.concat([p[:, features] for p in parts], join="outer", merge="first")


def link(mosaic: Mosaic, config: dict, locate: Locate, assemblies: dict[str, pd.DataFrame]) -> tuple[Mosaic, pd.DataFrame]:
    """The mosaic with its guidance graph, by the recipes of the dataset config, and the report on assemblies."""
    edges, report = [], guidance.assembly_report(pd.Index([]), pd.DataFrame(), {})
    if config["coordinates"] is not None:
        loci = guidance.read_coordinates(locate(config["coordinates"]))
        known = assemblies if config["assembly"] is None else assemblies | {config["assembly"]: loci}
    else:
        known = assemblies
        loci = assemblies.get(config["assembly"])  # None: those of the feature table
    for recipe in config["graph"]:
        source, target = recipe["between"]
        for m in (source, target):
            if m not in mosaic.modalities:
                raise InputError(f"the graph names a modality '{m}'; {nearest(m, mosaic.modalities)}")
        if recipe["kind"] == "overlap":
            mosaic = guidance.with_peak_coordinates(mosaic, target)
            if loci is not None:
                mosaic = guidance.with_gene_coordinates(mosaic, source, loci)
            guidance.check_coordinates(mosaic, source)
            genes, peaks = mosaic.var[source], mosaic.var[target]
            if config["assembly"] is not None:
                report = guidance.assembly_report(genes.index, peaks, known, recipe["upstream"])
                guidance.check_assembly(report, config["assembly"])
            genes = genes if loci is None else loci[loci.index.isin(genes.index)]
            pairs = guidance.overlap_edges(genes, peaks, recipe["upstream"])
        else:
            aliases = guidance.read_aliases(locate(recipe["aliases"])) if recipe["aliases"] is not None else {}
            for protein, text in mosaic.var[target].get("aliases", pd.Series(dtype=str)).dropna().items():
                aliases.setdefault(protein, []).extend(guidance.split_aliases(text))
            pairs = guidance.alias_edges(mosaic.var[source].index, mosaic.var[target].index, aliases, recipe["ignore_suffix"])
        edges.append((source, target, pairs))
    graph = guidance.build_guidance(mosaic, edges) if edges else None
    counts = {f"{a}-{b}": len(pairs) for a, b, pairs in edges}
    return replace(mosaic, guidance=graph, provenance=mosaic.provenance | {"edges": counts}), report


def _matching(truth: Mosaic, mosaic: Mosaic, config: dict) -> Mosaic:
    """The truth of the mosaic's cells and features, with the planted links of a simulation as its graph."""
    columns = {m: truth.var[m].index.get_indexer(mosaic.var[m].index) for m in mosaic.modalities}
    truth = truth.take(truth.cells.intersection(mosaic.cells, sort=False))
    truth = replace(truth, counts={m: x[:, columns[m]] for m, x in truth.counts.items()}, var=mosaic.var)
    simulated = next((entry for entry in config["inputs"] if entry["reader"] == "simulate"), None)
    if simulated is None:
        return truth
    links = simulate.simulate(**_settings(simulated)).links
    edges = [
        ("rna", m, table[table["source"].isin(mosaic.var["rna"].index) & table["target"].isin(mosaic.var[m].index)])
        for m, table in links.groupby("target_modality")
        if m in mosaic.modalities
    ]
    return replace(truth, guidance=guidance.build_guidance(truth, edges))


def drop_empty(mosaic: Mosaic) -> Mosaic:
    """The mosaic without cells and features that have no count at all."""
    mosaic = mosaic.take(~empty_cells(mosaic))
    keep = {m: ~empty for m, empty in empty_features(mosaic).items()}
    return replace(
        mosaic,
        counts={m: x[:, keep[m]] for m, x in mosaic.counts.items()},
        var={m: table.loc[keep[m]] for m, table in mosaic.var.items()},
    )

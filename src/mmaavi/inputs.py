"""The inputs of a dataset config -> one mosaic and its labels, as measured."""

from dataclasses import replace

import anndata as ad
import pandas as pd
from anndata.abc import CSRDataset

from .errors import InputError, listing, nearest
from .intake import Aside, Intake
from .mosaic import Mosaic, from_parts
from .readers import Locate, read_part


def read_dataset(config: dict, locate: Locate, aside: Aside | None = None) -> tuple[Mosaic, pd.DataFrame]:
    """The mosaic of a dataset config, as measured, and its labels.

    Parameters
    ----------
    config
        A validated dataset config (``workflow/schemas/dataset.schema.yaml``).
    locate
        Gives the file of a path in the config.
    aside
        Where counts are put that would be too many in memory; by default all of them stay there.

    Returns
    -------
    The mosaic, whose ``obs`` holds the batch alone, and a table of labels by cell id (missing where unassigned).

    Raises
    ------
    InputError
        For files, columns, batches or modalities that are not as the config says.
    """
    parts: dict[str, list[ad.AnnData]] = {m: [] for m in config["modalities"]}
    entries = one_modality_each(config["inputs"])
    for entry in entries:
        if entry["modality"] not in parts:
            raise InputError(f"an input names a modality '{entry['modality']}'; {nearest(entry['modality'], parts)}")
        part = read_part(locate, entry["modality"], entry["reader"], intake=aside or Intake(), **reader_settings(entry))
        parts[entry["modality"]].append(_with_batch(part, entry))
        _check_ids(part, entry)
    for m, given in parts.items():
        if not given:
            raise InputError(f"modality '{m}' has no input; add one, or take it out of 'modalities'")
    known = {batch for given in parts.values() for part in given for batch in part.obs["batch"].unique()}
    merged = {old: new for new, olds in config["batches"].items() for old in olds}
    if unknown := sorted(set(merged) - known):
        raise InputError(f"'batches' names values that no input has: {listing(unknown)}; {nearest(unknown[0], sorted(known))}")
    for part in (part for given in parts.values() for part in given):
        part.obs["batch"] = part.obs["batch"].replace(merged)
    joined = {m: _stack(m, given, config["modalities"][m]["join"], aside) for m, given in parts.items()}
    mosaic = from_parts(joined)
    labels = pd.DataFrame(index=mosaic.cells)
    for name, spec in config["labels"].items():
        if spec["column"] not in mosaic.obs:
            raise InputError(f"no input has the label column '{spec['column']}'; {nearest(spec['column'], mosaic.obs)}")
        text = mosaic.obs[spec["column"]].astype("string")
        labels[name] = text.mask(text.isin(spec["unassigned"])).replace(spec["rename"])
    files = {m: listing(_file(e) for e in entries if e["modality"] == m) for m in parts}
    mosaic = replace(mosaic, obs=mosaic.obs[["batch"]], provenance={"title": config["title"], "files": files})
    chosen = {f"{k}s": {m: spec[k] for m, spec in config["modalities"].items()} for k in ("likelihood", "input")}
    mosaic = replace(mosaic, **chosen)
    return mosaic, labels


def one_modality_each(inputs: list[dict]) -> list[dict]:
    """The inputs, with one entry for each modality of those that hold several."""
    entries = []
    for entry in inputs:
        names = entry.get("modalities")
        plain = {k: v for k, v in entry.items() if k != "modalities"}
        entries += [plain] if names is None else [plain | {"modality": m, "name": name} for m, name in names.items()]
    return entries


def reader_settings(entry: dict) -> dict:
    """What the reader of an input gets, beside the modality and its own name."""
    of_input = {"reader", "modality", "batch", "batch_column", "batch_prefix", "prefix_cells"}
    return {k: v for k, v in entry.items() if k not in of_input}


def _file(entry: dict) -> str:
    """What an input is read from, for messages."""
    return entry.get("counts", entry["reader"])


def _check_ids(part: ad.AnnData, entry: dict) -> None:
    by_batch = "'prefix_cells: true' puts each cell's batch before its id, or make them unique"
    plain = "make them unique"
    for what, names, advice in (("cell", part.obs_names, by_batch), ("feature", part.var_names, plain)):
        repeated = names[names.duplicated()].unique()
        if len(repeated):
            of = f" of batch {listing(part.obs.loc[repeated, 'batch'].unique())}" if what == "cell" else ""
            raise InputError(
                f"{_file(entry)} has {len(repeated)} duplicate {what} ids{of} in modality '{entry['modality']}' "
                f"({listing(repeated)}); {advice}"
            )


def _with_batch(part: ad.AnnData, entry: dict) -> ad.AnnData:
    """The part with ``obs['batch']``; batches that the config names, or has a prefix for, are put before the cells' ids."""
    if "batch" in entry:
        part.obs["batch"] = entry["batch"]
        part.obs_names = entry["batch"] + "_" + part.obs_names
        return part
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
    prefix = entry.get("batch_prefix", "")
    part.obs["batch"] = prefix + part.obs[column].astype(str)
    if entry.get("prefix_cells"):
        part.obs_names = part.obs["batch"] + "_" + part.obs_names
    elif prefix:
        part.obs_names = prefix + part.obs_names
    return part


def _stack(modality: str, parts: list[ad.AnnData], join: str, aside: Aside | None) -> ad.AnnData:
    """The cells of all inputs of a modality, which must have the same features, or are cut to those in common."""
    features = parts[0].var_names
    for part in parts[1:]:
        odd = features.symmetric_difference(part.var_names)
        if join == "common":
            features = features.intersection(part.var_names, sort=False)
        elif len(odd):
            raise InputError(
                f"the inputs of modality '{modality}' differ in {len(odd)} features: {listing(odd)}; 'join: common' of "
                "the modality keeps those that all have"
            )
    if not len(features):
        raise InputError(
            f"the inputs of modality '{modality}' have no feature in common; check their names, or count peaks in common"
        )
    if len(parts) == 1:
        return parts[0]
    if not any(isinstance(p.X, CSRDataset) for p in parts):
        return ad.concat([p[:, features] for p in parts], join="outer", merge="first")
    tables = ad.concat([ad.AnnData(obs=p.obs, var=p.var)[:, features] for p in parts], join="outer", merge="first")
    return ad.AnnData(aside.stack([(p.X, p.var_names.get_indexer(features)) for p in parts]), tables.obs, tables.var)

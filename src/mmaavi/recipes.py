"""The guidance graph of a dataset config: one recipe for each pair of modalities."""

import logging
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd

from . import guidance, released
from .errors import InputError, listing, nearest
from .files import SAFE_NUMBERS
from .mosaic import Mosaic
from .readers import Locate


def link(
    mosaic: Mosaic, config: dict, locate: Locate, assemblies: dict[str, pd.DataFrame], kind: str = "recipe"
) -> tuple[Mosaic, pd.DataFrame]:
    """The mosaic with its guidance graph, and the report on assemblies.

    Parameters
    ----------
    mosaic
        Gives the features.
    config
        A validated dataset config; ``graph``, ``assembly``, ``coordinates`` and ``drop_unlinked`` are read.
    locate
        Gives the file of a path in the config.
    assemblies
        Name -> gene coordinates.
    kind
        ``recipe``: as the config says; ``released``: as the released code did (:mod:`mmaavi.released`); ``permuted``: wrong on
        purpose, the targets of each recipe's edges exchanged at random; ``none``: no graph, and the features that it would have.

    Raises
    ------
    InputError
        For modalities, features, coordinates or files that are not as the config says.
    """
    as_released = kind == "released"
    edges, report = [], guidance.assembly_report(pd.Index([]), pd.DataFrame(), {})
    for recipe in config["graph"]:
        source, target = recipe["between"]
        for m in (source, target):
            if m not in config["modalities"]:
                raise InputError(f"the graph names a modality '{m}'; {nearest(m, config['modalities'])}")
        if not {source, target} <= set(mosaic.modalities):
            continue  # a scenario hid it from all cells
        if recipe["kind"] == "overlap":
            mosaic, pairs, report = _overlaps(mosaic, recipe, config, locate, assemblies, as_released)
        elif recipe["kind"] == "file":
            pairs = read_edges(mosaic, source, target, recipe, locate)
        else:
            pairs = _named(mosaic, recipe, locate, as_released)
        if recipe["kind"] != "file":
            pairs = pairs.assign(sign=1 if as_released else recipe["sign"])
        edges.append((source, target, _permuted(pairs) if kind == "permuted" else pairs))
    graph = guidance.build_guidance(mosaic, edges) if edges else None
    counts = {f"{a}-{b}": len(pairs) for a, b, pairs in edges}
    mosaic = replace(mosaic, guidance=graph, provenance=mosaic.provenance | {"edges": counts})
    for m in config["drop_unlinked"]:
        if m not in config["modalities"]:
            raise InputError(f"'drop_unlinked' names a modality '{m}'; {nearest(m, config['modalities'])}")
    mosaic = _drop_unlinked(mosaic, [m for m in config["drop_unlinked"] if m in mosaic.modalities])
    if kind == "none":
        mosaic = replace(mosaic, guidance=None, provenance=mosaic.provenance | {"edges": {}})
    return mosaic, report


def _permuted(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The edges with their targets exchanged among each other: as many edges at each feature, but of another one."""
    names = pairs["target"].unique()
    return pairs.assign(target=pairs["target"].map(dict(zip(names, np.random.default_rng(seed).permutation(names), strict=True))))


def _overlaps(mosaic: Mosaic, recipe: dict, config: dict, locate: Locate, assemblies: dict, as_released: bool):
    """The mosaic with coordinates, its gene-peak pairs, and the report on assemblies."""
    source, target = recipe["between"]
    mosaic = guidance.with_peak_coordinates(mosaic, target)
    if as_released:
        if released.ASSEMBLY not in assemblies:
            raise InputError(f"the graph 'released' needs the assembly '{released.ASSEMBLY}' in config/assemblies.yaml")
        loci = released.human_loci(mosaic.var[source].index, assemblies[released.ASSEMBLY])
        pairs = guidance.overlap_edges(loci, mosaic.var[target], recipe["upstream"])
        known = assemblies
    else:
        loci = assemblies.get(config["assembly"])  # None: those of the feature table
        known = assemblies
        if config["coordinates"] is not None:
            loci = guidance.read_coordinates(locate(config["coordinates"]))
            known = assemblies if config["assembly"] is None else assemblies | {config["assembly"]: loci}
        if loci is not None:
            mosaic = guidance.with_gene_coordinates(mosaic, source, loci)
        guidance.check_coordinates(mosaic, source)
        genes = mosaic.var[source] if loci is None else loci[loci.index.isin(mosaic.var[source].index)]
        pairs = guidance.overlap_edges(genes, mosaic.var[target], recipe["upstream"])
    report = guidance.assembly_report(pd.Index([]), pd.DataFrame(), {})
    if config["assembly"] is not None:
        report = guidance.assembly_report(mosaic.var[source].index, mosaic.var[target], known, recipe["upstream"])
        if not as_released:
            guidance.check_assembly(report, config["assembly"])
    return mosaic, pairs, report


def _named(mosaic: Mosaic, recipe: dict, locate: Locate, as_released: bool) -> pd.DataFrame:
    """Pairs of a gene and what bears its name or, with ``alias``, one of its aliases."""
    source, target = recipe["between"]
    genes, named = mosaic.var[source].index, mosaic.var[target].index
    aliases: dict[str, list[str]] = {}
    if recipe["kind"] == "alias":
        if recipe["aliases"] is not None:
            aliases = guidance.read_aliases(locate(recipe["aliases"]))
        for protein, text in mosaic.var[target].get("aliases", pd.Series(dtype=str)).dropna().items():
            aliases.setdefault(protein, []).extend(guidance.split_aliases(text))
        if as_released:
            return released.substring_edges(genes, named, aliases)
    return guidance.alias_edges(genes, named, aliases, recipe["ignore_suffix"])


def read_edges(mosaic: Mosaic, source: str, target: str, recipe: dict, locate: Locate) -> pd.DataFrame:
    """A user's own edges, as far as the mosaic has their features.

    Raises
    ------
    InputError
        If columns are missing, or no edge has both its features in the mosaic.
    """
    name = recipe["edges"]
    if name is None:
        raise InputError(f"the graph between '{source}' and '{target}' is of the kind 'file'; name the table with 'edges'")
    plain, text = name.removesuffix(".gz"), {"source": str, "target": str}
    try:
        table = pd.read_csv(locate(name), sep="," if plain.endswith(".csv") else "\t", dtype=text, float_precision=SAFE_NUMBERS)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} cannot be read as a table of edges ({' '.join(str(error).split())})") from error
    missing = [column for column in ("source", "target") if column not in table]
    if missing:
        raise InputError(f"{name} lacks the columns {listing(missing)}; {nearest(missing[0], table.columns)}")
    for column in {"weight", "sign"} & set(table):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any():
            line = int(np.argmax(numbers.isna())) + 2
            raise InputError(f"{name}, line {line}: '{column}' is '{table[column].iloc[line - 2]}'; it must be a number")
    here = table["source"].isin(mosaic.var[source].index) & table["target"].isin(mosaic.var[target].index)
    if not here.any():
        first = table.iloc[0] if len(table) else pd.Series({"source": "nothing", "target": "nothing"})
        raise InputError(
            f"none of the {len(table)} edges of {name} links a feature of '{source}' to one of '{target}'; its first names "
            f"'{first['source']}' and '{first['target']}', the modalities have such as '{mosaic.var[source].index[0]}' and "
            f"'{mosaic.var[target].index[0]}'"
        )
    if not here.all():
        logging.warning("%d of %d edges of %s name features that are not in the mosaic", (~here).sum(), len(table), name)
    return table[here]


def _drop_unlinked(mosaic: Mosaic, modalities: list[str]) -> Mosaic:
    if modalities and mosaic.guidance is None:
        raise InputError("'drop_unlinked' needs a guidance graph; add a recipe to 'graph', or leave it out")
    return mosaic.take_features({m: mosaic.linked(m) for m in modalities})

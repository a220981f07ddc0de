"""The guidance graph: prior links between features of all modalities, from coordinates and aliases."""

import logging
from dataclasses import replace

import bioframe
import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import InputError, listing, nearest
from .files import SAFE_NUMBERS
from .mosaic import Mosaic

COORDINATES = ["chrom", "start", "end", "strand"]
CLEARLY_BETTER = 1.25  # another assembly that explains this many times more peaks means that the config's is wrong


def read_coordinates(path: str) -> pd.DataFrame:
    """Gene coordinates from BED, GTF or TSV: rows ``chrom, start, end, strand`` by gene name, 0-based half-open.

    A BED file of five columns has the name in the fourth and the strand in the fifth; one of six or more has the
    score between them. A TSV file has a header with the columns ``name, chrom, start, end, strand``. A gene may have
    several loci (those of the pseudoautosomal regions do); its longest comes first.
    """
    plain = str(path).removesuffix(".gz")
    if plain.endswith(".bed"):
        table = pd.read_csv(path, sep="\t", header=None, comment="#", dtype={0: str}, float_precision=SAFE_NUMBERS)
        if table.shape[1] < 5:
            raise InputError(f"{path} has {table.shape[1]} columns; expected chrom, start, end, name, [score,] strand")
        table = table[[0, 1, 2, 3, 4 if table.shape[1] == 5 else 5]]
        table.columns = ["chrom", "start", "end", "name", "strand"]
    elif plain.endswith(".gtf"):
        table = bioframe.read_table(path, schema="gtf", comment="#")
        table = table[table["feature"] == "gene"].copy()
        table["name"] = table["attributes"].str.extract(r'gene_name "([^"]+)"')[0]
        table["start"] -= 1  # GTF counts from 1, end included
    elif plain.endswith((".tsv", ".txt")):
        table = pd.read_csv(path, sep="\t", comment="#", dtype={"chrom": str}, float_precision=SAFE_NUMBERS)
        missing = {"name", *COORDINATES} - set(table.columns)
        if missing:
            raise InputError(f"{path} lacks the columns {listing(sorted(missing))}; {nearest('name', table.columns)}")
    else:
        raise InputError(f"{path}: gene coordinates are read from .bed, .gtf or .tsv files (gzipped or not)")
    table = table.dropna(subset=["name"])
    table = table.assign(length=table["end"] - table["start"]).sort_values("length", ascending=False, kind="stable")
    return table.set_index("name")[COORDINATES]


def parse_peaks(names: pd.Index) -> pd.DataFrame:
    """Coordinates from peak names such as ``chr1_4914570_4914685`` or ``chr1:4914570-4914685``."""
    parts = names.to_series().str.extract(r"^(.+?)[:_-](\d+)[_-](\d+)$")
    bad = names[parts.isna().any(axis=1).to_numpy()]
    if len(bad):
        raise InputError(f"{len(bad)} peak names hold no coordinates ({listing(bad)}); expected chrom_start_end")
    return pd.DataFrame(
        {"chrom": parts[0], "start": parts[1].astype(int), "end": parts[2].astype(int), "strand": "."}, index=names
    )


def gene_windows(genes: pd.DataFrame, upstream: int) -> pd.DataFrame:
    """Gene bodies, extended by ``upstream`` bases before the transcription start, on the gene's own strand."""
    forward = (genes["strand"] != "-").to_numpy()
    return genes.assign(
        start=np.where(forward, (genes["start"] - upstream).clip(lower=0), genes["start"]),
        end=np.where(forward, genes["end"], genes["end"] + upstream),
    )


def overlap_edges(genes: pd.DataFrame, peaks: pd.DataFrame, upstream: int = 2000) -> pd.DataFrame:
    """Pairs ``source`` (gene), ``target`` (peak) that overlap in any locus of the gene.

    Parameters
    ----------
    genes, peaks
        ``chrom, start, end, strand`` by feature name; features without coordinates have no edges.
    upstream
        Bases before the transcription start that count as the gene.
    """
    genes = gene_windows(genes.dropna(subset=["chrom", "start", "end"]), upstream).rename_axis("source").reset_index()
    peaks = peaks.rename_axis("target").reset_index()
    columns = ["chrom", "start", "end"]
    pairs = bioframe.overlap(
        genes[[*columns, "source"]].astype({"start": int, "end": int}),
        peaks[[*columns, "target"]].astype({"start": int, "end": int}),
        how="inner",
        suffixes=("", "_peak"),
    )
    return pairs[["source", "target_peak"]].rename(columns={"target_peak": "target"}).astype(str).drop_duplicates()


def read_aliases(path: str) -> dict[str, list[str]]:
    """Protein -> gene names, from a text file of lines ``protein alias,alias,...`` (``*`` for none)."""
    with open(path) as lines:
        pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    bad = [i + 1 for i, pair in enumerate(pairs) if len(pair) != 2]
    if bad:
        raise InputError(f"{path}: lines {listing(bad)} are not of the form 'protein alias,alias,...'")
    table: dict[str, list[str]] = {}
    for name, aliases in pairs:
        table.setdefault(name, []).extend(split_aliases(aliases))
    return table


def split_aliases(text: str) -> list[str]:
    """Gene names from ``alias,alias,...`` (``*`` for none)."""
    return [alias.strip() for alias in text.split(",") if alias.strip() not in ("", "*")]


def alias_edges(
    genes: pd.Index, proteins: pd.Index, aliases: dict[str, list[str]], ignore_suffix: str | None = None
) -> pd.DataFrame:
    """Pairs ``source`` (gene), ``target`` (protein) where the protein's name or an alias is the gene's name.

    Names match whole and without regard to case, never by substring.

    Parameters
    ----------
    genes, proteins
        Feature names.
    aliases
        Protein -> gene names; its keys match the proteins' names by the same rule.
    ignore_suffix
        Regular expression for the end of protein names that tells antibodies to one protein apart.
    """
    by_name: dict[str, list[str]] = {}
    for gene in genes:
        by_name.setdefault(gene.casefold(), []).append(gene)
    known: dict[str, list[str]] = {}
    for protein, names in aliases.items():
        known.setdefault(protein.casefold(), []).extend(names)
    edges = set()
    for protein, key in zip(proteins, _without_suffix(proteins, ignore_suffix), strict=True):
        for name in [key, *known.get(key.casefold(), []), *known.get(protein.casefold(), [])]:
            edges.update((gene, protein) for gene in by_name.get(name.casefold(), []))
    return pd.DataFrame(sorted(edges), columns=["source", "target"])


def _without_suffix(names: pd.Index, pattern: str | None) -> pd.Index:
    return names if pattern is None else names.str.replace(f"(?:{pattern})$", "", regex=True)


def build_guidance(mosaic: Mosaic, edges: list[tuple[str, str, pd.DataFrame]]) -> sp.csr_array:
    """The symmetric matrix of shape (G, G) of weight x sign over the features of all modalities, in order.

    Parameters
    ----------
    mosaic
        Gives the features and their order.
    edges
        (source modality, target modality, table) with the columns ``source, target`` and, where they are not 1,
        ``weight`` (> 0) and ``sign`` (1 or -1).

    Raises
    ------
    InputError
        For unknown features or modalities, and weights or signs that are not allowed.
    """
    starts = mosaic.feature_starts
    total = sum(mosaic.n_features.values())
    graph = sp.csr_array((total, total), dtype=np.float32)
    for source, target, table in edges:
        rows, cols = (_positions(mosaic, m, table[side]) + starts[m] for m, side in ((source, "source"), (target, "target")))
        weight = table["weight"].to_numpy(float) if "weight" in table else np.ones(len(table))
        sign = table["sign"].to_numpy(float) if "sign" in table else np.ones(len(table))
        if not (np.isfinite(weight).all() and (weight > 0).all() and np.isin(sign, (-1, 1)).all()):
            raise InputError(f"edges {source}-{target}: weights must be finite and > 0, signs 1 or -1")
        half = sp.coo_array((weight * sign, (rows, cols)), shape=(total, total)).tocsr().astype(np.float32)
        graph = graph + half + half.T
    return sp.csr_array(graph)


def _positions(mosaic: Mosaic, modality: str, names: pd.Series) -> np.ndarray:
    if modality not in mosaic.var:
        raise InputError(f"the graph names a modality '{modality}'; {nearest(modality, mosaic.modalities)}")
    positions = mosaic.var[modality].index.get_indexer(names)
    if (positions < 0).any():
        raise InputError(f"the graph names features that '{modality}' lacks: {listing(names[positions < 0])}")
    return positions


def with_gene_coordinates(mosaic: Mosaic, modality: str, coordinates: pd.DataFrame) -> Mosaic:
    """The mosaic with ``chrom, start, end, strand`` of its genes (first locus); genes that the table lacks get none."""
    first = coordinates[~coordinates.index.duplicated()]
    table = mosaic.var[modality].drop(columns=COORDINATES, errors="ignore").join(first)
    return replace(mosaic, var=mosaic.var | {modality: table})


def with_peak_coordinates(mosaic: Mosaic, modality: str) -> Mosaic:
    """The mosaic with coordinates of its peaks, from the feature table or else from the peaks' names."""
    table = mosaic.var[modality]
    if not set(COORDINATES[:3]) <= set(table.columns):
        table = table.join(parse_peaks(table.index))
    missing = table.index[table[COORDINATES[:3]].isna().any(axis=1)]
    if len(missing):
        raise InputError(
            f"{len(missing)} of {len(table)} features of '{modality}' lack chrom, start or end in the feature table "
            f"({listing(missing)}); fill them in, or remove the three columns so that the names are read"
        )
    return replace(mosaic, var=mosaic.var | {modality: table})


def check_coordinates(mosaic: Mosaic, genes: str, allow_missing: float = 0.1) -> None:
    """Raise InputError where many genes have no coordinates although a peak-gene graph is asked for."""
    table = mosaic.var[genes]
    absent = [column for column in COORDINATES if column not in table]
    if absent:
        raise InputError(
            f"the features of '{genes}' have no {listing(absent)}; give 'assembly' or 'coordinates' in the dataset config"
        )
    missing = table.index[table[COORDINATES].isna().any(axis=1)]
    if len(missing):
        logging.warning("%d of %d features of '%s' have no coordinates: %s", len(missing), len(table), genes, listing(missing))
    if len(missing) > allow_missing * len(table):
        raise InputError(
            f"{len(missing)} of {len(table)} features of '{genes}' have no coordinates ({listing(missing)}); "
            "check organism, assembly and gene names in the dataset config"
        )


def assembly_report(
    genes: pd.Index, peaks: pd.DataFrame, assemblies: dict[str, pd.DataFrame], upstream: int = 2000
) -> pd.DataFrame:
    """How many of the genes each assembly knows, and how many of the peaks touch one of them.

    Parameters
    ----------
    genes
        Gene names of the mosaic.
    peaks
        Peak coordinates.
    assemblies
        Name -> gene coordinates, as :func:`read_coordinates` gives them.
    upstream
        Bases before the transcription start that count as the gene.

    Returns
    -------
    One row an assembly: ``genes_found``, ``edges``, ``peaks_touching`` and their share of all peaks.
    """
    rows = []
    for name, coordinates in assemblies.items():
        found = coordinates[coordinates.index.isin(genes)]
        edges = overlap_edges(found, peaks, upstream)
        touching = edges["target"].nunique()
        rows.append((name, found.index.nunique(), len(edges), touching, touching / max(len(peaks), 1)))
    columns = ["assembly", "genes_found", "edges", "peaks_touching", "share_touching"]
    return pd.DataFrame(rows, columns=columns).set_index("assembly")


def check_assembly(report: pd.DataFrame, assembly: str) -> None:
    """Raise InputError where another assembly explains clearly more peaks than the config's."""
    best = report["share_touching"].idxmax()
    if report.loc[best, "share_touching"] > CLEARLY_BETTER * report.loc[assembly, "share_touching"]:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in report["share_touching"].items())
        raise InputError(
            f"the peaks do not fit the assembly '{assembly}' of the dataset config: share of peaks that touch a gene "
            f"of the mosaic: {shares}. Set 'assembly: {best}', or lift the peaks over"
        )

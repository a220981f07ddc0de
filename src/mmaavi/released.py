"""How the released mmAAVI linked features, for comparison alone: its mistakes are kept.

Genes were looked up by symbol, without regard to case, in the human genome of the current assembly, whatever the organism and
the assembly of the peaks; proteins were linked to every gene whose symbol is a substring of their aliases.
"""

import pandas as pd

ASSEMBLY = "hg38"


def human_loci(genes: pd.Index, hg38: pd.DataFrame) -> pd.DataFrame:
    """``chrom, start, end, strand`` of the human genes of the same symbol; the first locus of each."""
    by_symbol = hg38.set_axis(hg38.index.str.casefold())
    by_symbol = by_symbol[~by_symbol.index.duplicated()]
    found = by_symbol.reindex(genes.str.casefold()).set_axis(genes)
    return found.dropna(subset=["chrom"])


def substring_edges(genes: pd.Index, proteins: pd.Index, aliases: dict[str, list[str]]) -> pd.DataFrame:
    """Pairs ``source`` (gene), ``target`` (protein) where the gene's symbol is part of the protein's name or aliases."""
    edges = []
    for protein in proteins:
        text = ",".join([protein, *aliases.get(protein, [])]).casefold()
        edges += [(gene, protein) for gene in genes if gene.casefold() in text]
    return pd.DataFrame(edges, columns=["source", "target"])

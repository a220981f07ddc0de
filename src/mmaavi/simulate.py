"""A simulated multi-omics data set with planted cell types, feature links and batch effects.

Every cell has all modalities: the dataset config hides the halves that a real mosaic would not have, so
that the truth stays known.
"""

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_LATENT = 8
GENE_LENGTH, GENE_SPACING, PEAK_LENGTH = 10_000, 100_000, 500
TYPE_SHARES = np.array([0.30, 0.22, 0.18, 0.14, 0.10, 0.06])
DEPTH = {"rna": 1500, "atac": 1200, "protein": 2000}  # mean counts of a cell
INVERSE_DISPERSION = {"rna": 5.0, "atac": 3.0, "protein": 10.0}
BATCH_DEPTH = np.array([1.0, 0.6, 1.5])
PROMOTER, BODY, DISTAL = 0, 1, 2


@dataclass(frozen=True)
class Simulation:
    """Simulated cells and what was planted.

    Attributes
    ----------
    parts
        Modality -> AnnData of shape (n_cells, n_features) with ``obs[batch, cell_type]``.
    links
        One row a planted link: ``source`` (gene), ``target`` (peak or protein), their modalities, and ``kind``
        (promoter, body, distal or protein). Distal links lie outside any promoter window.
    """

    parts: dict[str, ad.AnnData]
    links: pd.DataFrame


def simulate(seed: int = 0, n_cells: int = 2400, n_genes: int = 400, n_proteins: int = 60, separation: float = 1.0) -> Simulation:
    """Simulate cells of six types in three batches: RNA (genes), ATAC (three peaks a gene) and protein.

    Log expected counts are linear in a latent cell state around the type's centre; a linked peak or protein
    shares most of its gene's loadings. Batches differ in depth and in the profile of every feature; the fifth
    type is absent from the last batch. Counts are negative binomial.

    Parameters
    ----------
    seed
        Seed of all random draws.
    n_cells, n_genes, n_proteins
        Sizes; there are three peaks a gene.
    separation
        Distance between the types' centres, in units of the default.
    """
    rng = np.random.default_rng(seed)
    batch = np.arange(n_cells) % len(BATCH_DEPTH)
    cell_type = np.empty(n_cells, dtype=int)
    for b in range(len(BATCH_DEPTH)):
        shares = TYPE_SHARES.copy()
        shares[4] *= b != len(BATCH_DEPTH) - 1
        cell_type[batch == b] = rng.choice(len(shares), size=(batch == b).sum(), p=shares / shares.sum())
    centres = separation * rng.normal(size=(len(TYPE_SHARES), N_LATENT))
    state = centres[cell_type] + 0.3 * rng.normal(size=(n_cells, N_LATENT))

    var, loadings, links = _features(rng, n_genes, n_proteins)
    obs = pd.DataFrame(
        {"batch": [f"batch{b + 1}" for b in batch], "cell_type": [f"type{t + 1}" for t in cell_type]},
        index=[f"cell{i:05d}" for i in range(n_cells)],
    )
    parts = {}
    for m, table in var.items():
        n_features = len(table)
        profile = rng.normal(size=n_features) + 0.3 * rng.normal(size=(len(BATCH_DEPTH), n_features))[batch]
        log_mean = profile + state @ loadings[m].T  # (n_cells, n_features)
        share = np.exp(log_mean - log_mean.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        depth = DEPTH[m] * BATCH_DEPTH[batch] * np.exp(0.3 * rng.normal(size=n_cells))
        r = INVERSE_DISPERSION[m]
        rate = rng.gamma(r, depth[:, None] * share / r)
        parts[m] = ad.AnnData(sp.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs.copy(), var=table)
    return Simulation(parts, links)


def _features(rng, n_genes: int, n_proteins: int):
    """Feature tables with coordinates and aliases, their loadings (n_features, N_LATENT), and the planted links."""
    per_chrom = max(1, n_genes // 5)
    start = 50_000 + GENE_SPACING * (np.arange(n_genes) % per_chrom)
    chrom = np.char.add("chr", (np.arange(n_genes) // per_chrom + 1).astype(str))
    strand = rng.choice(["+", "-"], size=n_genes)
    forward = strand == "+"
    genes = pd.DataFrame(
        {"chrom": chrom, "start": start, "end": start + GENE_LENGTH, "strand": strand},
        index=[f"gene{i:03d}" for i in range(n_genes)],
    )
    gene_loadings = 0.5 * rng.normal(size=(n_genes, N_LATENT)) * (rng.random((n_genes, 1)) < 0.6)

    kind = np.tile([PROMOTER, BODY, DISTAL], n_genes)
    of_gene = np.repeat(np.arange(n_genes), 3)
    offset = np.where(kind == PROMOTER, -1_000, np.where(kind == BODY, 4_000, -rng.integers(8_000, 30_000, kind.size)))
    tss = np.where(forward, start, start + GENE_LENGTH)[of_gene]
    centre = tss + offset * np.where(forward, 1, -1)[of_gene]
    peaks = pd.DataFrame(
        {"chrom": chrom[of_gene], "start": centre - PEAK_LENGTH // 2, "end": centre + PEAK_LENGTH // 2, "strand": "."}
    )
    peaks.index = peaks["chrom"] + "-" + peaks["start"].astype(str) + "-" + peaks["end"].astype(str)
    linked = rng.random(kind.size) < np.array([0.9, 0.8, 0.3])[kind]

    of_protein = rng.choice(n_genes, size=n_proteins, replace=False)
    proteins = pd.DataFrame({"aliases": genes.index[of_protein]}, index=[f"protein{i:02d}" for i in range(n_proteins)])

    def follow(parents: np.ndarray, follows: np.ndarray) -> np.ndarray:
        own = 0.5 * rng.normal(size=(parents.size, N_LATENT)) * (rng.random((parents.size, 1)) < 0.6)
        return np.where(follows[:, None], 0.95 * gene_loadings[parents] + 0.2 * own, own)

    loadings = {
        "rna": gene_loadings,
        "atac": follow(of_gene, linked),
        "protein": 1.2 * follow(of_protein, np.ones(n_proteins, dtype=bool)),
    }
    names = np.array(["promoter", "body", "distal"])
    links = pd.concat(
        [
            pd.DataFrame(
                {
                    "source": genes.index[of_gene[linked]],
                    "target": peaks.index[linked],
                    "target_modality": "atac",
                    "kind": names[kind[linked]],
                }
            ),
            pd.DataFrame(
                {"source": genes.index[of_protein], "target": proteins.index, "target_modality": "protein", "kind": "protein"}
            ),
        ],
        ignore_index=True,
    ).assign(source_modality="rna")
    return {"rna": genes, "atac": peaks, "protein": proteins}, loadings, links

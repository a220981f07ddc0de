"""Highly variable features of a modality, by scanpy, across batches."""

import warnings

import anndata as ad
import numpy as np
import scipy.sparse as sp

from .errors import InputError
from .mosaic import Mosaic
from .normalisation import log_normalised, median_depth
from .stored import in_memory, row_sizes

FEWEST = 2
FEWEST_CELLS = 1000
MOST_ENTRIES = 2**26  # that are looked at: 512 MiB, of which scanpy makes copies
NO_COUNTS = frozenset({"normal", "zero_inflated_log_normal"})


def highly_variable(mosaic: Mosaic, modality: str, flavor: str, n_top: int | None = None) -> np.ndarray:
    """Which features vary more than their mean explains, judged within batches and joined by scanpy.

    Parameters
    ----------
    mosaic
        Counts; only cells that have the modality are read, and of very many an even share of each batch, drawn at random.
    modality
        Its name.
    flavor
        ``seurat`` (Satija et al. 2015) and ``cell_ranger`` (Zheng et al. 2017) rank dispersions of logged values at one depth,
        ``pearson_residuals`` (Lause et al. 2021) variances of the counts' residuals.
    n_top
        How many; None leaves it to scanpy's limits of mean and dispersion.

    Returns
    -------
    Boolean array of shape (n_features,).

    Raises
    ------
    InputError
        If there are fewer features than ``n_top``, or scanpy cannot rank them.
    """
    if mosaic.likelihood_of(modality) in NO_COUNTS:
        raise InputError(f"'select' ranks counts, and '{modality}' has none ({mosaic.likelihood_of(modality)}); leave it out")
    looked_at = _even_share(mosaic, modality)
    x = in_memory(mosaic.counts[modality][looked_at])
    if n_top is not None and n_top > x.shape[1]:
        raise InputError(f"'select' of '{modality}' asks for {n_top} features of {x.shape[1]}; ask for fewer, or leave it out")
    if flavor == "pearson_residuals" and n_top is None:
        raise InputError(f"'select' of '{modality}' needs 'n_top' with the flavor 'pearson_residuals'")
    import scanpy as sc  # slow to import: only for modalities that are cut

    batch = mosaic.obs[["batch"]].iloc[looked_at].astype("category")
    several = "batch" if batch["batch"].nunique() > 1 else None
    values = x if flavor == "pearson_residuals" else log_normalised(x, median_depth(x))
    adata = ad.AnnData(sp.csr_matrix(values), obs=batch)
    rank = sc.experimental.pp.highly_variable_genes if flavor == "pearson_residuals" else sc.pp.highly_variable_genes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features without variance, which are not chosen
        try:
            chosen = rank(adata, flavor=flavor, n_top_genes=n_top, batch_key=several, inplace=False)
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(
                f"scanpy cannot rank the features of '{modality}' by '{flavor}' ({error}); leave 'select' out"
            ) from error
    chosen = chosen.loc[adata.var_names, "highly_variable"].to_numpy(dtype=bool)  # scanpy may sort them by name
    if chosen.sum() < FEWEST:
        raise InputError(
            f"'{flavor}' finds {chosen.sum()} highly variable features of '{modality}'; set 'n_top', or leave it out"
        )
    return chosen


def _even_share(mosaic: Mosaic, modality: str) -> np.ndarray:
    """Positions of the cells that have a modality, or of the same share of each batch, so that few enough values are held.

    Dispersions need some cells: of each batch at least a thousand, or all.
    """
    has = np.flatnonzero(mosaic.measured[modality])
    share = MOST_ENTRIES / max(row_sizes(mosaic.counts[modality])[has].sum(), 1)
    if share >= 1:
        return has
    order = np.random.default_rng(0).permutation(has)
    batch = mosaic.obs["batch"].iloc[order]
    place_in_batch = batch.groupby(batch).cumcount().to_numpy()
    n_kept = np.maximum(np.ceil(batch.map(batch.value_counts()) * share), FEWEST_CELLS).to_numpy()
    return np.sort(order[place_in_batch < n_kept])

"""The file of an embedding: what every method leaves behind, whichever it is."""

import anndata as ad
import numpy as np
import pandas as pd

from .errors import InputError, listing
from .files import reading, replacing
from .methods import Result
from .mosaic import Mosaic

PROBABILITIES = "label_probabilities"  # obsm key, where the method learned from labels
HALF = "X_only_"  # obsm key of the cells embedded from one modality alone


def save_embedding(
    path: str, mosaic: Mosaic, truth: Mosaic, result: Result, halves: dict[str, pd.DataFrame], settings: dict, cost: dict
) -> None:
    """Write ``obsm['X_emb']`` and what else the method gives, by cell id, under a temporary name first.

    Parameters
    ----------
    path
        The h5ad file.
    mosaic, truth
        The mosaic's cells name the rows; ``obsm['hidden']`` says which modalities of a cell the truth holds.
    result
        What the method gave.
    halves
        Modality -> embedding of cells from it alone, by cell id; kept with NaN for the other cells.
    settings
        What the method was asked for; kept with what it says it ran with.
    cost
        Plain values about the run, such as ``seconds``.

    Raises
    ------
    InputError
        If the embedding does not have one finite row for each cell.
    """
    x = np.asarray(result.embedding, dtype=np.float32)
    if x.ndim != 2 or len(x) != len(mosaic.cells):
        raise InputError(f"the method gave an embedding of shape {x.shape} for {len(mosaic.cells)} cells")
    bad = mosaic.cells[~np.isfinite(x).all(axis=1)]
    if len(bad):
        raise InputError(f"the embedding of {len(bad)} cells is not finite: {listing(bad)}")
    adata = ad.AnnData(obs=pd.DataFrame(index=mosaic.cells), obsm={"X_emb": x, **result.obsm})
    adata.obsm["hidden"] = truth.measured.reindex(mosaic.cells, fill_value=False).to_numpy(dtype=bool)
    for m, table in halves.items():
        adata.obsm[HALF + m] = table.reindex(mosaic.cells).to_numpy(dtype=np.float32)
    plain = {k: v for k, v in (settings | result.settings).items() if isinstance(v, (bool, int, float, str))}
    adata.uns = {"settings": plain, **cost, "modalities": np.array(mosaic.modalities, dtype=object)}
    if result.label_probabilities is not None:  # names may hold a slash: no keys
        adata.obsm[PROBABILITIES] = result.label_probabilities.reindex(mosaic.cells).to_numpy()
        adata.uns["labels"] = np.array(result.label_probabilities.columns, dtype=object)
    with replacing(path) as partial:
        adata.write_h5ad(partial)


def save_not_run(path: str, mosaic: Mosaic, reason: str) -> None:
    """Write, in place of an embedding, why the method was not run: ``uns['not_run']``."""
    with replacing(path) as partial:
        ad.AnnData(obs=pd.DataFrame(index=mosaic.cells), uns={"not_run": reason}).write_h5ad(partial)


def read_labels(path: str) -> pd.DataFrame:
    """``batch``, ``pattern`` and label columns by cell id, all as text."""
    return pd.read_csv(path, sep="\t", dtype=str).set_index("cell")


def read_embedding(path: str, cells: pd.Index) -> ad.AnnData:
    """An embedding with its rows in the order of ``cells``; raises InputError where it lacks one."""
    adata = _read(path)
    missing = cells.difference(adata.obs_names)
    if len(missing):
        raise InputError(f"{path} lacks {len(missing)} cells: {listing(missing)}; remove it and run again")
    return adata[cells]


def read_run(path: str) -> dict:
    """What an embedding says of its run: its ``uns``."""
    return _read(path, backed="r").uns


def _read(path: str, **options) -> ad.AnnData:
    with reading(path):
        return ad.read_h5ad(path, **options)


def label_probabilities(adata: ad.AnnData) -> pd.DataFrame | None:
    """Probability of each label (columns) by cell id, where the method learned from labels; else None."""
    if PROBABILITIES not in adata.obsm:
        return None
    return pd.DataFrame(adata.obsm[PROBABILITIES], index=adata.obs_names, columns=list(adata.uns["labels"]))


def halves_of(adata: ad.AnnData) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Modality -> cells embedded from it alone (NaN rows where they were not), and -> in which cells it was hidden."""
    names = [m for m in adata.uns["modalities"] if HALF + m in adata.obsm]
    hidden = dict(zip(adata.uns["modalities"], adata.obsm["hidden"].T, strict=True))
    return {m: adata.obsm[HALF + m] for m in names}, {m: hidden[m] for m in names}

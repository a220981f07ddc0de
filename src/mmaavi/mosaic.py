"""The mosaic: counts per modality, an explicit mask of what was measured, batches and feature tables."""

import math
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import InputError, listing, nearest
from .files import reading, replacing
from .stored import BYTES_AN_ENTRY, UNCACHED, Counts, StoredCounts, in_memory, row_blocks, spread_rows, write_blocks

md.set_options(pull_on_update=False)


@dataclass(frozen=True)
class Mosaic:
    """Cells x modalities, of which each cell has a subset.

    Attributes
    ----------
    counts
        Modality -> CSR array of shape (n_cells, n_features of the modality), in memory or on disk; the rows of cells
        without the modality are empty and mean nothing.
    measured
        Boolean table (n_cells, n_modalities): what was measured. Never inferred from zeros: a cell whose
        measured counts are all zero stays measured.
    obs
        One row a cell, indexed by cell id, with at least the column ``batch``.
    var
        Modality -> one row a feature, indexed by feature name, with ``chrom, start, end, strand`` where known
        (0-based, half-open).
    guidance
        Symmetric signed weights of shape (G, G) over the features of all modalities in order, or None.
    likelihoods
        Modality -> name of the distribution of its values; those not named are counts (``negative_binomial``).
    inputs
        Modality -> what its encoder reads: ``log1p_norm`` (where none is named), ``pca`` or ``lsi``; see
        :mod:`mmaavi.features`.
    provenance
        Plain values that say where the mosaic comes from.
    """

    counts: dict[str, Counts]
    measured: pd.DataFrame
    obs: pd.DataFrame
    var: dict[str, pd.DataFrame]
    guidance: sp.csr_array | None = None
    likelihoods: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        if list(self.measured.columns) != list(self.counts) or not self.measured.index.equals(self.obs.index):
            raise InputError("'measured' must have the modalities of 'counts' as columns, the cells of 'obs' as rows, in order")
        for x in self.counts.values():
            if sp.issparse(x):
                x.sum_duplicates()  # and sorts: sums run in one order, whichever way the counts came

    @property
    def modalities(self) -> list[str]:
        return list(self.counts)

    @property
    def on_disk(self) -> bool:
        """Whether counts of some modality stay on disk."""
        return any(isinstance(x, StoredCounts) for x in self.counts.values())

    @property
    def cells(self) -> pd.Index:
        return self.obs.index

    @property
    def batches(self) -> list[str]:
        """Batch names, sorted."""
        return sorted(self.obs["batch"].unique())

    @property
    def patterns(self) -> pd.Series:
        """The modality pattern of each cell, such as ``rna+atac``."""
        mask = self.measured.to_numpy()
        names, inverse = np.unique(mask, axis=0, return_inverse=True)
        texts = np.array(["+".join(np.array(self.modalities)[row]) for row in names], dtype=object)
        return pd.Series(texts[inverse.ravel()], index=self.cells, name="pattern")

    @property
    def groups(self) -> pd.Series:
        """The cells that were measured alike: batch and modality pattern of each, such as ``batch1|rna+atac``."""
        return self.obs["batch"] + "|" + self.patterns

    @property
    def feature_starts(self) -> dict[str, int]:
        """Modality -> where its features begin among those of all modalities."""
        return dict(zip(self.modalities, np.cumsum([0, *self.n_features.values()]).tolist(), strict=False))

    def unique_features(self, modality: str) -> pd.Index:
        """Names of its features with the modality before them: a gene and its protein may share a name."""
        return modality + ":" + self.var[modality].index

    def linked(self, modality: str) -> np.ndarray:
        """Which of its features have an edge in the guidance graph; boolean (G_m,)."""
        return np.diff(sp.csr_array(self.guidance).indptr)[self.feature_starts[modality] :][: self.n_features[modality]] > 0

    def likelihood_of(self, modality: str) -> str:
        return self.likelihoods.get(modality, "negative_binomial")

    def input_of(self, modality: str) -> str:
        return self.inputs.get(modality, "log1p_norm")

    @property
    def n_features(self) -> dict[str, int]:
        return {m: x.shape[1] for m, x in self.counts.items()}

    def take(self, cells: np.ndarray) -> "Mosaic":
        """The mosaic of some cells, by position, boolean mask, or an Index of cell ids."""
        if isinstance(cells, pd.Index):
            rows = self.cells.get_indexer(cells)
            if (rows < 0).any():
                raise InputError(f"{(rows < 0).sum()} cells are not in the mosaic: {listing(cells[rows < 0])}")
        else:
            rows = np.flatnonzero(cells) if np.asarray(cells).dtype == bool else np.asarray(cells)
        return replace(
            self,
            counts={m: x[rows] for m, x in self.counts.items()},
            measured=self.measured.iloc[rows],
            obs=self.obs.iloc[rows],
        )

    def take_features(self, keep: dict[str, np.ndarray]) -> "Mosaic":
        """The mosaic of some features, by a boolean mask for each modality; those not named keep all of theirs."""
        keep = {m: keep.get(m, np.ones(n, dtype=bool)) for m, n in self.n_features.items()}
        rows = np.concatenate(list(keep.values()))
        return replace(
            self,
            counts={m: x[:, keep[m]] if not keep[m].all() else x for m, x in self.counts.items()},
            var={m: table.loc[keep[m]] for m, table in self.var.items()},
            guidance=None if self.guidance is None else sp.csr_array(sp.csr_array(self.guidance)[rows][:, rows]),
        )

    def in_memory(self) -> "Mosaic":
        """The mosaic with all counts read."""
        return replace(self, counts={m: in_memory(x) for m, x in self.counts.items()})

    def of_modalities(self, kept: list[str]) -> "Mosaic":
        """The mosaic of some modalities, without a guidance graph; all cells stay, also those that have none of these."""
        return replace(
            self,
            counts={m: self.counts[m] for m in kept},
            measured=self.measured[kept],
            var={m: self.var[m] for m in kept},
            guidance=None,
        )

    def with_measured(self, measured: pd.DataFrame) -> "Mosaic":
        """The mosaic with a smaller mask; counts that are not measured any more are dropped."""
        counts = {}
        for m, x in self.counts.items():
            keep = measured[m].to_numpy()
            if isinstance(x, StoredCounts):
                counts[m] = x.without(~keep)
                continue
            counts[m] = sp.csr_array(sp.diags_array(keep.astype(x.dtype)) @ x) if not keep.all() else x
            counts[m].eliminate_zeros()
        return replace(self, counts=counts, measured=measured)

    def save(self, path: str | Path, guidance_key: str = "guidance") -> None:
        """Write the h5mu of the contract, under a temporary name first."""
        mods, on_disk = {}, {}
        for m, x in self.counts.items():
            rows = self.measured[m].to_numpy()
            values = x[rows]
            if isinstance(values, StoredCounts):
                on_disk[f"mod/{m}"], values = values, sp.csr_array(values.shape, dtype=np.float32)
            mods[m] = ad.AnnData(sp.csr_matrix(values), obs=self.obs.loc[rows], var=self.var[m])
        with warnings.catch_warnings():  # a gene and its protein may share a name; the order of features is what counts
            warnings.filterwarnings("ignore", "var_names are not unique")
            mdata = md.MuData(mods)
            mdata.uns["modelled"] = {"likelihoods": self.likelihoods, "inputs": self.inputs}
            mdata.uns["mosaic"] = self.provenance | {"cells": self.cells.to_numpy(dtype=object)}
            if self.guidance is not None:
                mdata.varp[guidance_key] = sp.csr_matrix(self.guidance)
            with replacing(path) as partial:
                mdata.write_h5mu(partial)
                with h5py.File(partial, "r+", rdcc_nbytes=UNCACHED) as file:
                    for node, values in on_disk.items():
                        write_blocks((block for _, block in row_blocks(values)), file[node], "X")


def load(path: str | Path, guidance_key: str = "guidance", memory_gib: float = math.inf) -> Mosaic:
    """Read a mosaic saved by :meth:`Mosaic.save`; cells in the order in which they were saved.

    Counts that would take more than ``memory_gib`` in a training stay on disk (see :mod:`mmaavi.stored`).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "var_names are not unique")
        with reading(path):
            with h5py.File(path) as file:
                n_entries = sum(
                    len(part["X"].get("data", ())) for part in file["mod"].values() if isinstance(part["X"], h5py.Group)
                )
            mdata = md.read_h5mu(path, backed="r" if n_entries * BYTES_AN_ENTRY > memory_gib * 2**30 else None)
    if "mosaic" not in mdata.uns:
        raise InputError(f"{path} is no saved mosaic (it has no uns['mosaic']); read it through a dataset config")
    provenance = dict(mdata.uns["mosaic"])
    order = pd.Index(provenance.pop("cells").astype(str))
    guidance = mdata.varp[guidance_key] if guidance_key in mdata.varp else None
    mosaic = from_parts(mdata.mod, order)
    modelled = {name: dict(choice) for name, choice in mdata.uns.get("modelled", {}).items()}
    guidance = None if guidance is None else sp.csr_array(guidance)
    return replace(mosaic, guidance=guidance, provenance=provenance, **modelled)


def from_parts(parts: dict[str, ad.AnnData], order: pd.Index | None = None) -> Mosaic:
    """Join one AnnData per modality by cell id; a cell is measured in the modalities that list it.

    Raises
    ------
    InputError
        If cells or features repeat, a batch is missing, or two modalities disagree about a cell's batch.
    """
    for m, part in parts.items():
        if "batch" not in part.obs:
            raise InputError(f"modality '{m}' has no column 'batch'; {nearest('batch', part.obs.columns)}")
        for what, names in (("cell", part.obs_names), ("feature", part.var_names)):
            repeated = names[names.duplicated()].unique()
            if len(repeated):
                raise InputError(
                    f"modality '{m}' has {len(repeated)} duplicate {what} ids ({listing(repeated)}); make them unique"
                )
    if order is None:
        order = pd.Index(pd.unique(np.concatenate([p.obs_names.to_numpy(dtype=object) for p in parts.values()])))
    rows = {m: order.get_indexer(p.obs_names) for m, p in parts.items()}
    measured = pd.DataFrame(False, index=order, columns=list(parts))
    obs = pd.DataFrame(index=order)
    counts = {}
    for m, part in parts.items():
        measured.iloc[rows[m], measured.columns.get_loc(m)] = True
        for column in part.obs:
            values = part.obs[column].astype(object)
            known = obs[column].reindex(part.obs_names) if column in obs else None
            if column == "batch" and known is not None and (known.notna() & (known != values)).any():
                clash = part.obs_names[(known.notna() & (known != values)).to_numpy()]
                raise InputError(f"modality '{m}' puts {len(clash)} cells in another batch: {listing(clash)}")
            fill = pd.Series(values.to_numpy(), index=part.obs_names).reindex(order)
            obs[column] = fill if column not in obs else obs[column].where(obs[column].notna(), fill)
        counts[m] = spread_rows(part.X, rows[m], len(order))
    obs["batch"] = obs["batch"].astype(str)
    return Mosaic(counts, measured, obs, {m: p.var.copy() for m, p in parts.items()})


def from_mudata(
    mdata: md.MuData,
    batch: str = "batch",
    guidance_key: str = "guidance",
    likelihoods: dict[str, str] | None = None,
    inputs: dict[str, str] | None = None,
) -> Mosaic:
    """The mosaic of a MuData: a cell is measured in the modalities that list it; values are those of ``X``.

    Parameters
    ----------
    mdata
        One AnnData a modality, its values in ``X``.
    batch
        Column of ``mdata.obs``, or of each modality's ``obs``, that names the batch.
    guidance_key
        Key of ``mdata.varp`` that holds the guidance graph; there need not be one.
    likelihoods, inputs
        As in :class:`Mosaic`; by default those that were saved with the file, if any.
    """
    parts = {}
    for m, part in mdata.mod.items():
        table = mdata.obs if batch in mdata.obs else part.obs
        if batch not in table:
            raise InputError(f"neither mdata.obs nor the cells of '{m}' have a column '{batch}'; {nearest(batch, table)}")
        of = table[batch].reindex(part.obs_names)
        if of.isna().any():
            raise InputError(f"{of.isna().sum()} cells of '{m}' have no value in '{batch}': {listing(of.index[of.isna()])}")
        obs = pd.DataFrame({"batch": of.astype(str)})
        parts[m] = ad.AnnData(part.X, obs=obs, var=part.var)
    guidance = mdata.varp[guidance_key] if guidance_key in mdata.varp else None
    mosaic = from_parts(parts, mdata.obs_names)
    saved = mdata.uns.get("modelled", {})
    return replace(
        mosaic,
        guidance=None if guidance is None else sp.csr_array(guidance),
        likelihoods=dict(saved.get("likelihoods", {}) if likelihoods is None else likelihoods),
        inputs=dict(saved.get("inputs", {}) if inputs is None else inputs),
    )


def as_mosaic(data: Mosaic | md.MuData) -> Mosaic:
    """A Mosaic as it is, a MuData as :func:`from_mudata` reads it."""
    return from_mudata(data) if isinstance(data, md.MuData) else data

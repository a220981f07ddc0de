"""HDF5 files: AnnData, MuData, and dense matrices of features x cells."""

from collections.abc import Iterator
from contextlib import contextmanager

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from ..errors import InputError, listing, nearest
from ..intake import Intake, by_feature
from .blocks import dense_blocks, group_inside, inside, read_values, readable, sound
from .tables import with_names

UCSC_COLUMNS = {"chromStart": "start", "chromEnd": "end"}


@contextmanager
def opened(source: str, path) -> Iterator[h5py.File]:
    """An HDF5 file; what cannot be read of it ends in an InputError."""
    with readable(source), h5py.File(path) as file:
        yield file


def read_hdf5(locate, intake: Intake, _modality: str, counts: str, group: str = "matrix") -> ad.AnnData:
    """HDF5 with ``<group>/{data, features, barcodes}``, data being a dense array of features x cells."""
    with opened(counts, locate(counts)) as file:
        node = group_inside(counts, file, group)
        missing = {"data", "features", "barcodes"} - set(node)
        if missing:
            raise InputError(f"{counts} lacks {listing(f'{group}/{name}' for name in sorted(missing))}; {nearest(group, file)}")
        data, features, barcodes = (sound(counts, node, name) for name in ("data", "features", "barcodes"))
        x = intake.keep(intake.by_cell(by_feature(dense_blocks(counts, data)), data.shape[-1]), data.shape[0])
        obs = pd.DataFrame(index=barcodes.asstr()[:])
        return with_names(counts, x, features.asstr()[:], obs, "the file contradicts itself: get it anew")


def read_h5ad(
    locate,
    intake: Intake,
    _modality: str,
    counts: str,
    name: str | None = None,
    layer: str | None = None,
    keep_features: str | None = None,
) -> ad.AnnData:
    """AnnData; ``name`` chooses features by ``var['feature_types']`` where the file holds several modalities."""
    with opened(counts, locate(counts)) as file:
        return _read_anndata(counts, file, intake, layer, keep_features, name)


def read_h5mu(
    locate,
    intake: Intake,
    modality: str,
    counts: str,
    name: str | None = None,
    layer: str | None = None,
    keep_features: str | None = None,
) -> ad.AnnData:
    """One modality of a MuData file, by its ``name`` in it (by default, that of the modality)."""
    with opened(counts, locate(counts)) as file:
        name = modality if name is None else name
        mod = group_inside(counts, file, "mod")
        if name not in mod:
            raise InputError(f"{counts} has no modality '{name}'; {nearest(name, mod)}")
        return _read_anndata(counts, inside(counts, mod, name), intake, layer, keep_features)


def _read_anndata(
    source: str,
    node: h5py.Group,
    intake: Intake,
    layer: str | None,
    keep_features: str | None,
    feature_type: str | None = None,
) -> ad.AnnData:
    missing = {"obs", "var"} - set(node)
    if missing:
        raise InputError(f"{source} is no AnnData: it lacks {listing(sorted(missing))}")
    obs, var = (_table(source, node, name) for name in ("obs", "var"))
    keep = np.ones(len(var), dtype=bool)
    if keep_features is not None:
        keep &= _flags(source, var, keep_features)
    if feature_type is not None:
        if "feature_types" not in var:
            raise InputError(f"{source} has no var['feature_types'] that could say which features are '{feature_type}'")
        kinds = var["feature_types"].astype(str)
        if feature_type not in set(kinds):
            raise InputError(f"{source} has no features of the type '{feature_type}'; {nearest(feature_type, kinds.unique())}")
        keep &= (kinds == feature_type).to_numpy()
    layers = group_inside(source, node, "layers")
    if layer is not None and layer not in layers:
        raise InputError(f"{source} has no layer '{layer}'; {nearest(layer, layers)}")
    if layer is None and "X" not in node:
        raise InputError(f"{source} has no values in X; name one of its layers with 'layer': {listing(layers)}")
    values = sound(source, layers, layer) if layer else sound(source, node, "X")
    x = read_values(source, values, (len(obs), len(var)), None if keep.all() else keep, intake)
    return ad.AnnData(x, obs=obs, var=var[keep].rename(columns=UCSC_COLUMNS))


def _table(source: str, node: h5py.Group, name: str) -> pd.DataFrame:
    table = ad.io.read_elem(sound(source, node, name))
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{source}: '{name}' is no table; write the file anew with anndata 0.7 or later")
    return table.set_axis(table.index.astype(str))


def _flags(source: str, var: pd.DataFrame, column: str) -> np.ndarray:
    if column not in var:
        raise InputError(f"{source} has no var['{column}']; {nearest(column, var)}")
    if var[column].dtype != bool:
        raise InputError(f"{source}: var['{column}'] is {var[column].dtype}; 'keep_features' needs a column of true and false")
    return var[column].to_numpy()

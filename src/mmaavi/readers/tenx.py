"""Cell Ranger's outputs: one HDF5 file, or a folder of a matrix and its names. Both hold several feature types."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.utils import make_index_unique

from ..errors import InputError, listing, nearest
from ..files import SAFE_NUMBERS
from ..intake import Intake
from ..sources import folder_files
from .blocks import compressed_blocks, group_inside, sound
from .hdf5 import opened
from .tables import with_names

TEXT_AT_ONCE = 2**26  # bytes of a matrix; decoded before pandas sees them, whose parser may crash at what is no text


def read_10x_h5(locate, intake: Intake, _modality: str, counts: str, name: str | None = None) -> ad.AnnData:
    """One feature type of Cell Ranger's HDF5 (version 3 and later); features by symbol, made unique."""
    with opened(counts, locate(counts)) as file:
        node = group_inside(counts, file, "matrix")
        missing = {"data", "indices", "indptr", "shape", "barcodes", "features"} - set(node)
        if missing:
            raise InputError(
                f"{counts} is no 10x file of Cell Ranger 3 or later: it lacks {listing(f'matrix/{m}' for m in sorted(missing))}"
            )
        features = sound(counts, node, "features")
        names, kinds = (pd.Series(features[k].asstr()[:]) for k in ("name", "feature_type"))
        barcodes = sound(counts, node, "barcodes").asstr()[:]
        shape = tuple(int(n) for n in sound(counts, node, "shape")[:])
        if shape != (len(names), len(barcodes)) or len(kinds) != len(names):
            raise InputError(f"{counts} claims {shape} features x cells, but names {len(names)} and {len(barcodes)}; get it anew")
        keep = _of_type(counts, kinds, name)
        x = intake.keep(compressed_blocks(counts, node, len(barcodes), len(names), keep), int(keep.sum()))  # by cell
        return with_names(counts, x, _unique(names[keep]), pd.DataFrame(index=barcodes), "get it anew")


def read_10x_mtx(locate, intake: Intake, _modality: str, counts: str, name: str | None = None) -> ad.AnnData:
    """One feature type of a folder with ``matrix.mtx, features.tsv, barcodes.tsv``, gzipped or not."""
    matrix, features, barcodes = folder_files(locate(counts), counts)
    try:
        table = pd.read_csv(features, sep="\t", header=None, dtype=str)
        cells = pd.read_csv(barcodes, sep="\t", header=None, dtype=str)[0]
        kinds = table[2] if table.shape[1] > 2 else pd.Series("Gene Expression", index=table.index)
        keep = _of_type(counts, kinds, name)
        blocks = intake.by_cell(_triplets(matrix, keep, len(cells)), len(cells))
    except InputError:
        raise
    except (ValueError, OSError, EOFError, KeyError, MemoryError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{counts} cannot be read ({type(error).__name__}: {' '.join(str(error).split())}); get it anew"
        ) from error
    x = intake.keep(blocks, int(keep.sum()))
    return with_names(counts, x, _unique(table[1][keep]), pd.DataFrame(index=cells), "get it anew")


def _triplets(matrix: Path, keep: np.ndarray, n_cells: int) -> Iterator[sp.coo_array]:
    """Some lines at a time of a Matrix Market file of features x cells, as cells x the features ``keep``, by boolean mask.

    They are read by pandas: scipy's reader may crash at a bad file.
    """
    shape, kept, place = (len(keep), n_cells), (n_cells, int(keep.sum())), np.cumsum(keep) - 1
    opener = gzip.open if matrix.suffix == ".gz" else open
    with opener(matrix, "rt") as lines:
        kind = next(lines, "").lower().split()
        if kind[2:] not in (["coordinate", "integer", "general"], ["coordinate", "real", "general"]):
            raise InputError(f"{matrix} is no Matrix Market file of numbers by coordinates ({' '.join(kind)[:60]}); get it anew")
        sizes = next((line.split() for line in lines if not line.startswith("%")), [])
        if len(sizes) != 3 or tuple(map(int, sizes[:2])) != shape:
            raise InputError(
                f"{matrix} claims the sizes {' '.join(sizes)}, but {shape[0]} features and {shape[1]} cells are named"
            )
        n_claimed = int(sizes[2])
        if n_claimed > shape[0] * shape[1]:
            raise InputError(f"{matrix} claims {n_claimed} values, more than it can hold; get it anew")
        options = {"sep": r"\s+", "float_precision": SAFE_NUMBERS}
        yield sp.coo_array(kept, dtype=np.float32)  # there may be no values at all
        columns, n_read = {"feature": np.int32, "cell": np.int32, "value": np.float32}, 0
        while n_read <= n_claimed and (text := "".join(lines.readlines(TEXT_AT_ONCE))):
            part = pd.read_csv(io.StringIO(text), header=None, names=list(columns), index_col=False, dtype=columns, **options)
            if part["value"].isna().any() or not (
                part["feature"].between(1, shape[0]).all() and part["cell"].between(1, shape[1]).all()
            ):
                raise InputError(
                    f"{matrix} has lines that are no value of the {shape[0]} features and {shape[1]} cells; get it anew"
                )
            n_read += len(part)
            part = part[keep[part["feature"] - 1]]
            yield sp.coo_array((part["value"], (part["cell"] - 1, place[part["feature"] - 1])), shape=kept)
    if n_read != n_claimed:
        raise InputError(f"{matrix} claims {n_claimed} values, and has {'more' if n_read > n_claimed else n_read}; get it anew")


def _of_type(source: str, kinds: pd.Series, name: str | None) -> np.ndarray:
    """Boolean (n_features,): those of a feature type, or of the only one that there is."""
    known = list(kinds.unique())
    if name is None and len(known) > 1:
        raise InputError(f"{source} has the feature types {listing(known)}; say with 'name' or 'modalities' which one is meant")
    if name is not None and name not in known:
        raise InputError(f"{source} has no features of the type '{name}'; {nearest(name, known)}")
    return np.ones(len(kinds), dtype=bool) if name is None else (kinds == name).to_numpy()


def _unique(names: pd.Series) -> pd.Index:
    """Symbols; where genes share one, the second and later get a number, as scanpy does it."""
    return make_index_unique(pd.Index(names.astype(str)))

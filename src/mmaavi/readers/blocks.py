"""Matrices of HDF5 files, block by block: what is held is the part that is kept, never the file.

Files may come from anywhere. Before anything is allocated by it, what a file says of itself is compared with its size and
with the names of its cells and features; links out of the file are refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSRDataset

from ..errors import InputError
from ..intake import Intake, by_feature

BLOCK_VALUES = 2**22  # at a time: 64 MiB with their positions
LARGEST_COMPRESSION = 5000  # deflate reaches 1,032; zstd on empty matrices some thousands


@contextmanager
def readable(source: str) -> Iterator[None]:
    """What is raised at a file that is not as it should be ends in an InputError.

    Reading in blocks has one of its own within: what is raised where the blocks are put is no fault of the file.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever h5py, anndata and numpy raise at contents that they do not expect
        raise InputError(
            f"{source} cannot be read ({type(error).__name__}: {error}); it may be cut off, or no HDF5 file: get it anew"
        ) from error


def inside(source: str, node: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A member of an HDF5 group, by its name or path, that lies in the file itself; InputError for links to other files."""
    for part in name.strip("/").split("/"):
        elsewhere = isinstance(node.get(part, getlink=True), h5py.ExternalLink)
        if elsewhere or node[part].file.filename != node.file.filename:  # a soft link may lead to an external one
            raise InputError(
                f"{source}: '{node.name.rstrip('/')}/{part}' lies in another file; give a file that holds its own data"
            )
        node = node[part]
    return node


def group_inside(source: str, node: h5py.Group, name: str) -> h5py.Group | dict:
    """As :func:`inside`, for what may be missing: an empty group then."""
    return inside(source, node, name) if name in node else {}


def sound(source: str, node: h5py.Group, name: str, seen: set[int] | None = None) -> h5py.Group | h5py.Dataset:
    """A member of an HDF5 group that lies in the file itself and is no larger than the file can hold.

    Raises
    ------
    InputError
        For links to other files, groups that are linked to several times, and sizes that cannot be true.
    """
    found, seen = inside(source, node, name), set() if seen is None else seen
    if isinstance(found, h5py.Group):
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:  # a few groups that are linked to each other may be more places than can be visited
            raise InputError(f"{source}: '{found.name}' is a group that lies in several places; write the file anew")
        seen.add(address)
        for inner in found:
            sound(source, found, inner, seen)
        return found
    if found.external or found.is_virtual:
        raise InputError(f"{source}: '{found.name}' lies in another file; give a file that holds its own data")
    if found.nbytes > LARGEST_COMPRESSION * node.file.id.get_filesize():
        raise InputError(f"{source}: '{found.name}' claims {found.nbytes:,} bytes, more than the file can hold; get it anew")
    return found


def read_values(
    source: str, node: h5py.Group | h5py.Dataset, shape: tuple[int, int], keep: np.ndarray | None, intake: Intake
) -> sp.csr_matrix | CSRDataset:
    """A dense, CSR or CSC matrix of cells x features as anndata writes it, with some of its features.

    Parameters
    ----------
    source
        Name of the file, for messages.
    node
        The matrix.
    shape
        Numbers of named cells and features.
    keep
        Boolean (n_features,), or None for all.
    intake
        Keeps the blocks.
    """
    n_kept = shape[1] if keep is None else int(keep.sum())
    kind = node.attrs.get("encoding-type", "array")
    claimed = node.attrs.get("shape", ()) if isinstance(node, h5py.Group) else node.shape
    if tuple(claimed) != shape:
        raise InputError(
            f"{source}: '{node.name}' has the shape {tuple(map(int, claimed))}, but {shape[0]} cells and {shape[1]} features "
            "are named; get the file anew"
        )
    if isinstance(node, h5py.Dataset):
        return intake.keep(dense_blocks(source, node, keep), n_kept)
    if kind == "csr_matrix":
        return intake.keep(compressed_blocks(source, node, *shape, keep=keep), n_kept)
    if kind == "csc_matrix":
        parts = by_feature(compressed_blocks(source, node, shape[1], shape[0]), keep)
        return intake.keep(intake.by_cell(parts, shape[0]), n_kept)
    raise InputError(f"{source}: '{node.name}' is a '{kind}'; expected a dense, csr or csc matrix")


def dense_blocks(source: str, node: h5py.Dataset, keep: np.ndarray | None = None) -> Iterator[sp.csr_array]:
    """Some rows of a dense matrix at a time, as CSR; ``keep`` chooses columns."""
    if node.dtype.kind not in "iufb" or node.ndim != 2:
        raise InputError(f"{source}: '{node.name}' is no matrix of numbers (type {node.dtype}, {node.ndim} dimensions)")
    step = max(1, BLOCK_VALUES // max(node.shape[1], 1))
    for start in range(0, node.shape[0], step):
        with readable(source):
            block = node[start : start + step]
        yield sp.csr_array((block if keep is None else block[:, keep]).astype(np.float32))


def compressed_blocks(
    source: str, node: h5py.Group, n_rows: int, n_columns: int, keep: np.ndarray | None = None
) -> Iterator[sp.csr_array]:
    """Some rows at a time of a matrix ``node[data, indices, indptr]`` that is compressed by row, with the columns ``keep``."""
    data, indices, indptr = (sound(source, node, name) for name in ("data", "indices", "indptr"))
    indptr = indptr[:].astype(np.int64)
    lengths = np.diff(indptr)
    fits = len(indptr) == n_rows + 1 and len(data) == len(indices) == indptr[-1] and indptr[0] == 0
    if not fits or (lengths < 0).any() or (lengths > n_columns).any():
        raise InputError(f"{source}: '{node.name}' contradicts itself (data, indices, indptr); get the file anew")
    if data.dtype.kind not in "iufb":
        raise InputError(f"{source}: '{node.name}' holds no numbers but {data.dtype}")
    keep = np.ones(n_columns, dtype=bool) if keep is None else keep
    place = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
    start, n_kept = 0, int(keep.sum())
    while start < n_rows:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + BLOCK_VALUES, side="right")) - 1)
        low, high = indptr[start], indptr[stop]
        with readable(source):
            columns, values = indices[low:high], data[low:high].astype(np.float32)
        if len(columns) and not 0 <= columns.min() <= columns.max() < n_columns:
            raise InputError(f"{source}: '{node.name}' points beyond its {n_columns} names; get the file anew")
        columns = place[columns]
        chosen = columns >= 0
        kept = np.concatenate([[0], np.cumsum(chosen)])[indptr[start : stop + 1] - low]
        block = sp.csr_array((values[chosen], columns[chosen], kept), shape=(stop - start, n_kept))
        block.sum_duplicates()
        yield block
        start = stop

"""Files that are whole or not there, and what is said of those that are not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from .errors import DamagedFile


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which it becomes where the block ends without an error."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:  # else the name may outlive a power cut, and the content not
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """What fails in the block, but for a file that is not there, is told as damage of the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise DamagedFile(path, error) from error


def write_table(table: pd.DataFrame, path: str | Path, **options) -> None:
    """Write a tab-separated file; ``options`` are those of :meth:`pandas.DataFrame.to_csv`."""
    with replacing(path) as partial:
        table.to_csv(partial, sep="\t", **options)

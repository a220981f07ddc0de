"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which it becomes where the block ends without an error."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: str | Path, **options) -> None:
    """Write a tab-separated file; ``options`` are those of :meth:`pandas.DataFrame.to_csv`."""
    with replacing(path) as partial:
        table.to_csv(partial, sep="\t", **options)

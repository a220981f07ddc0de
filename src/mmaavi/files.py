"""Files that are whole or not there, and what is said of those that are not."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DamagedFile

if TYPE_CHECKING:
    import pandas as pd

# How pandas is to read the numbers of a text from outside: as Python does. Its quicker ways crash at exponents of many digits.
SAFE_NUMBERS = "round_trip"


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
    """What fails in the block is told as damage of the file; what the system refuses (no such file, no right, locked) is not."""
    try:
        yield
    except Exception as error:  # whatever a library raises at bytes that it does not understand
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFile(path, error) from error


def bring_to_present(*folders: str | Path) -> int:
    """Give files that are dated in the future, as after a clock was set back, the present time, in their order; how many.

    Snakemake takes no output that is older than an input. Files that are another user's, or gone meanwhile, are passed over.
    """
    now, dates = time.time_ns(), {}
    for path in (path for folder in folders for path in Path(folder).rglob("*")):
        with suppress(OSError):
            dates[path] = path.lstat().st_mtime_ns
    ahead = {date: now + n for n, date in enumerate(sorted({date for date in dates.values() if date > now}))}
    n_brought = 0
    for path, date in dates.items():
        if date in ahead:
            with suppress(OSError):
                os.utime(path, ns=(ahead[date], ahead[date]), follow_symlinks=False)
                n_brought += 1
    return n_brought


def write_table(table: "pd.DataFrame", path: str | Path, **options) -> None:
    """Write a tab-separated file; ``options`` are those of :meth:`pandas.DataFrame.to_csv`."""
    with replacing(path) as partial:
        table.to_csv(partial, sep="\t", **options)

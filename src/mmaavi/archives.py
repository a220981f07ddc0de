"""One file out of an archive from outside: its name in the archive never becomes a path, and its size is bounded."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import InputError, nearest
from .files import replacing

LARGEST_MEMBER = 200 * 2**30  # bytes
CHUNK = 2**20


def extract(archive: str | Path, member: str, target: str | Path) -> None:
    """Write one member of a zip or tar (gzipped or not) to ``target``, whole or not at all.

    Nothing but the bytes of the named member is taken from the archive: no names, links, modes or devices.

    Raises
    ------
    InputError
        If the archive is broken or lacks the member, if the member is no plain file or is larger than it says, than the limit, or
        than the free space.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _member(Path(archive), member) as (stream, size):
            free = shutil.disk_usage(target.parent).free
            if size > min(LARGEST_MEMBER, free):
                raise InputError(f"'{member}' of {archive} has {size:,} bytes; {free:,} are free, {LARGEST_MEMBER:,} allowed")
            with replacing(target) as partial, open(partial, "wb") as file:
                written = 0
                while chunk := stream.read(CHUNK):
                    written += len(chunk)
                    if written > size:
                        raise InputError(
                            f"'{member}' of {archive} is larger than the {size:,} bytes it says; get the archive anew"
                        )
                    file.write(chunk)
                if written < size:
                    raise InputError(f"'{member}' of {archive} breaks off after {written:,} of {size:,} bytes; get it anew")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"'{member}' cannot be read from {archive} ({error}); remove the archive and run again") from error


@contextmanager
def _member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """The content of a member, and the size it says it has."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            if member not in file.namelist():
                raise InputError(f"{archive} has no file '{member}'; {nearest(member, file.namelist())}")
            info = file.getinfo(member)
            if info.is_dir():
                raise InputError(f"'{member}' of {archive} is a folder; name a file in it")
            with file.open(info) as stream:
                yield stream, info.file_size
    else:
        with tarfile.open(archive) as file:
            names = []
            for info in file:
                names.append(info.name.removeprefix("./"))
                if names[-1] == member:
                    if not info.isreg():
                        raise InputError(f"'{member}' of {archive} is no plain file")
                    yield file.extractfile(info), info.size
                    return
            raise InputError(f"{archive} has no file '{member}'; {nearest(member, names)}")

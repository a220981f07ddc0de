"""Files from their public address or a mirror; a file gets its name only after its checksum was tested."""

import errno
import hashlib
import logging
import shutil
import time
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from .errors import InputError
from .files import replacing

CHUNK = 2**16  # bytes; what came of an unfinished one is lost
LONGEST_REDIRECTION = 10
PAUSE = 1.0  # seconds before the second try, doubled for each further one
WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 6 * 3600  # seconds, for another process that fetches the same file


class _TryAgain(Exception):
    """What went wrong may not last: the next try goes on from where this one stopped."""


def download(
    path: str,
    folder: str | Path,
    sha256: str | None = None,
    git_blob: str | None = None,
    url: str | None = None,
    mirror: str | None = None,
    retries: int = 3,
    timeout: float = 60,
) -> Path:
    """Fetch ``folder/path`` and test its checksum.

    A transfer that breaks off goes on where it stopped, in this call or, if the checksum is known, in a later one. Without a
    known checksum the first download writes its own beside the file (``<path>.sha256``), and later ones must have the same.

    Parameters
    ----------
    path
        Path of the file below ``folder`` and below the mirror.
    folder
        Where files are kept.
    sha256, git_blob
        Checksum in hexadecimal digits, or the id that git gives the content; at most one of them.
    url
        Public address; None where only a mirror can give the file.
    mirror
        A folder, or an address, that holds the same files under ``path``; replaces the public address.
    retries
        Further tries after a failed one, with growing pauses.
    timeout
        Seconds without an answer after which a try fails.

    Raises
    ------
    InputError
        If the file cannot be had, or its checksum is wrong; nothing is left under its name.
    """
    is_folder = mirror is not None and "://" not in mirror
    address = f"{mirror.rstrip('/')}/{path}" if mirror else url
    if address is None:
        raise InputError(f"{path} has no public address; give a mirror with '--config mirror=<folder or address>'")
    if is_folder and not Path(address).is_file():
        known = url or "not known"
        raise InputError(f"{path} is not in the mirror folder {mirror}; it belongs at {address}. Its public address is {known}")
    target = Path(folder) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    record = target.with_name(f"{target.name}.sha256")
    if sha256 is None and git_blob is None and record.is_file():
        sha256 = record.read_text().split()[0]
    partial, lock = (target.with_name(f".{target.name}.{end}") for end in ("partial", "lock"))
    try:
        with FileLock(lock, timeout=LONGEST_WAIT):
            try:
                if target.is_file() and (sha256 or git_blob) and _matches(target, sha256, git_blob):
                    return target  # another process was faster
                if not (sha256 or git_blob):
                    partial.unlink(missing_ok=True)  # nothing could tell that it is of the same file
                earlier = partial.is_file()
                _fetch(address, partial, is_folder, retries, timeout)
                if earlier and not _matches(partial, sha256, git_blob):  # what an earlier call left may be of another file
                    partial.unlink()
                    _fetch(address, partial, is_folder, retries, timeout)
                if not _matches(partial, sha256, git_blob):
                    partial.unlink()
                    raise InputError(
                        f"{path} from {address} has another checksum than {record.name if record.is_file() else 'the config'} "
                        f"says ({sha256 or git_blob}): the file changed at its source, or is something else"
                    )
                if not (sha256 or git_blob):
                    with replacing(record) as temporary:
                        temporary.write_text(f"{_digest(partial)}  {target.name}\n")
                    logging.info("%s has no known checksum: recorded that of this download in %s", path, record)
                partial.replace(target)
                return target
            finally:
                lock.unlink()  # while it is held: those who wait for it notice, and make a new one
    except Timeout as error:
        raise InputError(f"another process has been fetching {path} for hours; remove {lock} if there is none") from error
    except (requests.RequestException, OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            partial.unlink(missing_ok=True)
            raise InputError(f"there is no space for {path} in {target.parent} ({error}); make room there") from error
        raise InputError(
            f"{path} could not be downloaded from {address} ({error}). Where there is no internet, get the files "
            "elsewhere and name their folder or address with '--config mirror=<folder or address>'"
        ) from error


def _fetch(address: str, partial: Path, is_folder: bool, retries: int, timeout: float) -> None:
    """The whole content of the address in ``partial``, which keeps what it had if a transfer broke off."""
    if is_folder:
        shutil.copyfile(address, partial)
        return
    session = requests.Session()
    session.max_redirects = LONGEST_REDIRECTION
    version: dict[str, str] = {}
    for attempt in range(retries + 1):
        try:
            return _transfer(session, address, partial, timeout, version)
        except (_TryAgain, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == retries:
                raise requests.ConnectionError(f"{error}, {retries + 1} times") from error
            logging.warning("%s: %s; trying again", address, error)
            time.sleep(PAUSE * 2**attempt)


def _transfer(session: requests.Session, address: str, partial: Path, timeout: float, version: dict[str, str]) -> None:
    """One request; ``version`` keeps the server's name of the content, so that a resumed transfer is of the same."""
    start = partial.stat().st_size if partial.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} | version if start else {})
    with session.get(address, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416:  # there is nothing after what we have, or what we have is of something else
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return
            partial.unlink()
            raise _TryAgain("what was there before does not fit")
        if answer.status_code in WORTH_RETRYING:
            raise _TryAgain(f"answer {answer.status_code} {answer.reason}")
        answer.raise_for_status()
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise requests.RequestException("it answers with a web page, not a file: see in a browser what it asks for")
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None or answer.headers.get("Content-Encoding") else start + int(length)
        if total is not None and total - start > (free := shutil.disk_usage(partial.parent).free):
            raise OSError(errno.ENOSPC, f"{total:,} bytes, {free:,} free")
        if tag := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
            version["If-Range"] = tag
        with (
            open(partial, "ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        got = partial.stat().st_size
        if total is not None and got != total:
            raise _TryAgain(f"broke off after {got:,} of {total:,} bytes")


def _matches(file: Path, sha256: str | None, git_blob: str | None) -> bool:
    if git_blob is not None:
        return _digest(file, "sha1", f"blob {file.stat().st_size}\0".encode()) == git_blob
    return sha256 is None or _digest(file) == sha256


def _digest(file: Path, algorithm: str = "sha256", header: bytes = b"") -> str:
    digest = hashlib.new(algorithm, header)
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

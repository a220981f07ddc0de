"""Files from their public address or a mirror; a file gets its name only after its checksum was tested."""

import shutil
from pathlib import Path

import pooch
import requests

from .errors import InputError


def download(
    path: str,
    folder: str | Path,
    sha256: str,
    url: str | None = None,
    mirror: str | None = None,
    retries: int = 3,
    timeout: float = 60,
) -> Path:
    """Fetch ``folder/path`` and test its checksum.

    Parameters
    ----------
    path
        Path of the file below ``folder`` and below the mirror.
    folder
        Where files are kept.
    sha256
        Checksum in hexadecimal digits.
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
    store = pooch.create(
        path=folder,
        base_url="",
        registry={path: f"sha256:{sha256}"},
        urls={path: address},
        retry_if_failed=0 if is_folder else retries,
    )
    fetch = _copy if is_folder else pooch.HTTPDownloader(progressbar=True, timeout=timeout)
    try:
        return Path(store.fetch(path, downloader=fetch))
    except ValueError as error:
        raise InputError(
            f"{path} from {address} has another checksum than the config says ({sha256}): the file was cut off, "
            "or changed at its source"
        ) from error
    except (requests.RequestException, OSError) as error:
        raise InputError(
            f"{path} could not be downloaded from {address} ({error}). Where there is no internet, get the files "
            "elsewhere and name their folder or address with '--config mirror=<folder or address>'"
        ) from error


def _copy(url: str, output_file: str, _store: pooch.Pooch) -> None:
    shutil.copyfile(url, output_file)

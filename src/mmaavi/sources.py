"""Where the files of a dataset config lie: downloaded, within a downloaded archive, or beside the config."""

from pathlib import Path

from .errors import InputError, listing, nearest

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
FILE_KEYS = ("counts", "features", "cells")
CHECKSUMS = ("sha256", "git_blob")
# Of a folder of Cell Ranger, gzipped or not.
FOLDER_FILES = {"matrix": ("matrix.mtx",), "features": ("features.tsv", "genes.tsv"), "barcodes": ("barcodes.tsv",)}


def collect(datasets: dict[str, dict], assemblies: dict[str, dict]) -> dict[str, dict]:
    """Every file that can be downloaded, by its path below ``resources/``.

    Raises
    ------
    InputError
        If two configs give one path different checksums.
    """
    sources: dict[str, dict] = {}
    for source in [a for a in assemblies.values() if "path" in a] + [s for d in datasets.values() for s in d["sources"]]:
        known = sources.setdefault(source["path"], source)
        if any(known.get(kind) != source.get(kind) for kind in CHECKSUMS):
            raise InputError(f"two datasets give '{source['path']}' different checksums; give one of the files another path")
    return sources


def archive_of(path: str, sources: dict[str, dict]) -> str | None:
    """The source archive that a path leads into, if it does."""
    return next((s for s in sources if path.startswith(f"{s}/") and s.endswith(ARCHIVES)), None)


def named_files(config: dict) -> list[str]:
    """Every path that a dataset config reads, in order."""
    named = [entry[k] for entry in config["inputs"] for k in FILE_KEYS if k in entry]
    named += [recipe[k] for recipe in config["graph"] for k in ("aliases", "edges") if recipe[k]]
    named += [config["coordinates"]] if config["coordinates"] else []
    return list(dict.fromkeys(named))


def folders(config: dict) -> set[str]:
    """Those of the paths that are folders of several files."""
    return {entry["counts"] for entry in config["inputs"] if entry["reader"] == "10x_mtx"}


def locations(config: dict, file: Path, sources: dict[str, dict]) -> dict[str, str]:
    """Path in a dataset config -> where it lies.

    Parameters
    ----------
    config
        A validated dataset config.
    file
        The config's own file; other files are looked for relative to it.
    sources
        What :func:`collect` gives.

    Raises
    ------
    InputError
        For a path that is no source, in no source archive, and not beside the config.
    """
    in_folders = folders(config)
    return {path: _location(path, path in in_folders, config, file, sources) for path in named_files(config)}


def _location(path: str, folder: bool, config: dict, file: Path, sources: dict[str, dict]) -> str:
    if archive_of(path, sources) and ".." in Path(path).parts:  # it would be unpacked outside of resources/
        raise InputError(f"{file} names '{path}', which leads out of its archive; name the member as it is in the archive")
    if archive_of(path, sources):
        return f"resources/unpacked/{path}"
    if path in sources or (folder and any(s.startswith(f"{path}/") for s in sources)):
        return f"resources/{path}"
    beside = file.parent / path
    if beside.is_dir() if folder else beside.is_file():
        return str(beside)
    listed = [source["path"] for source in config["sources"]]
    if beside.parent.is_dir():
        listed += [str(Path(path).with_name(found.name)) for found in sorted(beside.parent.iterdir())]
    kind = "folder" if folder else "file"
    raise InputError(
        f"{file} names the {kind} '{path}', which is neither among its sources nor a {kind} at {beside}; {nearest(path, listed)}"
    )


def input_files(config: dict, located: dict[str, str], sources: dict[str, dict]) -> list[str]:
    """Where every single file lies that a dataset config reads; folders are replaced by what is in them."""
    files, in_folders = [], folders(config)
    for path, place in located.items():
        if path not in in_folders:
            files.append(place)
        elif archive_of(path, sources):
            files += [f"{place}/{names[0]}.gz" for names in FOLDER_FILES.values()]
        elif place == f"resources/{path}":
            files += [f"resources/{s}" for s in sources if s.startswith(f"{path}/")]
        else:
            files += map(str, folder_files(Path(place), path))
    return files


def folder_files(folder: Path, source: str) -> list[Path]:
    """The matrix, its features and its barcodes in a folder of Cell Ranger; raises InputError where one is not there."""
    found = []
    for what, names in FOLDER_FILES.items():
        candidates = [folder / f"{name}{end}" for name in names for end in (".gz", "")]
        file = next((c for c in candidates if c.is_file()), None)
        if file is None:
            there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
            raise InputError(
                f"{source} has no {what} ({candidates[0].name}); in {folder} there is: {listing(there) or 'nothing'}"
            )
        found.append(file)
    return found

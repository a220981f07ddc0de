"""Spoiled files of every format, and configs: each is used, or refused with a message, within seconds and bounded memory.

Run by `make fuzz`. Each input is read in a process of its own, since a library may crash on it. What is compressed is spoiled as
it lies, which mostly meets a checksum, and within (kinds with "inside").
"""

import gzip
import io
import os
import resource
import signal
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import mudata as md
import pytest
import scipy.sparse as sp
import yaml
from conftest import ROOT
from given import run, write_good
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from published import parts, write_10x_folder

from mmaavi.configuration import checked, read_config
from mmaavi.errors import InputError, listing
from mmaavi.experiments import all_runs, check_analyses, check_names, check_settings

N_INPUTS = int(os.environ.get("MMAAVI_FUZZ_INPUTS", "500"))  # of each kind
SECONDS = 10
MEMORY = 8 * 2**30  # of address space, beyond what this process has had
HEADER = "title: Test\nmodalities: {rna: {}}\ndrop_empty: true\n"


SCHEMAS = ROOT / "workflow/schemas"
DATASETS = {p.stem: read_config(p, SCHEMAS / "dataset.schema.yaml") for p in (ROOT / "config/datasets").glob("*.yaml")}


@dataclass(frozen=True)
class Kind:
    """A file to be spoiled, in a folder that is good as it is.

    Attributes
    ----------
    target
        Path of the file in the folder.
    files
        Path -> content of all files.
    use
        What the workflow does with the folder.
    opened, closed
        What is spoiled of the file's content; the content with that part as it has become.
    """

    target: str
    files: dict[str, bytes]
    use: Callable[[Path], None] = run
    opened: Callable[[bytes], bytes] = staticmethod(lambda content: content)
    closed: Callable[[bytes, bytes], bytes] = staticmethod(lambda content, part: part)


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def written(write: Callable[[Path], None], entry: str) -> dict[str, bytes]:
    """What a function writes into a folder, with a dataset config of one input."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        Path(name, "data.yaml").write_text(f"{HEADER}inputs: [{{modality: rna, {entry}}}]\n")
        return content_of(Path(name))


def member(name: str) -> dict[str, Callable]:
    """Opens and closes a member of a zip archive, whose checksum then fits again."""

    def closed(content: bytes, part: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for other in old.namelist():
                new.writestr(other, part if other == name else old.read(other))
        return out.getvalue()

    return {"opened": lambda content: zipfile.ZipFile(io.BytesIO(content)).read(name), "closed": closed}


def use_config(folder: Path) -> None:
    """What the workflow does with its own config before anything is run."""
    file = folder / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("Snakemake says so") from error
    if not isinstance(config, dict):
        raise InputError("Snakemake says so")
    config = checked(config, SCHEMAS / "config.schema.yaml", file)
    if unknown := set(config["datasets"]) - set(DATASETS):
        raise InputError(f"no such dataset: {listing(unknown)}")
    datasets = {name: DATASETS[name] for name in config["datasets"]}
    check_names(config, datasets)
    check_analyses(config)
    check_settings(datasets, config["variants"])
    all_runs(config["experiments"], list(datasets))


def kinds() -> dict[str, Kind]:
    data = parts(n_cells=60, n_genes=20, n_proteins=6)
    rna = ad.AnnData(sp.csr_matrix(data["rna"].X), obs=data["rna"].obs[[]], var=data["rna"].var[[]])

    def write_npz(folder: Path) -> None:
        sp.save_npz(folder / "x.npz", sp.csr_matrix(rna.X))
        (folder / "genes.txt").write_text("\n".join(rna.var_names))
        data["rna"].obs.to_csv(folder / "cells.csv")

    def write_h5ad(form: Callable) -> Callable[[Path], None]:
        return lambda folder: ad.AnnData(form(rna.X), obs=rna.obs, var=rna.var).write_h5ad(folder / "x.h5ad")

    def write_hdf5(folder: Path) -> None:
        with h5py.File(folder / "x.h5", "w") as file:
            values = {"data": rna.X.toarray().T, "features": rna.var_names, "barcodes": rna.obs_names}
            for name, value in values.items():
                file.create_dataset(f"matrix/{name}", data=value if name == "data" else value.to_numpy(dtype=object))

    def write_10x_h5(folder: Path) -> None:
        with h5py.File(folder / "x.h5", "w") as file:
            names = rna.var_names.to_numpy(dtype=object)
            shape = rna.X.T.shape
            values = {"data": rna.X.data.astype(int), "indices": rna.X.indices, "indptr": rna.X.indptr, "shape": shape}
            values |= {"barcodes": rna.obs_names.to_numpy(dtype=object), "features/name": names, "features/id": names}
            values["features/feature_type"] = ["Gene Expression"] * len(names)
            for name, value in values.items():
                file.create_dataset(f"matrix/{name}", data=value)

    with tempfile.TemporaryDirectory() as name:
        good = content_of(write_good(Path(name)))
    found = {name: Kind(name, good) for name in ("rna.h5ad", "protein.csv", "cells.csv", "edges.tsv", "data.yaml")}
    npz = written(write_npz, "reader: npz, counts: x.npz, features: genes.txt, cells: cells.csv, batch: one")
    found |= {name: Kind(name, npz) for name in ("x.npz", "genes.txt")}
    found |= {f"x.npz, inside {name}": Kind("x.npz", npz, **member(f"{name}.npy")) for name in ("data", "indices", "indptr")}
    h5mu = written(
        lambda folder: md.MuData({"rna": rna}).write_h5mu(folder / "x.h5mu"), "reader: h5mu, counts: x.h5mu, batch: one"
    )
    found["x.h5mu"] = Kind("x.h5mu", h5mu)
    for name, form in (("CSC", sp.csc_matrix), ("dense", lambda x: x.toarray())):
        found[f"x.h5ad, {name}"] = Kind("x.h5ad", written(write_h5ad(form), "reader: h5ad, counts: x.h5ad, batch: one"))
    by_row = written(
        lambda folder: rna.to_df().T.to_csv(folder / "x.csv"), "reader: csv, counts: x.csv, features_in_rows: true, batch: one"
    )
    found["x.csv, features in rows"] = Kind("x.csv", by_row)
    found["hdf5"] = Kind("x.h5", written(write_hdf5, "reader: hdf5, counts: x.h5, batch: one"))
    found["10x_h5"] = Kind("x.h5", written(write_10x_h5, "reader: 10x_h5, counts: x.h5, batch: one"))
    tenx = written(
        lambda folder: write_10x_folder(folder / "out", {m: data[m] for m in ("rna", "atac")}),
        "reader: 10x_mtx, counts: out, name: Gene Expression, batch: one",
    )
    for name in (name for name in tenx if name.startswith("out/")):
        found[name] = Kind(name, tenx)
        found[f"{name}, inside"] = Kind(name, tenx, opened=gzip.decompress, closed=lambda _, part: gzip.compress(part))
    for name in ("config.yaml", "analyses.yaml"):
        found[name] = Kind("config.yaml", {"config.yaml": (ROOT / "config" / name).read_bytes()}, use_config)
    return found


KINDS = kinds()
WORDS = [
    b"",
    b"\x00",
    b"\xff\xff\xff\xff",
    b"-1",
    b"nan",
    b"1e308",
    b"\n",
    b",",
    b"\t",
    b"[",
    b"{",
    b": ",
    b"!!python/object:os.system ",
]
WORDS += [b"&a [*a]", b"../", b"null", b"999999999999", "\u00e9\u0000".encode()]
CHANGE = st.tuples(
    st.floats(0, 1), st.sampled_from(["flip", "cut", "put", "drop", "repeat"]), st.integers(1, 64), st.sampled_from(WORDS)
)


def spoil(content: bytes, changes: list) -> bytes:
    """Bytes flipped, put in, dropped, repeated, or cut off from some place on."""
    for place, how, n, word in changes:
        at = int(place * len(content))
        here = content[at : at + n]
        instead = {
            "flip": bytes(b ^ n for b in here[:1]) + here[1:],
            "cut": None,
            "put": word + here,
            "drop": b"",
            "repeat": here * 3,
        }[how]
        content = content[:at] if instead is None else content[:at] + instead + content[at + n :]
    return content


def outcome(folder: Path, use: Callable[[Path], None]) -> str:
    """How a process of its own ends with a folder: ``used``, ``refused``, or what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        result = "no result"
        try:
            resource.setrlimit(resource.RLIMIT_AS, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            use(folder)
            result = "used"
        except InputError as error:
            result = "refused" if str(error).strip() else "refused without a message"
        except BaseException:  # noqa: BLE001 - that is what is looked for
            result = traceback.format_exc()
        finally:
            os.write(writing, result.encode()[-8000:])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return result if status == 0 else f"ended by signal {signal.Signals(os.WTERMSIG(status)).name}"


def put(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=N_INPUTS, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
@given(changes=st.lists(CHANGE, min_size=1, max_size=4))
def test_a_spoiled_input_is_used_or_refused(kind, changes):
    content = kind.files[kind.target]
    spoiled = kind.closed(content, spoil(kind.opened(content), changes))
    with tempfile.TemporaryDirectory() as name:
        put(Path(name), kind.files | {kind.target: spoiled})
        before = sorted(Path(name).rglob("*"))
        how = outcome(Path(name), kind.use)
        assert how in ("used", "refused"), how
        if how == "refused":
            assert sorted(Path(name).rglob("*")) == before


def test_the_good_folders_are_used(tmp_path):
    for n, kind in enumerate(KINDS.values()):
        put(tmp_path / str(n), kind.files)
        assert outcome(tmp_path / str(n), kind.use) == "used"

"""Spoiled files of every format, and configs: each is used, or refused with a message, within seconds and bounded memory.

Run by `make fuzz`. Each input is read in a process of its own, since a library may crash on it.
"""

import os
import resource
import signal
import tempfile
import traceback
from pathlib import Path

import anndata as ad
import mudata as md
import pytest
import scipy.sparse as sp
from given import run, write_good
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from published import parts, write_10x_folder

from mmaavi.errors import InputError

N_INPUTS = int(os.environ.get("MMAAVI_FUZZ_INPUTS", "1000"))  # of each kind
SECONDS = 10
MEMORY = 8 * 2**30  # of address space, beyond what this process has had
HEADER = "title: Test\nmodalities: {rna: {}}\ndrop_empty: true\n"


def kinds() -> dict[str, tuple[str, dict[str, bytes]]]:
    """Kind -> the file to be spoiled, and all files of a folder that is good as it is."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        good = write_good(Path(name))
        files = {p.name: p.read_bytes() for p in good.iterdir()}
    for kind in ("rna.h5ad", "protein.csv", "cells.csv", "edges.tsv", "data.yaml"):
        found[kind] = (kind, files)
    data = parts(n_cells=60, n_genes=20, n_proteins=6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sp.save_npz(folder / "x.npz", sp.csr_matrix(data["rna"].X))
        (folder / "genes.txt").write_text("\n".join(data["rna"].var_names))
        data["rna"].obs.to_csv(folder / "cells.csv")
        entry = "{reader: npz, modality: rna, counts: x.npz, features: genes.txt, cells: cells.csv, batch: one}"
        (folder / "data.yaml").write_text(f"{HEADER}inputs: [{entry}]\n")
        files = {p.name: p.read_bytes() for p in folder.iterdir()}
        found |= {kind: (kind, files) for kind in ("x.npz", "genes.txt")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        md.MuData({"rna": ad.AnnData(sp.csr_matrix(data["rna"].X), obs=data["rna"].obs[[]], var=data["rna"].var[[]])}).write_h5mu(
            folder / "x.h5mu"
        )
        (folder / "data.yaml").write_text(f"{HEADER}inputs: [{{reader: h5mu, modality: rna, counts: x.h5mu, batch: one}}]\n")
        found["x.h5mu"] = ("x.h5mu", {p.name: p.read_bytes() for p in folder.iterdir()})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_10x_folder(folder / "out", {m: data[m] for m in ("rna", "atac")})
        entry = "{reader: 10x_mtx, modality: rna, counts: out, name: Gene Expression, batch: one}"
        (folder / "data.yaml").write_text(f"{HEADER}inputs: [{entry}]\n")
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        found |= {kind: (kind, files) for kind in files if kind.startswith("out/")}
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


def outcome(folder: Path) -> str:
    """How a process of its own ends on a folder: ``used``, ``refused``, or what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        result = "no result"
        try:
            resource.setrlimit(resource.RLIMIT_AS, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            run(folder)
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


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=N_INPUTS, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
@given(changes=st.lists(CHANGE, min_size=1, max_size=4))
def test_a_spoiled_input_is_used_or_refused(kind, changes):
    target, files = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        for path, content in files.items():
            file = Path(name, path)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(spoil(content, changes) if path == target else content)
        before = sorted(Path(name).rglob("*"))
        how = outcome(Path(name))
        assert how in ("used", "refused"), how
        if how == "refused":
            assert sorted(Path(name).rglob("*")) == before


def test_the_good_folders_are_used(tmp_path):
    for n, (_, files) in enumerate(KINDS.values()):
        for path, content in files.items():
            file = tmp_path / str(n) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        assert outcome(tmp_path / str(n)) == "used"

"""Clean environments from the pins of each file in envs/, and their methods' script in them: on request, minutes each.

``MMAAVI_TEST_ENVIRONMENTS="peers midas" pytest tests/test_environments.py``. conda's channels cannot be reached from our test
machines: what conda would install is taken from the package index, under the names of a short table, CPU builds only.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_methods import BRIEF, PEERS, fitting

from mmaavi.availability import environment
from mmaavi.scenarios import hide

ON_PIP = {"pytorch": "torch", "python-igraph": "igraph", "matplotlib-base": "matplotlib"}
# MIDAS asks for these builds, which are for GPUs; it runs beside the torch of the main stack, and imports none of the others.
NOT_ON_CPU = {"torch", "torchvision", "torchaudio"}
ASKED = os.environ.get("MMAAVI_TEST_ENVIRONMENTS", "").split()
STAND_IN = """
import sys
from types import SimpleNamespace
script, mosaic, truth, out, method = sys.argv[1:]
snakemake = SimpleNamespace(
    input=SimpleNamespace(mosaic=mosaic, truth=truth, labels=[]), log=[out + "/log"], threads=1,
    output=SimpleNamespace(**{k: f"{out}/{k}" for k in ("embedding", "history", "imputation", "model")}),
    params=SimpleNamespace(settings=SETTINGS, not_here=""), resources=SimpleNamespace(mem_mb=8000),
    wildcards=SimpleNamespace(method=method, seed="0"),
)
exec(compile(open(script).read(), script, "exec"), {"snakemake": snakemake})
"""


def install(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]


def build(name: str, folder: Path) -> Path:
    """The Python of a new environment with the file's pins."""
    content = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    conda = [p for p in content["dependencies"] if isinstance(p, str) and not re.match("(python|pip)=", p)]
    beside = [p for part in content["dependencies"] if isinstance(part, dict) for p in part["pip"]]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    names = dict(p.split("=") for p in conda) | ({"pytorch": "2.13.0"} if name == "midas" else {})
    install(python, *(f"{ON_PIP.get(p, p)}=={version}" for p, version in names.items()))
    if beside := [p for p in beside if p.split("==")[0] not in NOT_ON_CPU]:
        install(python, "--no-deps", *beside)
    said = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False).stdout
    lacking = set(re.findall(r"requires (\S+), which is not installed", said)) - NOT_ON_CPU
    assert not lacking, lacking
    return python


@pytest.mark.parametrize("name", ["main", "peers", "midas"])
def test_a_clean_environment_runs_its_methods(name, mosaic, tmp_path):
    if name not in ASKED:
        pytest.skip(f"on request: MMAAVI_TEST_ENVIRONMENTS={name}")
    python = build(name, tmp_path / "venv")
    for method in (m for m in PEERS if environment(m) == name):
        folder = tmp_path / method
        folder.mkdir()
        seen, truth = hide(fitting(method, mosaic), {"batch2": ["protein"]})
        seen.save(folder / "mosaic.h5mu")
        truth.save(folder / "truth.h5mu", guidance_key="links")
        code = STAND_IN.replace("SETTINGS", repr(BRIEF[method]))
        files = [str(folder / f) for f in ("mosaic.h5mu", "truth.h5mu")]
        command = [str(python), "-c", code, str(ROOT / "workflow/scripts/integrate.py"), *files, str(folder), method]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, (method, done.stderr[-3000:])
        imputation = pd.read_csv(folder / "imputation", sep="\t")
        assert set(imputation["group"]) == {"protein", "protein: mean profile"}, method
        assert (folder / "embedding").stat().st_size > 0

"""The first page of the report: what was run, on what, the headline, and what was not run or failed."""

import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import jinja2
import pandas as pd
import psutil
import torch

from mmaavi import __version__
from mmaavi.analyses import RUN, of_runs
from mmaavi.files import replacing
from mmaavi.logs import log_to
from mmaavi.overview import embedded, headline, not_scored, packages
from mmaavi.scores import summarise

LIBRARIES = ("snakemake", "torch", "scanpy", "anndata", "mudata", "scib-metrics", "numpy", "pandas")


def commit(folder: Path) -> str:
    """Of the workflow that writes this page, marked where files of it were changed."""
    if shutil.which("git") is None:
        return "unknown: no git here"
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown: not a checkout of git"


log_to(snakemake.log[0])
scores, cost = (pd.read_csv(snakemake.input[k], sep="\t") for k in ("scores", "cost"))
summary = summarise(of_runs(scores, snakemake.params.runs), [*RUN[:-1], "metric", "group"])
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
machine = {
    "system": platform.platform(),
    "processor": f"{psutil.cpu_count(logical=False)} cores, {platform.machine()}",
    "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    "GPU": ", ".join(gpus) or "none",
    "Python": platform.python_version(),
    "mmaavi": __version__,
    "commit": commit(Path(snakemake.params.template).parent),
    **{name: version(name) for name in LIBRARIES},
}
template = jinja2.Environment(autoescape=True).from_string(Path(snakemake.params.template).read_text())
page = template.render(
    experiments=snakemake.params.experiments,
    headline=headline(summary),
    pictures=[embedded(path) for path in snakemake.input.pictures],
    missing=not_scored(scores),
    machine=machine,
    packages=packages(cost),
    hours=cost["job_seconds"].sum() / 3600,
    n_runs=snakemake.params.n_runs,
)
with replacing(snakemake.output[0]) as partial:
    partial.write_text(page)

"""Which methods can run here, in which environment, and which runs were tried and failed: read without running any."""

import ast
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .experiments import PACKAGE, Run


def declared(method: str, name: str, default: Any) -> Any:
    """A constant of a method's file, read from its text: Snakemake may run where what the file imports is not installed."""
    for node in ast.parse((PACKAGE / f"methods/{method}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return default


def environment(method: str) -> str:
    """The name of the method's file in ``envs/``."""
    return declared(method, "ENVIRONMENT", "main")


def not_installed(methods: Iterable[str]) -> dict[str, str]:
    """Method -> which of its packages this Python lacks, of the methods that lack any."""
    lacking = {m: [p for p in declared(m, "PACKAGES", ()) if find_spec(p) is None] for m in methods}
    return {m: f"{', '.join(packages)} not installed here" for m, packages in lacking.items() if packages}


def failures(runs: Iterable[Run]) -> dict[Run, str]:
    """Runs that left a log but not what it is the log of -> the last line of that log.

    Paths are relative to the workflow's working directory. Runs that were never tried are not among them.
    """
    found = {}
    for run in runs:
        for rule, output in (("integrate", "embedding.h5ad"), ("score", "scores.tsv")):
            log = Path(f"{run.folder.replace('results', f'logs/{rule}', 1)}.log")
            if log.is_file() and not Path(run.folder, output).is_file():
                lines = log.read_text(errors="replace").split("\n")
                found[run] = next((line.strip() for line in reversed(lines) if line.strip()), "nothing in its log: it was killed")
                break
    return found

"""What the package states without being run: where methods can run, constants that captions name, and which runs failed."""

import ast
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .experiments import PACKAGE, Run


def constants(module: str) -> dict[str, Any]:
    """The constants of a module, read from its text: Snakemake may run where what it imports is not installed, or slow to load.

    Those whose value is not written out are left out.
    """
    found = {}
    for node in ast.parse((PACKAGE / module).read_text()).body:
        if isinstance(node, ast.Assign) and (name := ast.unparse(node.targets[0])).isupper():
            with suppress(ValueError):
                found[name] = ast.literal_eval(node.value)
    return found


def declared(method: str, name: str, default: Any) -> Any:
    """A constant of a method's file."""
    return constants(f"methods/{method}.py").get(name, default)


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

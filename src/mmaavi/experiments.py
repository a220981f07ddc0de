"""The config -> the list of runs, and the code that each of them depends on."""

import ast
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import InputError, nearest
from .settings import Settings

PACKAGE = Path(__file__).parent
# Dots and module of "from ... import", the names behind it, be it on several lines; or the module of a plain import.
IMPORT = re.compile(r"^[ \t]*(?:from +(\.*)([\w.]*) +import +(\([^)]*\)|[^\n#]+)|import +([\w.]+))", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Run:
    """One embedding: dataset / scenario / method / variant / seed."""

    dataset: str
    scenario: str
    method: str
    variant: str
    seed: int

    @property
    def folder(self) -> str:
        return f"results/{self.dataset}/{self.scenario}/{self.method}/{self.variant}/seed{self.seed}"


def expand(experiment: dict, datasets: list[str]) -> list[Run]:
    """The runs of an experiment, in the order of the config.

    Parameters
    ----------
    experiment
        ``scenarios``, ``methods`` (method -> variants), ``seeds`` and, where they are not all, ``datasets``.
    datasets
        Names of all datasets of the config.
    """
    return [
        Run(dataset, scenario, method, variant, seed)
        for dataset in experiment["datasets"] or datasets
        for scenario in experiment["scenarios"]
        for method, variants in experiment["methods"].items()
        for variant in variants
        for seed in experiment["seeds"]
    ]


def labelled_runs(experiment: dict, datasets: list[str], variants: dict[str, dict]) -> list[tuple[Run, int]]:
    """The runs of a label transfer, each with the numbers of labelled cells that it is asked with: a variant trained on so many
    cells with these alone, any other one with all of the experiment.
    """
    asked = []
    for run in expand(experiment, datasets):
        own = variants[run.method][run.variant].get("labelled")
        asked += [(run, n) for n in ([own] if own else experiment["labelled"])]
    return asked


def all_runs(experiments: dict[str, dict], datasets: list[str]) -> list[Run]:
    """The runs of all experiments, each once."""
    return list(dict.fromkeys(run for e in experiments.values() for run in expand(e, datasets)))


def check_names(config: dict, datasets: dict[str, dict]) -> None:
    """Raise InputError where an experiment names a dataset, scenario, method or variant that the config does not define."""
    for name, experiment in config["experiments"].items():
        where = f"experiment '{name}' names"
        for dataset in experiment["datasets"]:
            if dataset not in datasets:
                raise InputError(f"{where} a dataset '{dataset}'; {nearest(dataset, datasets)}")
        for scenario in experiment["scenarios"]:
            if scenario not in config["scenarios"]:
                raise InputError(f"{where} a scenario '{scenario}'; {nearest(scenario, config['scenarios'])}")
        for method, variants in experiment["methods"].items():
            if method not in config["variants"]:
                raise InputError(f"{where} a method '{method}' without variants; {nearest(method, config['variants'])}")
            if not (PACKAGE / "methods" / f"{method}.py").is_file():
                raise InputError(f"{where} a method '{method}'; {nearest(method, known_methods())}")
            for variant in variants:
                if variant not in config["variants"][method]:
                    raise InputError(f"{where} a variant '{method}/{variant}'; {nearest(variant, config['variants'][method])}")
                asks = {"labels", "labelled"} & set(config["variants"][method][variant])
                if asks and not takes_labels(method):
                    raise InputError(f"'{method}/{variant}' has '{asks.pop()}', and the method knows no labels; remove it")
                if asks or experiment["analysis"] == "transfer":
                    for dataset in experiment["datasets"] or datasets:
                        if not datasets[dataset]["labels"]:
                            raise InputError(f"'{method}/{variant}' needs labels, which dataset '{dataset}' does not have")


def check_analyses(config: dict) -> None:
    """Raise InputError where the runs of an experiment are not those that its analysis compares."""
    for name, experiment in config["experiments"].items():
        analysis, scenarios = experiment["analysis"], [config["scenarios"][s] for s in experiment["scenarios"]]
        hidden = {m for scenario in scenarios for m in scenario.get("hide_from", {})}
        removes = ["remove" in scenario for scenario in scenarios]
        problem = {
            "components": set(experiment["methods"]) != {"mmaavi"} and "it compares variants of mmaavi alone",
            "overlap": len(hidden) != 1 and "it asks for scenarios that hide one modality from more and more batches (hide_from)",
            "populations": (removes[0] or not any(removes))
            and "it asks for a whole scenario first, then some that 'remove' labels",
            "scaling": not any("n_cells" in s for s in scenarios) and "it asks for scenarios with several 'n_cells'",
            "markers": "mmaavi" not in experiment["methods"] and "it asks for mmaavi",
        }.get(analysis)
        if problem:
            raise InputError(f"experiment '{name}' has the analysis '{analysis}': {problem}")


def check_settings(datasets: dict[str, dict], variants: dict[str, dict]) -> None:
    """Raise InputError where a dataset or a variant names a method, or mmaavi's settings, that do not exist."""
    for where, methods in [(f"dataset '{d}'", {m: [s] for m, s in spec["settings"].items()}) for d, spec in datasets.items()] + [
        ("'variants'", {m: list(v.values()) for m, v in variants.items()})
    ]:
        for method, given in methods.items():
            if method not in known_methods():
                raise InputError(f"{where} has settings for a method '{method}'; {nearest(method, known_methods())}")
            for settings in given:
                if method == "mmaavi":
                    try:
                        Settings.from_dict({k: v for k, v in settings.items() if k not in ("labels", "labelled")})
                    except InputError as error:
                        raise InputError(f"{where}: {error}") from None


def check_assemblies(datasets: dict[str, dict], assemblies: dict[str, dict]) -> None:
    """Raise InputError where a dataset is on an assembly without coordinates."""
    for name, spec in datasets.items():
        if spec["assembly"] is not None and spec["assembly"] not in assemblies:
            raise InputError(f"dataset '{name}' is on the assembly '{spec['assembly']}'; {nearest(spec['assembly'], assemblies)}")


def takes_labels(method: str) -> bool:
    """Whether the method's function ``run`` has a parameter ``labels``; read from its text."""
    functions = [n for n in ast.parse((PACKAGE / f"methods/{method}.py").read_text()).body if isinstance(n, ast.FunctionDef)]
    return any(f.name == "run" and "labels" in {a.arg for a in f.args.args} for f in functions)


def known_methods() -> list[str]:
    """Names of the methods, one file each."""
    return sorted(p.stem for p in (PACKAGE / "methods").glob("*.py") if p.stem != "__init__")


def code_hash(*files: str | Path) -> str:
    """Hash of Python files and of all modules of this package that they import, directly or not.

    Snakemake sees the text of scripts but not of the package behind them: rules take this as a parameter, so that a
    change in the package reruns just what depends on it.
    """
    return file_hash(*with_imports(*files))


def with_imports(*files: str | Path) -> set[Path]:
    """Python files and all of this package that they import, directly or not."""
    seen: set[Path] = set()
    todo = [Path(f) for f in files]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += _imported(file, file.read_text())
    return seen


def file_hash(*files: str | Path) -> str:
    """Hash of the content of files, in the order of their paths."""
    digest = hashlib.sha256()
    for file in sorted(map(Path, files)):  # by whole path: several are called __init__.py
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache  # the files of many rules import the same, while none of them comes or goes
def _imported(file: Path, text: str) -> list[Path]:
    """Files of this package that a Python file with this text imports; by its lines, in a tenth of the time of a parser."""
    found = []
    for dots, module, names, plain in IMPORT.findall(text):
        path = (module or plain).split(".") if module or plain else []
        if dots:
            base = file.parents[len(dots) - 1]
        elif path[0] == PACKAGE.name:
            base = PACKAGE.parent
        else:
            continue
        base = base.joinpath(*path)
        candidates = [base.with_suffix(".py"), base / "__init__.py", *(base / f"{name}.py" for name in re.findall(r"\w+", names))]
        found += [c for c in candidates if c.is_file()]
    return found

import sys
from dataclasses import astuple
from functools import cache
from pathlib import Path

from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import DeploymentMethod

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT / "src"))  # scripts inherit this path, in every environment

from mmaavi import sources
from mmaavi.availability import constants, environment, failures, not_installed
from mmaavi.configuration import checked, read_config
from mmaavi.errors import InputError, nearest
from mmaavi.experiments import (
    all_runs,
    check_analyses,
    check_assemblies,
    check_names,
    check_settings,
    code_hash,
    expand,
    file_hash,
    labelled_runs,
)
from mmaavi.files import bring_to_present
from mmaavi.settings import Settings

SCHEMAS = ROOT / "workflow/schemas"


def dataset_file(entry):
    """The file of a dataset that is named, or given by its path relative to a config file or to the working directory."""
    if entry.endswith((".yaml", ".yml")):
        folders = [*(Path(file).parent for file in reversed(workflow.configfiles)), Path()]
        found = next((folder / entry for folder in folders if (folder / entry).is_file()), None)
        if found is None:
            raise InputError(f"there is no dataset file {entry}, neither beside the config file nor in {Path.cwd()}")
        return found.resolve()
    path = ROOT / f"config/datasets/{entry}.yaml"
    if not path.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml")]
        raise InputError(f"there is no dataset '{entry}' in config/datasets; {nearest(entry, known)}")
    return path


try:  # what users can get wrong ends in one message
    config |= checked(config, SCHEMAS / "config.schema.yaml", *reversed(workflow.configfiles))
    ASSEMBLIES = read_config(ROOT / "config/assemblies.yaml", SCHEMAS / "assemblies.schema.yaml")
    COLOURS = read_config(ROOT / "config/colours.yaml", SCHEMAS / "colours.schema.yaml")
    DATASET_FILES = {dataset_file(entry).stem: dataset_file(entry) for entry in config["datasets"]}
    if len(DATASET_FILES) < len(config["datasets"]):
        raise InputError(
            "two entries of 'datasets' have the same name; rename one of the files: " + ", ".join(config["datasets"])
        )
    DATASETS = {name: read_config(path, SCHEMAS / "dataset.schema.yaml") for name, path in DATASET_FILES.items()}
    check_names(config, DATASETS)
    check_analyses(config)
    check_settings(DATASETS, config["variants"])
    check_assemblies(DATASETS, ASSEMBLIES)
    RUNS = all_runs(config["experiments"], list(DATASETS))
    SOURCES = sources.collect(DATASETS, ASSEMBLIES)
    LOCATIONS = {d: sources.locations(spec, DATASET_FILES[d], SOURCES) for d, spec in DATASETS.items()}
    INPUT_FILES = {d: sources.input_files(spec, LOCATIONS[d], SOURCES) for d, spec in DATASETS.items()}
except InputError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)),
    scenario="|".join(map(re.escape, config["scenarios"])),
    method="|".join(map(re.escape, config["variants"])),
    variant="[A-Za-z0-9_-]+",
    seed="[0-9]+",
    source="|".join(map(re.escape, SOURCES)),
    assembly="|".join(map(re.escape, ASSEMBLIES)),


# Without conda there is one environment: what it lacks is said at once, and declared in the tables.
CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
NOT_HERE = {} if CONDA else not_installed(dict.fromkeys(run.method for run in RUNS))
if NOT_HERE and workflow.is_main_process:
    logger.warning(
        "Not run: " + "; ".join(f"{m} ({why})" for m, why in NOT_HERE.items()) + ". `make peers`, or --use-conda, installs them."
    )
EXPERIMENTS = {name: expand(experiment, list(DATASETS)) for name, experiment in config["experiments"].items()}
# Runs that failed are tried again, or shown as such beside all others.
FAILED = failures(RUNS) if config["failed"] == "show" else {}
RUNS = [run for run in RUNS if run not in FAILED]
EXPERIMENTS = {name: [run for run in runs if run not in FAILED] for name, runs in EXPERIMENTS.items()}


# What captions say of how it was done is read from where it is done.
SCORING = {name: constants(f"{name}.py") for name in ("imputation", "metrics", "transfer")}


# Analyses that read training logs, transferred labels or the model: their runs are not scored for them.
UNSCORED = ("components", "transfer", "markers")
READ = {run for name, runs in EXPERIMENTS.items() if config["experiments"][name]["analysis"] not in UNSCORED for run in runs}
SCORED = [run for run in RUNS if run in READ] or RUNS


@cache  # else every job parses the package anew
def script_hash(script, *modules):
    """Hash of a script's imports, and of further modules, from this project's package."""
    return code_hash(ROOT / "workflow/scripts" / script, *(ROOT / "src/mmaavi" / m for m in modules))


def growing(mem_mb):
    """The memory of a job's first try; each retry asks for as much again."""
    return lambda wildcards, attempt: mem_mb * attempt


def settings_of(wildcards):
    """The settings of a run: the variant's over the dataset's."""
    own = DATASETS[wildcards.dataset]["settings"].get(wildcards.method, {})
    return own | config["variants"][wildcards.method][wildcards.variant]


def coordinate_file(assembly):
    """The gene coordinates of an assembly."""
    spec = ASSEMBLIES[assembly]
    return f"resources/{spec['path']}" if "path" in spec else f"resources/ensembl/{assembly}.tsv"


def assembly_files(dataset):
    """Assembly -> gene coordinates, of those that the dataset's peaks are checked against."""
    own = DATASETS[dataset]["assembly"]
    if own is None:
        return {}
    return {name: coordinate_file(name) for name, spec in ASSEMBLIES.items() if "path" in spec or name == own}


def labels_for(wildcards):
    """The labels that a variant gets: none, all, or those of a few cells."""
    folder = f"results/{wildcards.dataset}/{wildcards.scenario}"
    variant = config["variants"][wildcards.method][wildcards.variant]
    if "labelled" in variant:
        return f"{folder}/labelled/n{variant['labelled']}_seed{wildcards.seed}.tsv"
    return f"{folder}/labels.tsv" if variant.get("labels") else []


def runs_on(dataset, scenario):
    return [run for run in SCORED if (run.dataset, run.scenario) == (dataset, scenario)]


def job_benchmarks():
    """Job -> its time and memory, of all jobs beside the integrations that take long or much."""
    files = {
        f"{rule} {dataset}/{scenario}": f"results/{dataset}/{scenario}/benchmark_{rule}.tsv"
        for dataset, scenario in mosaics_of(SCORED)
        for rule in ("mosaic", "unintegrated", "umap")
    }
    return files | {f"score {run.folder.removeprefix('results/')}": f"{run.folder}/benchmark_score.tsv" for run in SCORED}


def compared_on(dataset, scenario):
    """The runs on a mosaic that are shown side by side: those of its integrations, else the first variant of each method."""
    here = runs_on(dataset, scenario)
    integrated = {run for name in experiments_of("integration") for run in EXPERIMENTS[name]}
    first = {}
    for run in here:
        first.setdefault(run.method, run.variant)
    compared = [run for run in here if run in integrated]
    return compared or [run for run in here if run.variant == first[run.method]]


def compared_runs(wildcards):
    """The runs that are shown side by side, and those of the mosaic that failed: they are named beside them."""
    failed = [run for run in FAILED if (run.dataset, run.scenario) == (wildcards.dataset, wildcards.scenario)]
    return [list(astuple(run)) for run in compared_on(wildcards.dataset, wildcards.scenario) + failed]


def integrations():
    """The runs that the ranking and the overview compare: of all integrations; where there are none, what each mosaic shows."""
    named = dict.fromkeys(run for name in experiments_of("integration") for run in EXPERIMENTS[name])
    return list(named) or [run for mosaic in mosaics_of(SCORED) for run in compared_on(*mosaic)]


def mosaics_of(runs):
    return list(dict.fromkeys((run.dataset, run.scenario) for run in runs))


def shown_runs(wildcards):
    """The first seed of each method and variant that is shown: what is drawn cell by cell."""
    first = {}
    for run in compared_on(wildcards.dataset, wildcards.scenario):
        first.setdefault((run.method, run.variant), run)
    return list(first.values())


def shown_embeddings(wildcards):
    return [f"{run.folder}/embedding.h5ad" for run in shown_runs(wildcards)]


def shown_methods(wildcards):
    return [name_of(run) for run in shown_runs(wildcards)]


def name_of(run):
    """The name in figures: the method, and the variant where it is not the default."""
    return run.method if run.variant == "default" else f"{run.method} ({run.variant})"


def n_components(run):
    """mmAAVI's K in a run."""
    return settings_of(run).get("n_components", Settings().n_components)


def trained_runs(wildcards):
    """The runs of mmAAVI whose training is drawn."""
    return [run for run in compared_on(wildcards.dataset, wildcards.scenario) if run.method == "mmaavi"]


def trained_histories(wildcards):
    return [f"{run.folder}/history.tsv" for run in trained_runs(wildcards)]


def experiments_of(analysis):
    return [name for name, experiment in config["experiments"].items() if experiment["analysis"] == analysis]


def transfers_of(experiment):
    """(run, number of labelled cells) of a label transfer."""
    runs = set(EXPERIMENTS[experiment])
    asked = labelled_runs(config["experiments"][experiment], list(DATASETS), config["variants"])
    return [(run, n) for run, n in asked if run in runs]


def datasets_of(experiment):
    """The datasets that an experiment has runs on."""
    return list(dict.fromkeys(run.dataset for run in EXPERIMENTS[experiment]))


def title_of(wildcards):
    return DATASETS[wildcards.dataset]["title"]


def citation_of(wildcards):
    return DATASETS[wildcards.dataset]["citation"]


def citations():
    """Of all datasets, each once."""
    return list(dict.fromkeys(spec["citation"] for spec in DATASETS.values() if spec["citation"]))


def explored_method(wildcards):
    """The name of the run that a page for exploring shows; umap.tsv lays out first seeds alone."""
    shown = [run for run in shown_runs(wildcards) if run.method == "mmaavi"]
    found = [name_of(run) for run in shown if (run.variant, str(run.seed)) == (wildcards.variant, wildcards.seed)]
    if not found:
        pages = ", ".join(f"{run.variant}_seed{run.seed}" for run in shown) or "none"
        raise WorkflowError(
            f"there is no layout of {wildcards.variant}_seed{wildcards.seed} on {wildcards.dataset}/{wildcards.scenario}, only of: {pages}"
        )
    return found[0]


def figure_files():
    """The figures of each mosaic, and of all runs."""
    files = ["results/figures/cost.png", *(["results/figures/ranking.png"] if len(mosaics_of(integrations())) > 1 else [])]
    for dataset, scenario in mosaics_of(SCORED):
        here = compared_on(dataset, scenario)
        figures = ["mosaic", "umap", "table", "scores"]
        first_seeds = {run.variant: run.seed for run in reversed(here) if run.method == "mmaavi"}
        if first_seeds:
            figures += ["training", *(f"attention_{variant}_seed{seed}" for variant, seed in first_seeds.items())]
        if first_seeds and (dataset, scenario) in mosaics_of(integrations()):
            variant = next(run.variant for run in here if run.method == "mmaavi")
            files.append(f"results/explore/{dataset}_{scenario}_{variant}_seed{first_seeds[variant]}.html")
        files += [f"results/figures/{dataset}/{scenario}/{figure}.png" for figure in figures]
    return files


def marker_runs():
    """The runs whose markers and links are looked for: the first seed of each variant of mmAAVI on each mosaic that is asked for."""
    first = {}
    for run in [run for name in experiments_of("markers") for run in EXPERIMENTS[name] if run.method == "mmaavi"]:
        first.setdefault((run.dataset, run.scenario, run.variant), run)
    return list(first.values())


def marker_files():
    """The figures of markers and links."""
    return [
        f"results/figures/{run.dataset}/{run.scenario}/{figure}_{run.variant}_seed{run.seed}.png"
        for run in marker_runs()
        for figure in ("volcano", "dot_plot", "agreement", "links")
    ]

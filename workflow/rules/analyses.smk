# What is drawn of an experiment, by its analysis. A figure shows a mosaic (dataset-scenario), or all scenarios of a dataset.
BY_MOSAIC, BY_DATASET = "{run.dataset}-{run.scenario}", "{run.dataset}"
FIGURES = {
    "integration": {},  # drawn with all others on the same mosaic: rules/figures.smk
    "components": {"components": BY_MOSAIC},
    "overlap": {"overlap": BY_DATASET},
    "populations": {"populations": BY_DATASET},
    "transfer": {"transfer": BY_MOSAIC, "transfer_groups": BY_MOSAIC, "confusion": BY_MOSAIC, "transfer_umap": BY_MOSAIC},
    "scaling": {"scaling": BY_DATASET},
    "ablation": {"ablation": BY_DATASET},
    "markers": {},
    "imputation": {"imputation": BY_MOSAIC},
}


def experiment_figures():
    """The figures of all experiments."""
    files = []
    for name, runs in EXPERIMENTS.items():
        for figure, shows in FIGURES[config["experiments"][name]["analysis"]].items():
            if figure == "transfer_umap" and not any(learns_from_labels(run) for run in runs):
                continue
            shown = dict.fromkeys(shows.format(run=run) for run in runs)
            files += [f"results/figures/{name}/{one}/{figure}.png" for one in shown]
    return files


def referenced_files():
    """The files that `compare` holds against each table of the reference results."""
    values = [path.removesuffix(".png") + ".tsv" for path in experiment_figures()]
    return {
        "summary": ["results/tables/summary.tsv"],
        "transfer": ["results/tables/transfer.tsv"],
        "components": [path for path in values if Path(path).stem == "components"],
        "populations": [path for path in values if Path(path).stem == "populations"],
        "agreement": [f"{run.folder}/agreement.tsv" for run in marker_runs()],
    }


def reference_of(experiment):
    """Scenario, method and variant that an ablation compares with: the first of the config, whether it failed or not."""
    spec = config["experiments"][experiment]
    method, variants = next(iter(spec["methods"].items()))
    return spec["scenarios"][0], method, variants[0]


def learns_from_labels(run):
    return "labelled" in config["variants"][run.method][run.variant]


def drawn_runs(wildcards):
    """The runs of an experiment that a figure shows."""
    runs = EXPERIMENTS[wildcards.experiment]
    return [run for run in runs if wildcards.shown in (BY_MOSAIC.format(run=run), BY_DATASET.format(run=run))]


def drawn_transfers(wildcards):
    """(run, number of labelled cells) of a label transfer, as a figure shows them."""
    drawn = set(drawn_runs(wildcards))
    return [(run, n) for run, n in transfers_of(wildcards.experiment) if run in drawn]


def middle_n(wildcards):
    """The number of labelled cells that is shown cell by cell: the middle one, of a run that learns from them where there is any."""
    pairs = drawn_transfers(wildcards)
    asked = sorted({n for run, n in pairs if learns_from_labels(run)} or {n for _, n in pairs})
    return asked[len(asked) // 2]


def closer_look(wildcards):
    """The runs of a label transfer that are shown cell by cell: of the first seed, with the middle number of labelled cells."""
    pairs = drawn_transfers(wildcards)
    middle = middle_n(wildcards)
    runs = [run for run, n in pairs if n == middle and run.seed == pairs[0][0].seed]
    return sorted(runs, key=learns_from_labels, reverse=True)


def drawn_files(wildcards):
    """The inputs of a figure beside the tables of all scores."""
    runs = drawn_runs(wildcards)
    if not runs:
        raise WorkflowError(f"the experiment '{wildcards.experiment}' has no runs on '{wildcards.shown}'")
    mosaic = f"results/{runs[0].dataset}/{runs[0].scenario}"
    return {"labels": f"{mosaic}/labels.tsv"} | own_files(wildcards, runs, mosaic)


def own_files(wildcards, runs, mosaic):
    """What this figure reads and others do not."""
    n = middle_n(wildcards)
    labelled = {"labelled": f"{mosaic}/labelled/n{n}_seed{runs[0].seed}.tsv"}
    if wildcards.figure == "components":
        return {"files": [f"{run.folder}/history.tsv" for run in runs]}
    if wildcards.figure in ("overlap", "scaling"):
        return {"files": [f"results/{runs[0].dataset}/{scenario}/labels.tsv" for scenario in scenarios_of(runs)]}
    if wildcards.figure == "populations":
        return {
            "embeddings": [f"{run.folder}/embedding.h5ad" for run in whole_runs(wildcards)],
            "without": [f"results/{runs[0].dataset}/{scenario}/labels.tsv" for scenario in removed_populations(wildcards)],
        }
    if wildcards.figure in ("transfer", "transfer_groups"):
        return {"files": [f"{run.folder}/transfer_n{n}.tsv" for run, n in drawn_transfers(wildcards)]}
    if wildcards.figure == "confusion":
        return labelled | {"files": [f"{run.folder}/predicted_n{n}.tsv" for run in closer_look(wildcards)]}
    if wildcards.figure == "transfer_umap":
        folder = closer_look(wildcards)[0].folder
        return labelled | {"files": [f"{folder}/predicted_n{n}.tsv"], "embedding": f"{folder}/embedding.h5ad"}
    return {}


def scenarios_of(runs):
    return list(dict.fromkeys(run.scenario for run in runs))


def drawn_title(wildcards):
    runs = drawn_runs(wildcards)
    title, scenario = DATASETS[runs[0].dataset]["title"], runs[0].scenario
    return title if wildcards.shown == runs[0].dataset or scenario == "full" else f"{title}\n{scenario}"


def hidden_modality(wildcards):
    """The modality that the scenarios of an overlap hide from more and more batches."""
    scenarios = (config["scenarios"][run.scenario].get("hide_from", {}) for run in drawn_runs(wildcards))
    return next((m for hidden in scenarios for m in hidden), "")


def whole_scenario(wildcards):
    """The first scenario of an experiment, with which the others are compared."""
    return config["experiments"][wildcards.experiment]["scenarios"][0]


def whole_runs(wildcards):
    return [run for run in drawn_runs(wildcards) if run.scenario == whole_scenario(wildcards)]


def removed_populations(wildcards):
    """Scenario -> batch -> labels, of the scenarios that remove any."""
    scenarios = scenarios_of(drawn_runs(wildcards))
    return {s: config["scenarios"][s]["remove"] for s in scenarios if "remove" in config["scenarios"][s]}


def described_experiments():
    """The experiments as the overview names them."""
    described = {}
    for name, runs in EXPERIMENTS.items():
        methods = {}
        for run in runs:
            methods.setdefault(run.method, {})[run.variant] = None
        described[name] = {
            "analysis": config["experiments"][name]["analysis"],
            "datasets": datasets_of(name),
            "scenarios": scenarios_of(runs),
            "methods": {method: list(variants) for method, variants in methods.items()},
            "seeds": sorted({run.seed for run in runs}),
            "runs": len(runs),
        }
    return described


def headline_pictures():
    """The ranking of the methods, or the score table of the one mosaic."""
    mosaics = mosaics_of(integrations())
    if len(mosaics) > 1:
        return ["results/figures/ranking.png"]
    return [f"results/figures/{dataset}/{scenario}/table.png" for dataset, scenario in mosaics]

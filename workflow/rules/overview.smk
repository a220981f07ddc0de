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
    mosaics = list(dict.fromkeys((run.dataset, run.scenario) for run in RUNS))
    if len(mosaics) > 1:
        return ["results/figures/ranking.png"]
    return [f"results/figures/{dataset}/{scenario}/table.png" for dataset, scenario in mosaics]


rule overview:
    input:
        scores="results/tables/scores.tsv",
        summary="results/tables/summary.tsv",
        cost="results/tables/cost.tsv",
        pictures=headline_pictures(),
    output:
        report(
            "results/overview.html",
            caption="../report/overview.rst",
            category="Overview",
            labels={"page": "what was run, and what came out"},
        ),
    log:
        "logs/overview.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        experiments=described_experiments(),
        template=workflow.source_path("../report/overview.html"),
        code=script_hash("overview.py"),
    message:
        "Writing the overview"
    script:
        "../scripts/overview.py"


rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        experiments={name: [list(astuple(run)) for run in runs] for name, runs in EXPERIMENTS.items()},
        reference=str(ROOT / "resources/reference_results/cost.tsv"),
    message:
        "What the experiments would cost:"
    script:
        "../scripts/plan.py"


rule compare:
    input:
        summary="results/tables/summary.tsv",
    log:
        "logs/compare.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        reference=str(ROOT / "resources/reference_results/summary.tsv"),
    message:
        "This run beside the reference results:"
    script:
        "../scripts/compare.py"

rule overview:
    input:
        scores="results/tables/scores.tsv",
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
        runs=[list(astuple(run)) for run in integrations()],
        template=str(ROOT / "workflow/report/overview.html"),
        page=file_hash(ROOT / "workflow/report/overview.html"),
        n_runs=len(RUNS),
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
        **referenced_files(),
    log:
        "logs/compare.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        reference={name: str(ROOT / f"resources/reference_results/{name}.tsv") for name in referenced_files()},
    message:
        "This run beside the reference results:"
    script:
        "../scripts/compare.py"

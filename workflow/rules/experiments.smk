rule transfer:
    input:
        embedding="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/embedding.h5ad",
        labels="results/{dataset}/{scenario}/labels.tsv",
        labelled="results/{dataset}/{scenario}/labelled/n{n}_seed{seed}.tsv",
    output:
        scores="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/transfer_n{n}.tsv",
        predicted="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/predicted_n{n}.tsv",
    log:
        "logs/transfer/{dataset}/{scenario}/{method}/{variant}/seed{seed}_n{n}.log",
    group:
        "scores"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        code=script_hash("transfer.py"),
    message:
        "Carrying {wildcards.n} labels in {wildcards.dataset}/{wildcards.scenario} by {wildcards.method}/{wildcards.variant}"
    script:
        "../scripts/transfer.py"


rule figure_experiment:
    input:
        unpack(drawn_files),
        scores="results/tables/scores.tsv",
        cost="results/tables/cost.tsv",
    output:
        svg="results/figures/{experiment}/{shown}/{figure}.svg",
        png=report(
            "results/figures/{experiment}/{shown}/{figure}.png",
            caption="../report/experiment.rst",
            category="Experiments",
            subcategory="{experiment}",
            labels={"mosaic": "{shown}", "figure": "{figure}"},
        ),
        values="results/figures/{experiment}/{shown}/{figure}.tsv",
    log:
        "logs/figure_experiment/{experiment}/{shown}/{figure}.log",
    wildcard_constraints:
        experiment="|".join(map(re.escape, config["experiments"])),
        figure="|".join(figure for figures in FIGURES.values() for figure in figures),
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=drawn_title,
        citation=lambda wildcards: DATASETS[drawn_runs(wildcards)[0].dataset]["citation"],
        runs=lambda wildcards: [list(astuple(run)) for run in drawn_runs(wildcards)],
        scenarios=lambda wildcards: scenarios_of(drawn_runs(wildcards)),
        n_components=lambda wildcards: [n_components(run) for run in drawn_runs(wildcards)],
        modality=hidden_modality,
        removed=removed_populations,
        whole=whole_scenario,
        whole_runs=lambda wildcards: [list(astuple(run)) for run in whole_runs(wildcards)],
        reference=lambda wildcards: list(reference_of(wildcards.experiment)),
        learners=lambda wildcards: sorted({run.variant for run in drawn_runs(wildcards) if learns_from_labels(run)}),
        n=middle_n,
        asked=SCORING,
        colours=COLOURS,
        methods=lambda wildcards: [name_of(run) for run in closer_look(wildcards)],
        code=lambda wildcards: script_hash(f"figure_{wildcards.figure}.py"),
    message:
        "Drawing {wildcards.figure} of {wildcards.experiment}: {wildcards.shown}"
    script:
        "../scripts/figure_{wildcards.figure}.py"

rule umap:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        embeddings=shown_embeddings,
    output:
        "results/{dataset}/{scenario}/umap.tsv",
    log:
        "logs/umap/{dataset}/{scenario}.log",
    benchmark:
        "results/{dataset}/{scenario}/benchmark_umap.tsv"
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(6000),
    params:
        methods=shown_methods,
        code=script_hash("umap.py"),
    message:
        "Laying out {wildcards.dataset}/{wildcards.scenario} in two dimensions"
    script:
        "../scripts/umap.py"


rule figure_umap:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        umap="results/{dataset}/{scenario}/umap.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/umap.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/umap.png",
            caption="../report/umap.rst",
            category="Integration",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "UMAP by batch, pattern and label"},
        ),
    log:
        "logs/figure_umap/{dataset}/{scenario}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        methods=shown_methods,
        colours=COLOURS,
        seeds=lambda wildcards: sorted({run.seed for run in shown_runs(wildcards)}),
        code=script_hash("figure_umap.py"),
    message:
        "Drawing the UMAPs of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_umap.py"


rule figure_ranking:
    input:
        scores="results/tables/scores.tsv",
        labels=[f"results/{dataset}/{scenario}/labels.tsv" for dataset, scenario in mosaics_of(integrations())],
    output:
        svg="results/figures/ranking.svg",
        png=report(
            "results/figures/ranking.png",
            caption="../report/ranking.rst",
            category="Integration",
            labels={"figure": "ranking of the methods"},
        ),
    log:
        "logs/figure_ranking.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title="Total score and rank of each method",
        runs=[list(astuple(run)) for run in integrations()],
        mosaics=mosaics_of(integrations()),
        citations=citations(),
        code=script_hash("figure_ranking.py"),
    message:
        "Drawing the ranking"
    script:
        "../scripts/figure_ranking.py"


rule figure_table:
    input:
        scores="results/tables/scores.tsv",
        labels="results/{dataset}/{scenario}/labels.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/table.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/table.png",
            caption="../report/table.rst",
            category="Integration",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "score table"},
        ),
    log:
        "logs/figure_table/{dataset}/{scenario}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        runs=compared_runs,
        code=script_hash("figure_table.py"),
    message:
        "Drawing the score table of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_table.py"


rule figure_scores:
    input:
        scores="results/tables/scores.tsv",
        labels="results/{dataset}/{scenario}/labels.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/scores.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/scores.png",
            caption="../report/scores.rst",
            category="Integration",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "scores with intervals"},
        ),
    log:
        "logs/figure_scores/{dataset}/{scenario}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        runs=compared_runs,
        asked=SCORING,
        code=script_hash("figure_scores.py"),
    message:
        "Drawing the scores of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_scores.py"


rule figure_attention:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        embedding="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/embedding.h5ad",
    output:
        svg="results/figures/{dataset}/{scenario}/attention_{variant}_seed{seed}.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/attention_{variant}_seed{seed}.png",
            caption="../report/attention.rst",
            category="Integration",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "attention weights ({variant}, seed {seed})"},
        ),
    log:
        "logs/figure_attention/{dataset}/{scenario}/{variant}_seed{seed}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        code=script_hash("figure_attention.py"),
    message:
        "Drawing the attention weights of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_attention.py"


rule figure_training:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        histories=trained_histories,
    output:
        svg="results/figures/{dataset}/{scenario}/training.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/training.png",
            caption="../report/training.rst",
            category="Integration",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "training curves"},
        ),
    log:
        "logs/figure_training/{dataset}/{scenario}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        seeds=lambda wildcards: sorted({run.seed for run in trained_runs(wildcards)}),
        code=script_hash("figure_training.py"),
    message:
        "Drawing the training curves of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_training.py"


rule figure_cost:
    input:
        cost="results/tables/cost.tsv",
    output:
        svg="results/figures/cost.svg",
        png=report(
            "results/figures/cost.png",
            caption="../report/cost.rst",
            category="Cost",
            labels={"figure": "time and memory of each method"},
        ),
    log:
        "logs/figure_cost.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        runs=[list(astuple(run)) for run in integrations()],
        citations=citations(),
        code=script_hash("figure_cost.py"),
    message:
        "Drawing time and memory"
    script:
        "../scripts/figure_cost.py"

rule mosaic:
    input:
        files=lambda wildcards: INPUT_FILES[wildcards.dataset],
        assemblies=lambda wildcards: list(assembly_files(wildcards.dataset).values()),
    output:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        truth="results/{dataset}/{scenario}/truth.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        assemblies="results/{dataset}/{scenario}/assemblies.tsv",
    log:
        "logs/mosaic/{dataset}/{scenario}.log",
    benchmark:
        "results/{dataset}/{scenario}/benchmark_mosaic.tsv"
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
    params:
        dataset=lambda wildcards: DATASETS[wildcards.dataset],
        scenario=lambda wildcards: config["scenarios"][wildcards.scenario],
        files=lambda wildcards: LOCATIONS[wildcards.dataset],
        assemblies=lambda wildcards: assembly_files(wildcards.dataset),
        code=script_hash("mosaic.py"),
    message:
        "Building the mosaic {wildcards.dataset}/{wildcards.scenario} and its guidance graph"
    script:
        "../scripts/mosaic.py"


rule labelled:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
    output:
        "results/{dataset}/{scenario}/labelled/n{n}_seed{seed}.tsv",
    log:
        "logs/labelled/{dataset}/{scenario}/n{n}_seed{seed}.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        batch=lambda wildcards: DATASETS[wildcards.dataset]["labelled_batch"],
        code=script_hash("labelled.py"),
    message:
        "Choosing {wildcards.n} labelled cells of {wildcards.dataset}/{wildcards.scenario}, seed {wildcards.seed}"
    script:
        "../scripts/labelled.py"


rule summary:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        truth="results/{dataset}/{scenario}/truth.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        assemblies="results/{dataset}/{scenario}/assemblies.tsv",
    output:
        text="results/{dataset}/{scenario}/check.txt",
        svg="results/figures/{dataset}/{scenario}/mosaic.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/mosaic.png",
            caption="../report/mosaic.rst",
            category="Data",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "what was measured"},
        ),
    log:
        "logs/summary/{dataset}/{scenario}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        methods=list(config["variants"]),
        declared=file_hash(*(ROOT / "src/mmaavi/methods").glob("*.py")),  # what they support; how they train is no matter
        code=script_hash("summary.py"),
    message:
        "Summing up the mosaic {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/summary.py"


# Checks config and files, and prints what the mosaics are made of; nothing is trained.
rule check:
    input:
        dict.fromkeys(f"results/{run.dataset}/{run.scenario}/check.txt" for run in RUNS),
    log:
        "logs/check.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    message:
        "Checked config, files and mosaics:"
    shell:
        "cat {input} | tee {log}"

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
        mem_mb=8000,
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

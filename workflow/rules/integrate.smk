rule integrate:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        truth="results/{dataset}/{scenario}/truth.h5mu",
        labels=labels_for,
    output:
        embedding="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/embedding.h5ad",
        history="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/history.tsv",
        imputation="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/imputation.tsv",
        model=directory("results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/model"),
    log:
        "logs/integrate/{dataset}/{scenario}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/benchmark.tsv"
    conda:
        lambda wildcards: f"../../envs/{environment(wildcards.method)}.yaml"
    threads: 2
    resources:
        mem_mb=growing(8000),
    params:
        settings=settings_of,
        not_here=lambda wildcards: NOT_HERE.get(wildcards.method, ""),
        code=lambda wildcards: script_hash("integrate.py", f"methods/{wildcards.method}.py"),
    message:
        "Integrating {wildcards.dataset}/{wildcards.scenario} by {wildcards.method}/{wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/integrate.py"

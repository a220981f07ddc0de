rule unintegrated:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
    output:
        embedding="results/{dataset}/{scenario}/unintegrated.h5ad",
    log:
        "logs/unintegrated/{dataset}/{scenario}.log",
    benchmark:
        "results/{dataset}/{scenario}/benchmark_unintegrated.tsv"
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
    params:
        code=script_hash("unintegrated.py"),
    message:
        "Reducing the unintegrated {wildcards.dataset}/{wildcards.scenario}, for the PCR score"
    script:
        "../scripts/unintegrated.py"


rule score:
    input:
        embedding="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/embedding.h5ad",
        imputation="results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/imputation.tsv",
        labels="results/{dataset}/{scenario}/labels.tsv",
        unintegrated="results/{dataset}/{scenario}/unintegrated.h5ad",
    output:
        "results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/scores.tsv",
    log:
        "logs/score/{dataset}/{scenario}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "results/{dataset}/{scenario}/{method}/{variant}/seed{seed}/benchmark_score.tsv"
    group:
        "scores"
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
    params:
        code=script_hash("score.py"),
    message:
        "Scoring {wildcards.dataset}/{wildcards.scenario}/{wildcards.method}/{wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/score.py"


rule tables:
    input:
        scores=[f"{run.folder}/scores.tsv" for run in SCORED],
        benchmarks=[f"{run.folder}/benchmark.tsv" for run in SCORED],
        embeddings=[f"{run.folder}/embedding.h5ad" for run in SCORED],
        jobs=list(job_benchmarks().values()),
        transfers=[f"{run.folder}/transfer_n{n}.tsv" for name in experiments_of("transfer") for run, n in transfers_of(name)],
    output:
        scores=report(
            "results/tables/scores.tsv",
            caption="../report/scores_table.rst",
            category="Tables",
            labels={"table": "all scores, one row each"},
        ),
        summary=report(
            "results/tables/summary.tsv",
            caption="../report/summary_table.rst",
            category="Tables",
            labels={"table": "mean and interval over seeds"},
        ),
        transfer=report(
            "results/tables/transfer.tsv",
            caption="../report/transfer_table.rst",
            category="Tables",
            labels={"table": "transferred labels, mean and interval over seeds"},
        ),
        cost=report(
            "results/tables/cost.tsv",
            caption="../report/cost_table.rst",
            category="Tables",
            labels={"table": "time and memory"},
        ),
        jobs=report(
            "results/tables/jobs.tsv",
            caption="../report/jobs_table.rst",
            category="Tables",
            labels={"table": "time and memory of every other job"},
        ),
    log:
        "logs/tables.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        jobs=list(job_benchmarks()),
        runs=[list(astuple(run)) for run in SCORED],
        failed=[(list(astuple(run)), line) for run, line in FAILED.items()],
        code=script_hash("tables.py"),
    message:
        "Collecting scores, time and memory"
    script:
        "../scripts/tables.py"

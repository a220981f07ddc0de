rule explore:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        umap="results/{dataset}/{scenario}/umap.tsv",
        embedding="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/embedding.h5ad",
        model="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/model",
    output:
        page="results/explore/{dataset}_{scenario}_{variant}_seed{seed}.html",
        # Browsers show no page of more than 2 MB inside the report: it gets a picture, with a link.
        preview=report(
            "results/explore/{dataset}_{scenario}_{variant}_seed{seed}.png",
            caption="../report/explore.rst",
            category="Explore",
            labels={"page": "cells of {dataset} / {scenario} ({variant}, seed {seed})"},
        ),
    log:
        "logs/explore/{dataset}_{scenario}_{variant}_seed{seed}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(6000),
    params:
        method=explored_method,
        title=title_of,
        citation=citation_of,
        colours=COLOURS,
        page=file_hash(*(ROOT / "src/mmaavi").glob("explorer.*")),
        code=script_hash("explore.py"),
    message:
        "Writing the page for exploring {wildcards.dataset}/{wildcards.scenario}/{wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/explore.py"

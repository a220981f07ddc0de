# Markers and links of trained models. Which ones: marker_files() in common.smk.
MARKERS = {
    "smallest": 20,  # cells of a cluster; smaller ones are left out
    "delta": 0.25,  # least difference that counts, log2 fold change
    "fdr": 0.05,
    "n_null": 200,  # times that links are exchanged at random
    "p_value": 0.01,  # of a gene and a peak with an arc
    "within": 100_000,  # bases between a gene and a peak that may be linked
    "most_cells": 5000,  # of a cluster, that are decoded
    "in_volcano": 4,  # clusters
    "most_clusters": 12,  # in the other figures
    "n_markers": 3,  # of each cluster and modality in the dot plot
    "least": 0.05,  # share of a cluster's measured cells with a count, of a marker in the dot plot
    "n_genes": 4,  # along the genome
    "most_peaks": 30,  # of a gene
}


rule markers:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        truth="results/{dataset}/{scenario}/truth.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        embedding="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/embedding.h5ad",
        model="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/model",
    output:
        differential="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/differential.tsv",
        agreement="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/agreement.tsv",
        links="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/links.tsv",
    log:
        "logs/markers/{dataset}/{scenario}/{variant}_seed{seed}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(6000),
    params:
        asked=MARKERS,
        code=script_hash("markers.py"),
    message:
        "Finding markers and links of {wildcards.dataset}/{wildcards.scenario}/{wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/markers.py"


rule figure_volcano:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        differential="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/differential.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/volcano_{variant}_seed{seed}.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/volcano_{variant}_seed{seed}.png",
            caption="../report/volcano.rst",
            category="Markers and links",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "features that differ between clusters ({variant}, seed {seed})"},
        ),
    log:
        "logs/figure_volcano/{dataset}/{scenario}/{variant}_seed{seed}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        asked=MARKERS,
        code=script_hash("figure_volcano.py"),
    message:
        "Drawing the differential features of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_volcano.py"


rule figure_dot_plot:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        embedding="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/embedding.h5ad",
        differential="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/differential.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/dot_plot_{variant}_seed{seed}.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/dot_plot_{variant}_seed{seed}.png",
            caption="../report/dot_plot.rst",
            category="Markers and links",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "markers by cluster ({variant}, seed {seed})"},
        ),
    log:
        "logs/figure_dot_plot/{dataset}/{scenario}/{variant}_seed{seed}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        asked=MARKERS,
        code=script_hash("figure_dot_plot.py"),
    message:
        "Drawing the markers of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_dot_plot.py"


rule figure_agreement:
    input:
        labels="results/{dataset}/{scenario}/labels.tsv",
        agreement="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/agreement.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/agreement_{variant}_seed{seed}.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/agreement_{variant}_seed{seed}.png",
            caption="../report/agreement.rst",
            category="Markers and links",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "agreement of linked features ({variant}, seed {seed})"},
        ),
    log:
        "logs/figure_agreement/{dataset}/{scenario}/{variant}_seed{seed}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        asked=MARKERS,
        code=script_hash("figure_agreement.py"),
    message:
        "Drawing the agreement of linked features of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_agreement.py"


rule figure_links:
    input:
        mosaic="results/{dataset}/{scenario}/mosaic.h5mu",
        labels="results/{dataset}/{scenario}/labels.tsv",
        embedding="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/embedding.h5ad",
        links="results/{dataset}/{scenario}/mmaavi/{variant}/seed{seed}/links.tsv",
    output:
        svg="results/figures/{dataset}/{scenario}/links_{variant}_seed{seed}.svg",
        png=report(
            "results/figures/{dataset}/{scenario}/links_{variant}_seed{seed}.png",
            caption="../report/links.rst",
            category="Markers and links",
            subcategory="{dataset} / {scenario}",
            labels={"figure": "links along the genome ({variant}, seed {seed})"},
        ),
    log:
        "logs/figure_links/{dataset}/{scenario}/{variant}_seed{seed}.log",
    group:
        "figures"
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        title=title_of,
        citation=citation_of,
        asked=MARKERS,
        code=script_hash("figure_links.py"),
    message:
        "Drawing the links of {wildcards.dataset}/{wildcards.scenario}"
    script:
        "../scripts/figure_links.py"

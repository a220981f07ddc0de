rule retrieve:
    output:
        "resources/{source}",
    log:
        "logs/retrieve/{source}.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        source=lambda wildcards: SOURCES[wildcards.source],
    message:
        "Fetching {wildcards.source}"
    script:
        "../scripts/retrieve.py"


rule unpack:
    input:
        "resources/{source}",
    output:
        "resources/unpacked/{source}/{member}",
    log:
        "logs/unpack/{source}/{member}.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    message:
        "Unpacking {wildcards.member} from {wildcards.source}"
    script:
        "../scripts/unpack.py"


rule ensembl:
    output:
        table="resources/ensembl/{assembly}.tsv",
        provenance="resources/ensembl/{assembly}.json",
    log:
        "logs/ensembl/{assembly}.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    threads: 1
    params:
        query=lambda wildcards: ASSEMBLIES[wildcards.assembly]["ensembl"],
        code=script_hash("ensembl.py"),
    message:
        "Fetching the gene coordinates {wildcards.assembly} from Ensembl"
    script:
        "../scripts/ensembl.py"

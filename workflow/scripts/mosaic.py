"""Read a dataset by its config, change it by the scenario, link its features, check it, and write the mosaic."""

import logging
from pathlib import Path

from mmaavi.dataset import prepare
from mmaavi.files import write_table
from mmaavi.guidance import read_coordinates
from mmaavi.logs import log_to

log_to(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
# Where a storage provider keeps the files of this job; nothing, where they lie in the working directory.
prefix = snakemake.output.mosaic.removesuffix(f"results/{wildcards.dataset}/{wildcards.scenario}/mosaic.h5mu")
assemblies = {name: read_coordinates(prefix + path) for name, path in params.assemblies.items()}
prepared = prepare(params.dataset, params.scenario, lambda path: Path(prefix + params.files[path]), assemblies)
logging.info("%s", prepared.labels.groupby(["batch", "pattern"]).size().to_string())
logging.info("features: %s, edges: %s", prepared.mosaic.n_features, prepared.mosaic.provenance["edges"])
write_table(prepared.labels, snakemake.output.labels)
write_table(prepared.assemblies, snakemake.output.assemblies)
prepared.truth.save(snakemake.output.truth, guidance_key="links")
prepared.mosaic.save(snakemake.output.mosaic)

"""Read a dataset by its config, change it by the scenario, link its features, check it, and write the mosaic."""

import logging
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from mmaavi.dataset import prepare
from mmaavi.files import write_table
from mmaavi.guidance import read_coordinates
from mmaavi.intake import Aside
from mmaavi.logs import log_to

SHARE_OF_COUNTS = 1 / 8  # of the job's memory: reading, hiding and choosing copy them

log_to(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
# Where a storage provider keeps the files of this job; nothing, where they lie in the working directory.
prefix = snakemake.output.mosaic.removesuffix(f"results/{wildcards.dataset}/{wildcards.scenario}/mosaic.h5mu")
assemblies = {name: read_coordinates(prefix + path) for name, path in params.assemblies.items()}
memory_gib = snakemake.resources.mem_mb / 1024 * SHARE_OF_COUNTS
# Beside the mosaic: what is temporary elsewhere may lie in memory.
temporary = TemporaryDirectory(prefix=".counts", dir=Path(snakemake.output.mosaic).parent)
with temporary as folder, closing(Aside(folder, memory_gib)) as aside:
    prepared = prepare(params.dataset, params.scenario, lambda path: Path(prefix + params.files[path]), assemblies, aside)
    logging.info("%s", prepared.labels.groupby(["batch", "pattern"]).size().to_string())
    logging.info("features: %s, edges: %s", prepared.mosaic.n_features, prepared.mosaic.provenance["edges"])
    write_table(prepared.labels, snakemake.output.labels)
    write_table(prepared.assemblies, snakemake.output.assemblies)
    prepared.truth.save(snakemake.output.truth, guidance_key="links")
    prepared.mosaic.save(snakemake.output.mosaic)

"""Fetch gene coordinates from an Ensembl archive, with their provenance."""

import json

from mmaavi.ensembl import fetch_coordinates
from mmaavi.files import replacing, write_table
from mmaavi.logs import log_to

log_to(snakemake.log[0])
table, provenance = fetch_coordinates(**snakemake.params.query)
write_table(table, snakemake.output.table, index=False)
with replacing(snakemake.output.provenance) as partial:
    partial.write_text(json.dumps(provenance, indent=2))

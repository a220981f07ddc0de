"""Fetch gene coordinates from an Ensembl archive, with their provenance."""

import json
import os

from mmaavi.ensembl import fetch_coordinates
from mmaavi.logs import log_to

log_to(snakemake.log[0])
table, provenance = fetch_coordinates(**snakemake.params.query)
table.to_csv(f"{snakemake.output.table}.partial", sep="\t", index=False)
os.replace(f"{snakemake.output.table}.partial", snakemake.output.table)
with open(snakemake.output.provenance, "w") as file:
    json.dump(provenance, file, indent=2)

"""Take one file out of a downloaded archive."""

from mmaavi.archives import extract
from mmaavi.logs import log_to

log_to(snakemake.log[0])
extract(snakemake.input[0], snakemake.wildcards.member, snakemake.output[0])

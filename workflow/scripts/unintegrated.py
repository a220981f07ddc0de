"""The zero-filled PCA that the PCR score compares with."""

from mmaavi.embedding import save_embedding
from mmaavi.logs import log_to
from mmaavi.methods import pca
from mmaavi.mosaic import load

SHARE_OF_VALUES = 0.25  # of the job's memory; in memory, the values are copied once or twice

log_to(snakemake.log[0])
mosaic = load(snakemake.input.mosaic, memory_gib=snakemake.resources.mem_mb / 1024 * SHARE_OF_VALUES)
result = pca.run(mosaic, seed=0, centred=False)
no_truth = mosaic.take(mosaic.cells[:0])
save_embedding(snakemake.output.embedding, mosaic, no_truth, result, halves={}, settings={"centred": False}, cost={})

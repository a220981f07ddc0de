"""The zero-filled PCA that the PCR score compares with."""

from mmaavi.embedding import save_embedding
from mmaavi.logs import log_to
from mmaavi.methods import pca
from mmaavi.mosaic import load

log_to(snakemake.log[0])
mosaic = load(snakemake.input.mosaic)
save_embedding(snakemake.output.embedding, mosaic, pca.run(mosaic, seed=0, centred=False), {}, {}, 0.0)

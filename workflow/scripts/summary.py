"""What a mosaic is made of: a text for the terminal, and a picture."""

import pandas as pd

from mmaavi import summary
from mmaavi.embedding import read_labels
from mmaavi.files import replacing
from mmaavi.logs import log_to
from mmaavi.mosaic import load
from mmaavi.plots.mosaic import mosaic_blocks
from mmaavi.plots.style import save
from mmaavi.stored import READ_GIB

log_to(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
mosaic = load(snakemake.input.mosaic, memory_gib=READ_GIB)
truth = load(snakemake.input.truth, guidance_key="links", memory_gib=READ_GIB)
labels = read_labels(snakemake.input.labels)
assemblies = pd.read_csv(snakemake.input.assemblies, sep="\t", index_col="assembly")
name = f"{wildcards.dataset} / {wildcards.scenario}"
text = summary.report(name, mosaic, truth, labels, assemblies, params.methods)
coverage = summary.label_coverage(labels)
labelled = coverage.iloc[:, 0] if coverage.shape[1] else pd.Series(dtype=float)
edges, reach = summary.reach(mosaic)
cells = mosaic.obs.groupby("batch").size()
figure = mosaic_blocks(summary.blocks(mosaic, truth), cells, labelled, edges, reach, f"{params.title}, {len(labels):,} cells")
save(figure, [snakemake.output.svg, snakemake.output.png])
with replacing(snakemake.output.text) as partial:
    partial.write_text(text)

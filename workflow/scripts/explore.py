"""The page for exploring a mosaic: an interactive UMAP in one HTML file, and a picture that points to it."""

import pandas as pd

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.estimator import MMAAVI
from mmaavi.explorer import explorer_page, page_data
from mmaavi.files import replacing
from mmaavi.logs import log_to
from mmaavi.mosaic import load
from mmaavi.plots.style import save
from mmaavi.plots.umap import umap_grid
from mmaavi.stored import READ_GIB

log_to(snakemake.log[0])
method, title, page = snakemake.params.method, snakemake.params.title, snakemake.output.page
mosaic, labels = load(snakemake.input.mosaic, memory_gib=READ_GIB), read_labels(snakemake.input.labels)
umap = pd.read_csv(snakemake.input.umap, sep="\t", dtype={"cell": str}).set_index("cell")
umap = umap[umap["method"] == method]
embedding, model = read_embedding(snakemake.input.embedding, mosaic.cells), MMAAVI.load(snakemake.input.model)
data = page_data(mosaic, labels, umap, embedding, model, known=snakemake.params.colours)
save(
    umap_grid(umap, labels, [method], f"The interactive page: {page}\n{title}", snakemake.params.colours),
    [snakemake.output.preview],
)
with replacing(page) as partial:
    partial.write_text(explorer_page(data, title, snakemake.params.citation), encoding="utf-8")

"""UMAP and clusters of each method's embedding, of the first seed."""

import pandas as pd

import mmaavi.compiled  # noqa: F401 - before what it keeps
from mmaavi.embedding import read_embedding, read_labels
from mmaavi.files import write_table
from mmaavi.layout import umap_and_clusters
from mmaavi.logs import log_to

log_to(snakemake.log[0])
cells = read_labels(snakemake.input.labels).index
tables = [pd.DataFrame({"x": [], "y": [], "cluster": [], "method": []}, index=cells[:0])]
for method, path in zip(snakemake.params.methods, snakemake.input.embeddings, strict=True):
    adata = read_embedding(path, cells)
    if "not_run" not in adata.uns:
        tables.append(umap_and_clusters(adata.obsm["X_emb"], cells).assign(method=method))
write_table(pd.concat(tables), snakemake.output[0], float_format="%.3f")

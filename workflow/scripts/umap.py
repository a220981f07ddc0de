"""UMAP of each method's embedding, of the first seed."""

import pandas as pd
from umap import UMAP

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.metrics import neighbours

N_NEIGHBOURS = 15

log_to(snakemake.log[0])
cells = read_labels(snakemake.input.labels).index
tables = [pd.DataFrame({"x": [], "y": [], "method": []}, index=cells[:0])]
for method, path in zip(snakemake.params.methods, snakemake.input.embeddings, strict=True):
    adata = read_embedding(path, cells)
    if "not_run" in adata.uns:
        continue
    x = adata.obsm["X_emb"]
    near = neighbours(x, N_NEIGHBOURS)  # exact, and without a minute of compilation
    layout = UMAP(n_neighbors=N_NEIGHBOURS, min_dist=0.5, precomputed_knn=(near.indices, near.distances), random_state=0)
    tables.append(pd.DataFrame(layout.fit_transform(x), index=cells, columns=["x", "y"]).assign(method=method))
write_table(pd.concat(tables), snakemake.output[0], float_format="%.3f")

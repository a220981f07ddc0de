"""UMAP of each method's embedding, by scanpy, of the first seed."""

import anndata as ad
import pandas as pd
import scanpy as sc

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.files import write_table
from mmaavi.logs import log_to

log_to(snakemake.log[0])
cells = read_labels(snakemake.input.labels).index
tables = []
for method, path in zip(snakemake.params.methods, snakemake.input.embeddings, strict=True):
    adata = ad.AnnData(obs=pd.DataFrame(index=cells), obsm={"X_emb": read_embedding(path, cells).obsm["X_emb"]})
    sc.pp.neighbors(adata, use_rep="X_emb", random_state=0)
    sc.tl.umap(adata, random_state=0)
    tables.append(pd.DataFrame(adata.obsm["X_umap"], index=cells, columns=["x", "y"]).assign(method=method))
write_table(pd.concat(tables), snakemake.output[0], float_format="%.3f")

"""UMAP of the first method that learns from labels: its labelled cells, own labels and those given."""

import pandas as pd

import mmaavi.compiled  # noqa: F401 - before what it keeps
from mmaavi.embedding import read_embedding, read_labels
from mmaavi.layout import umap_and_clusters
from mmaavi.logs import log_to
from mmaavi.plots.style import method_name, save_with_values
from mmaavi.plots.transfer import transfer_umap
from mmaavi.plots.words import in_words

log_to(snakemake.log[0])
labels, labelled = read_labels(snakemake.input.labels), read_labels(snakemake.input.labelled)
predicted = pd.read_csv(snakemake.input.files[0], sep="\t", dtype={"cell": str, "label": str}).set_index("cell")
cells = pd.DataFrame({"truth": labels.iloc[:, 2], "labelled": labels.index.isin(labelled.index)})
cells[["predicted", "probability"]] = predicted.reindex(cells.index)[["label", "probability"]]
adata = read_embedding(snakemake.input.embedding, labels.index)
title = f"{snakemake.params.title}, {len(labels):,} cells\n{method_name(snakemake.params.methods[0])}"
if "not_run" in adata.uns:
    figure = in_words(title, f"not run: {adata.uns['not_run']}")
else:
    layout = umap_and_clusters(adata.obsm["X_emb"], labels.index)
    figure, cells = transfer_umap(layout, cells, title, snakemake.params.colours), layout[["x", "y"]].join(cells)
save_with_values(figure, cells.reset_index(), snakemake.output)

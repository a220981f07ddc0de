"""Mean attention weight of each modality by cell type and batch."""

import pandas as pd

from mmaavi.embedding import read_embedding, read_labels
from mmaavi.logs import log_to
from mmaavi.plots.attention import attention_heatmaps
from mmaavi.plots.style import save

log_to(snakemake.log[0])
labels = read_labels(snakemake.input.labels)
adata = read_embedding(snakemake.input.embedding, labels.index)
attention = pd.DataFrame(adata.obsm["mmaavi_attention"], index=labels.index, columns=list(adata.uns["modalities"]))
title = f"{snakemake.params.title}, {len(labels):,} cells"
save(attention_heatmaps(attention, labels, title), snakemake.output)

"""Score one embedding; cells without a label are left out of all scores but the matching of halves."""

import numpy as np
import pandas as pd

import mmaavi.compiled  # noqa: F401 - before what it keeps
from mmaavi.embedding import halves_of, read_embedding, read_labels
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.metrics import integration_scores, matching_scores
from mmaavi.scores import no_scores

log_to(snakemake.log[0])
labels = read_labels(snakemake.input.labels)
adata = read_embedding(snakemake.input.embedding, labels.index)
unintegrated = read_embedding(snakemake.input.unintegrated, labels.index)
first_label = labels.columns[2] if labels.shape[1] > 2 else None
labelled = labels[first_label].notna().to_numpy() if first_label else np.ones(len(labels), dtype=bool)
if "not_run" in adata.uns:
    scores = no_scores(f"not run: {adata.uns['not_run']}")
else:
    scores = integration_scores(
        adata.obsm["X_emb"][labelled],
        labels[first_label].to_numpy()[labelled] if first_label else None,
        labels["batch"].to_numpy()[labelled],
        labels["pattern"].to_numpy()[labelled],
        unintegrated.obsm["X_emb"][labelled],
    )
    scores += matching_scores(*halves_of(adata))

run = {k: snakemake.wildcards[k] for k in ("dataset", "scenario", "method", "variant", "seed")}
imputation = pd.read_csv(snakemake.input.imputation, sep="\t", keep_default_na=False, na_values={"value": [""]})
table = pd.concat([pd.DataFrame([vars(score) for score in scores]), imputation], ignore_index=True)
write_table(table.assign(**run)[[*run, *table]], snakemake.output[0], index=False)

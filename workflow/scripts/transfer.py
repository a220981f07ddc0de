"""Carry labels from the labelled cells to all others, by the method itself or by its embedding's neighbours; score that."""

import pandas as pd

from mmaavi.embedding import label_probabilities, read_embedding, read_labels
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.scores import Score
from mmaavi.transfer import METRICS, carried_by_neighbours, transfer_scores

log_to(snakemake.log[0])
labels, labelled = read_labels(snakemake.input.labels), read_labels(snakemake.input.labelled)
adata = read_embedding(snakemake.input.embedding, labels.index)
if "not_run" in adata.uns:
    predicted = pd.DataFrame(columns=["label", "probability"])
    scores = [Score(metric, "all", float("nan"), f"not run: {adata.uns['not_run']}") for metric in METRICS]
else:
    probabilities = label_probabilities(adata)
    if probabilities is None:
        states = pd.DataFrame(adata.obsm["X_emb"], index=adata.obs_names)
        probabilities = carried_by_neighbours(states, labelled.iloc[:, 2])
    predicted = pd.DataFrame({"label": probabilities.idxmax(axis=1), "probability": probabilities.max(axis=1)})
    scores = transfer_scores(probabilities, labels, labelled.index)
write_table(predicted.rename_axis("cell"), snakemake.output.predicted, float_format="%.4f")
run = {k: snakemake.wildcards[k] for k in ("dataset", "scenario", "method", "variant", "seed")}
table = pd.DataFrame([vars(score) for score in scores]).assign(**run, n_labelled=snakemake.wildcards.n)
write_table(table[[*run, "n_labelled", *vars(scores[0])]], snakemake.output.scores, index=False)

"""All scores as one tidy table, their mean and interval over seeds, and the time and memory of each run."""

import anndata as ad
import pandas as pd

from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.metrics import summarise

log_to(snakemake.log[0])
RUN = ["dataset", "scenario", "method", "variant"]
scores = pd.concat([pd.read_csv(path, sep="\t") for path in snakemake.input.scores], ignore_index=True)
write_table(scores, snakemake.output.scores, index=False)
write_table(summarise(scores, [*RUN, "metric", "group"]), snakemake.output.summary, index=False, float_format="%.4f")

rows = []
for run, benchmark, embedding in zip(snakemake.params.runs, snakemake.input.benchmarks, snakemake.input.embeddings, strict=True):
    job = pd.read_csv(benchmark, sep="\t").iloc[0]
    fit = float(ad.read_h5ad(embedding, backed="r").uns["seconds"])
    rows.append([*run, fit, job["s"], job["max_rss"] / 1024])
columns = [*RUN, "seed", "fit_seconds", "job_seconds", "peak_memory_gib"]
write_table(pd.DataFrame(rows, columns=columns), snakemake.output.cost, index=False, float_format="%.3f")

jobs = pd.concat([pd.read_csv(path, sep="\t").assign(job=job) for job, path in snakemake.params.jobs.items()])
jobs = jobs.assign(peak_memory_gib=jobs["max_rss"] / 1024).rename(columns={"s": "seconds"})
write_table(jobs[["job", "seconds", "peak_memory_gib"]], snakemake.output.jobs, index=False, float_format="%.3f")

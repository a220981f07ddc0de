"""All scores as one tidy table, their mean and interval over seeds, those of labels too, and the time and memory of each run."""

import pandas as pd

from mmaavi.embedding import read_run
from mmaavi.files import write_table
from mmaavi.logs import log_to
from mmaavi.scores import no_scores, summarise

log_to(snakemake.log[0])
RUN = ["dataset", "scenario", "method", "variant"]
tables = [pd.read_csv(path, sep="\t") for path in snakemake.input.scores]
for run, last_line in snakemake.params.failed:
    rows = pd.DataFrame([vars(score) for score in no_scores(f"failed: {last_line}")])
    tables.append(rows.assign(**dict(zip([*RUN, "seed"], run, strict=True))))
scores = pd.concat(tables, ignore_index=True)
write_table(scores, snakemake.output.scores, index=False)
write_table(summarise(scores, [*RUN, "metric", "group"]), snakemake.output.summary, index=False, float_format="%.4f")
nothing = pd.DataFrame(columns=[*RUN, "seed", "n_labelled", "metric", "group", "value"])
labels = pd.concat([pd.read_csv(path, sep="\t") for path in dict.fromkeys(snakemake.input.transfers)] or [nothing])
by = [*RUN, "n_labelled", "metric", "group"]
write_table(summarise(labels, by), snakemake.output.transfer, index=False, float_format="%.4f")

rows = []
for run, benchmark, embedding in zip(snakemake.params.runs, snakemake.input.benchmarks, snakemake.input.embeddings, strict=True):
    about = read_run(embedding)
    if "not_run" in about:
        rows.append([*run, None, None, None, "", f"not run: {about['not_run']}"])
    else:
        job = pd.read_csv(benchmark, sep="\t").iloc[0]
        rows.append([*run, float(about["seconds"]), job["s"], job["max_rss"] / 1024, about["packages"], ""])
rows += [[*run, None, None, None, "", f"failed: {last_line}"] for run, last_line in snakemake.params.failed]
columns = [*RUN, "seed", "fit_seconds", "job_seconds", "peak_memory_gib", "packages", "note"]
write_table(pd.DataFrame(rows, columns=columns), snakemake.output.cost, index=False, float_format="%.3f")

named = zip(snakemake.params.jobs, snakemake.input.jobs, strict=True)
jobs = pd.concat([pd.read_csv(path, sep="\t").assign(job=job) for job, path in named])
jobs = jobs.assign(peak_memory_gib=jobs["max_rss"] / 1024).rename(columns={"s": "seconds"})
write_table(jobs[["job", "seconds", "peak_memory_gib"]], snakemake.output.jobs, index=False, float_format="%.3f")

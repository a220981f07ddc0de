"""Print what the experiments of the config would cost."""

from pathlib import Path

from mmaavi.experiments import Run
from mmaavi.logs import log_to
from mmaavi.plan import earlier_runs, plan

log_to(snakemake.log[0])
experiments = {name: [Run(*run) for run in runs] for name, runs in snakemake.params.experiments.items()}
done = {run for runs in experiments.values() for run in runs if Path(run.folder, "embedding.h5ad").is_file()}
table = plan(experiments, done, earlier_runs(Path("results"), Path(snakemake.params.reference)))
print(table.to_string(index=False, float_format="%.1f"))
print("Hours of jobs, one after another, on the machine of the earlier runs; unknown: runs of methods that never ran here.")

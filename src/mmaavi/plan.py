"""What experiments would cost: runs, hours and disk, from the runs that were made before."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from .experiments import Run

LIKE = (["dataset", "scenario", "method", "variant"], ["dataset", "method"], ["method"])  # from the closest on
COLUMNS = ["dataset", "scenario", "method", "variant", "seed"]


def earlier_runs(results: Path, reference: Path) -> pd.DataFrame:
    """Seconds of the whole job of each run under ``results``, its scoring included, and of those of the reference table.

    Returns
    -------
    ``dataset, scenario, method, variant, seed, seconds, gib`` (disk; missing for the reference).
    """
    rows = []
    for file in results.glob("*/*/*/*/seed*/embedding.h5ad"):
        folder = file.parent
        with h5py.File(file) as embedding:
            if "not_run" in embedding.get("uns", {}):
                continue
        jobs = [folder / name for name in ("benchmark.tsv", "benchmark_score.tsv")]
        seconds = sum(pd.read_csv(job, sep="\t")["s"].iloc[0] for job in jobs if job.is_file()) or np.nan
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**30
        rows.append((*folder.parts[-5:-1], int(folder.name.removeprefix("seed")), seconds, size))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "seconds", "gib"])
    if reference.is_file():
        known = pd.read_csv(reference, sep="\t").rename(columns={"job_seconds": "seconds"})
        table = pd.concat([table, known[[*COLUMNS, "seconds"]].dropna(subset="seconds")], ignore_index=True)
    return table


def estimates(runs: Iterable[Run], known: pd.DataFrame) -> pd.DataFrame:
    """``seconds`` and ``gib`` of each run: the median of the earlier runs that are most alike; missing where there is none."""
    asked = pd.DataFrame([vars(run) for run in runs], columns=COLUMNS)
    for measure in ("seconds", "gib"):
        asked[measure] = np.nan
        for key in LIKE:
            median = known.groupby(key)[measure].median()
            of = median.reindex(pd.MultiIndex.from_frame(asked[key]) if len(key) > 1 else asked[key[0]]).to_numpy()
            asked[measure] = asked[measure].fillna(pd.Series(of, asked.index))
    return asked


def plan(experiments: dict[str, list[Run]], done: set[Run], known: pd.DataFrame) -> pd.DataFrame:
    """One row an experiment and one for all: how many runs, how many of them are new to it, not yet done, and what these cost.

    Parameters
    ----------
    experiments
        Name -> its runs.
    done
        Runs whose results are there.
    known
        As :func:`earlier_runs` gives it.

    Returns
    -------
    ``experiment, runs, first_here`` (not named by an experiment above), ``to_do``, ``hours`` of these on the machine of the
    earlier runs, ``disk_gib``, and ``unknown``: runs of methods that never ran. Hours and disk are missing where no run tells.
    """
    seen: set[Run] = set()
    rows, all_costs = [], []
    for name, runs in experiments.items():
        first = [run for run in dict.fromkeys(runs) if run not in seen]
        seen.update(first)
        todo = [run for run in first if run not in done]
        cost = estimates(todo, known)
        all_costs.append(cost)
        rows.append((name, len(set(runs)), len(first), *_sums(cost)))
    rows.append(("all", len(seen), len(seen), *_sums(pd.concat(all_costs))))
    return pd.DataFrame(rows, columns=["experiment", "runs", "first_here", "to_do", "hours", "disk_gib", "unknown"])


def _sums(cost: pd.DataFrame) -> tuple[int, float, float, int]:
    hours, gib = (cost[measure].sum(min_count=min(len(cost), 1)) for measure in ("seconds", "gib"))
    return len(cost), hours / 3600, gib, int(cost["seconds"].isna().sum())

"""Time and memory of each method."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS, CONTROLS, named


def cost_panels(cost: pd.DataFrame) -> Figure:
    """Seconds of fitting and peak memory of each method, by dataset; one dot a seed. Controls are left out.

    Parameters
    ----------
    cost
        ``dataset, method, variant, seed, fit_seconds, peak_memory_gib``; rows without a time are left out.
    """
    cost = named(cost[~cost["method"].isin(CONTROLS)].dropna(subset="fit_seconds"))
    methods, datasets = list(dict.fromkeys(cost["name"])), list(dict.fromkeys(cost["dataset"]))
    figure = Figure(figsize=(7.2, 0.22 * len(methods) * len(datasets) ** 0.5 + 1.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (column, label) in zip(
        axes, {"fit_seconds": "fitting time, seconds", "peak_memory_gib": "peak memory of the job, GiB"}.items(), strict=True
    ):
        for i, dataset in enumerate(datasets):
            part = cost[cost["dataset"] == dataset]
            offset = 0.5 * ((i + 0.5) / len(datasets) - 0.5)
            y = np.array([-methods.index(name) for name in part["name"]]) - offset
            axis.plot(part[column], y, "o", ms=4, color=COLOURS[i % len(COLOURS)], alpha=0.8, label=dataset)
        axis.set(xlabel=label, yticks=[-i for i in range(len(methods))], ylim=(-len(methods) + 0.4, 0.6))
        axis.set_yticklabels(methods)
        axis.grid(lw=0.4, color="0.88")
    axes[0].set_xscale("log")
    axes[1].set_xlim(left=0)
    if len(datasets) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(datasets))
    figure.suptitle("Cost of one run" + (f" on {datasets[0]}" if len(datasets) == 1 else ""))
    return figure

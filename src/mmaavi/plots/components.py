"""The validation loss by number of mixture components."""

import pandas as pd
from matplotlib.figure import Figure

from .style import COLOURS


def component_losses(losses: pd.DataFrame, by_k: pd.DataFrame, title: str) -> Figure:
    """Best validation loss of each seed (dots), mean and standard deviation by K, their sum (the criterion), and the chosen K.

    Parameters
    ----------
    losses
        ``n_components, seed, loss``, as :func:`mmaavi.selection.validation_losses` gives it.
    by_k
        What :func:`mmaavi.selection.by_components` makes of them.
    title
        Of the dataset.
    """
    chosen, by_k = by_k.loc[by_k["chosen"], "n_components"].item(), by_k.set_index("n_components")
    mean, sd = by_k["mean"], by_k["sd"].fillna(0)
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axis = figure.subplots()
    axis.plot(losses["n_components"], losses["loss"], "o", ms=2.5, color="0.6", label="one seed")
    axis.errorbar(mean.index, mean, sd, fmt="o-", ms=4, lw=1.2, capsize=2, color=COLOURS[0], label="mean, standard deviation")
    axis.plot(mean.index, mean + sd, "--", lw=1, color=COLOURS[5], label="their sum: the criterion")
    axis.axvline(chosen, color=COLOURS[2], lw=1, ls=":", label=f"chosen: K = {chosen}")
    axis.set(xlabel="components of the mixture, K", ylabel="best validation loss, nats a cell", xticks=mean.index)
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure

"""How many components the mixture needs (Rong et al. 2024)."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from .estimator import MMAAVI
from .mosaic import Mosaic
from .settings import Settings


def validation_losses(
    mosaic: Mosaic,
    n_components: Iterable[int],
    seeds: Iterable[int],
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> pd.DataFrame:
    """Best validation loss of a fit for each K and seed: the columns ``n_components, seed, loss``."""
    rows = []
    for k in n_components:
        for seed in seeds:
            history = MMAAVI(replace(settings, n_components=k), seed).fit(mosaic, progress=False).history
            rows.append((k, seed, history.loc[history["phase"] == "validation", "total"].min()))
    return pd.DataFrame(rows, columns=["n_components", "seed", "loss"])


def by_components(losses: pd.DataFrame) -> pd.DataFrame:
    """``n_components, mean, sd, n_seeds`` of the best validation loss, and whether a K is ``chosen``.

    That is the K with the smallest mean + standard deviation over seeds; the least K of several. A K of fewer seeds than others,
    some of whose fits failed, is not taken: its deviation says too little. ``losses``: ``n_components, seed, loss``.
    """
    by_k = losses.groupby("n_components")["loss"].agg(mean="mean", sd="std", n_seeds="size").reset_index()
    whole = by_k[by_k["n_seeds"] == by_k["n_seeds"].max()]
    best = (whole["mean"] + whole["sd"].fillna(0)).idxmin()
    return by_k.assign(chosen=by_k.index == best)

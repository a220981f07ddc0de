"""Features that differ between groups of cells, in decoded expected values: valid where a modality was not measured.

Follows Lopez et al. (2018) and Boyeau et al. (2023): pairs of cells are drawn, one from each group, and the posterior
probability that a feature's values differ by more than a threshold is the share of pairs in which they do.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from .errors import InputError, nearest

if TYPE_CHECKING:
    from .estimator import MMAAVI

DRAWS_AT_ONCE = 500
PSEUDO_SHARE = 1e-6  # of the library size, added to both values before their ratio is taken
REST = "rest"


def differential(
    model: "MMAAVI",
    states: pd.DataFrame,
    modality: str,
    groups: pd.Series,
    rng: np.random.Generator,
    group: str | None = None,
    reference: str = REST,
    delta: float = 0.25,
    n_draws: int = 5000,
) -> pd.DataFrame:
    """Compare groups of cells, each with the rest or with one other group.

    Parameters
    ----------
    model
        A fitted model.
    states
        Cell states by cell id, of shape (n_cells, n_latent).
    modality
        Whose features are compared. Cells need not have it.
    groups
        Group of each cell by cell id; cells without one belong to none.
    rng
        Source of the draws.
    group
        The one group to compare; by default each in turn.
    reference
        Another group, or ``rest``: all other cells that have a group.
    delta
        Least difference that counts, in log2 fold change (of a ``normal`` modality, whose values may be negative: as it is).
    n_draws
        Pairs of cells drawn with replacement.

    Returns
    -------
    One row a group and feature, most probable first within a group: ``group, reference, feature``; ``mean_group`` and
    ``mean_reference``, the expected values at the model's library size; ``difference``, the mean log2 fold change;
    ``probability`` that a pair's log2 fold change exceeds ``delta`` in that direction; ``ln_bayes_factor``, its logit;
    ``fdr``, the expected share of false discoveries among the features down to this one.

    Raises
    ------
    InputError
        If a group has no cells.
    """
    known = groups.reindex(states.index).astype("string")
    names = sorted(known.dropna().unique())
    for name in [n for n in (group, None if reference == REST else reference) if n is not None]:
        if name not in names:
            raise InputError(f"there are no cells of the group '{name}'; {nearest(name, names)}")
    tables = []
    for name in [group] if group is not None else [n for n in names if n != reference]:
        inside = (known == name).fillna(False).to_numpy(dtype=bool)
        others = known.notna() if reference == REST else (known == reference).fillna(False)
        outside = others.to_numpy(dtype=bool) & ~inside
        if not outside.any():
            raise InputError(f"no cells are left to compare the group '{name}' with")
        tables.append(_compare(model, states.to_numpy(), modality, inside, outside, rng, delta, n_draws))
        tables[-1].insert(0, "reference", reference)
        tables[-1].insert(0, "group", name)
    return pd.concat(tables, ignore_index=True)


def _compare(model, states, modality, inside, outside, rng, delta, n_draws) -> pd.DataFrame:
    pairs = [rng.choice(np.flatnonzero(rows), n_draws) for rows in (inside, outside)]
    n_features = len(model.features[modality])
    sums = {name: np.zeros(n_features) for name in ("group", "reference", "difference", "up", "down")}
    plain = model.scaling[modality].likelihood == "normal"  # whose values may be negative
    small = PSEUDO_SHARE * model.scaling[modality].depth
    for start in range(0, n_draws, DRAWS_AT_ONCE):
        a, b = (
            model.decode(torch.tensor(states[rows[start : start + DRAWS_AT_ONCE]], device=model.device), modality)
            for rows in pairs
        )
        change = a - b if plain else ((a + small) / (b + small)).log2()  # (draws, G)
        parts = {"group": a, "reference": b, "difference": change, "up": change > delta, "down": change < -delta}
        for name, values in parts.items():
            sums[name] += values.double().sum(dim=0).cpu().numpy()
    mean = {name: total / n_draws for name, total in sums.items()}
    probability = np.where(mean["difference"] > 0, mean["up"], mean["down"])
    at_most = np.clip(probability, 0.5 / n_draws, 1 - 0.5 / n_draws)  # as many draws cannot say more
    table = pd.DataFrame(
        {
            "feature": model.features[modality],
            "mean_group": mean["group"],
            "mean_reference": mean["reference"],
            "difference": mean["difference"],
            "probability": probability,
            "ln_bayes_factor": np.log(at_most) - np.log1p(-at_most),
        }
    ).sort_values("probability", ascending=False, kind="stable")
    return table.assign(fdr=np.cumsum(1 - table["probability"].to_numpy()) / np.arange(1, n_features + 1))

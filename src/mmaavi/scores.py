"""One score, and how it is had: an undefined one is missing with its reason, and never stops the others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """One score: its metric, the group it is about ('all': all cells), its value, and why it is missing or of which cells."""

    metric: str
    group: str
    value: float
    note: str = ""


def attempt(metric: str, function: Callable[[], float], group: str = "all") -> Score:
    """The score that ``function`` gives, or a missing one with the reason."""
    try:
        value = float(function())
    except Exception as error:  # noqa: BLE001 - the libraries raise many kinds; the reason is kept in the table
        return Score(metric, group, np.nan, f"{type(error).__name__}: {error}".replace("\n", " ")[:200])
    return Score(metric, group, value, "" if np.isfinite(value) else "not defined for these cells")

"""Methods that make an embedding: one file each, all with the same function ``run``.

``run(mosaic, seed, labels=None, **settings) -> Result``; ``labels`` (by cell id) reach only variants that ask for them.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..mosaic import Mosaic


@dataclass(frozen=True)
class Result:
    """What a method gives back.

    Attributes
    ----------
    embedding
        One row a cell, in the mosaic's order; shape (n_cells, d).
    obsm
        Further arrays with one row a cell, by name.
    settings
        What the method ran with, defaults included.
    history
        Training log; empty where nothing is trained.
    embed
        Embeds other cells with the same features; None where the method cannot.
    impute
        Gives expected values of a modality in some cells, of shape (n_cells, G_m); None where the method cannot.
    """

    embedding: np.ndarray
    obsm: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    embed: Callable[[Mosaic], np.ndarray] | None = None
    impute: Callable[[Mosaic, str], np.ndarray] | None = None


def load_method(name: str) -> Callable[..., Result]:
    """The function ``run`` of a method."""
    return importlib.import_module(f"{__name__}.{name}").run


def unsupported(method: str, mosaic: Mosaic) -> str | None:
    """Why a method cannot run on a mosaic, as it declares; None where it can. Imports nothing beyond the main stack."""
    declared = getattr(importlib.import_module(f"{__name__}.{method}"), "unsupported", None)
    return declared(mosaic) if declared else None

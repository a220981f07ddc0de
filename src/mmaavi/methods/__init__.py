"""Methods that make an embedding: one file each, all with the same function ``run``.

``run(mosaic, seed, labels=None, **settings) -> Result``; ``labels`` (by cell id) reach only variants that ask for them: all
(``labels: true``), or those of a few cells (``labelled: n``). A file may also declare:

``PACKAGES``
    Names of what ``run`` imports beyond the main stack: imported before its time is taken, and missed in one clear message.
``ENVIRONMENT``
    The file of ``envs/`` that holds them; by default ``main``.
``unsupported(mosaic) -> str | None``
    Why the method cannot run on a mosaic, or None; without it the method runs on all.
"""

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import listing
from ..mosaic import Mosaic
from ..normalisation import SIGNED


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
        Gives expected values of a modality in some of the mosaic's cells, of shape (n, G_m), at any depth; None where the
        method cannot.
    label_probabilities
        Probability of each label (columns) by cell id, of a method that learns from labels; None otherwise.
    save
        Writes the trained model into a folder; None where nothing is kept.
    """

    embedding: np.ndarray
    obsm: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    embed: Callable[[Mosaic], np.ndarray] | None = None
    impute: Callable[[Mosaic, str], np.ndarray] | None = None
    label_probabilities: pd.DataFrame | None = None
    save: Callable[[Path], None] | None = None


def load_method(name: str) -> Callable[..., Result]:
    """The function ``run`` of a method, with the packages that it needs imported."""
    module = importlib.import_module(f"{__name__}.{name}")
    for package in getattr(module, "PACKAGES", ()):
        importlib.import_module(package)
    return module.run


def versions(method: str) -> str:
    """The packages of a method, as they are named on PyPI, with the versions that are installed here."""
    packages = getattr(importlib.import_module(f"{__name__}.{method}"), "PACKAGES", ())
    distributions = importlib.metadata.packages_distributions() if packages else {}  # reads all that is installed
    names = dict.fromkeys(distributions[package][0] for package in packages)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def unsupported(method: str, mosaic: Mosaic) -> str | None:
    """Why a method cannot run on a mosaic, as it declares; None where it can. Imports nothing beyond the main stack."""
    declared = getattr(importlib.import_module(f"{__name__}.{method}"), "unsupported", None)
    return declared(mosaic) if declared else None


def beyond(mosaic: Mosaic, known: Iterable[str]) -> str | None:
    """Why a method that only knows some modalities cannot run: those that it does not know, or that are no counts."""
    unknown = [m for m in mosaic.modalities if m not in known]
    if unknown:
        return f"it has no model of {listing(unknown)}, only of {listing(known)}"
    return no_counts(mosaic, (SIGNED, "zero_inflated_log_normal"))


def no_counts(mosaic: Mosaic, likelihoods: Iterable[str] = (SIGNED,)) -> str | None:
    """Why a method that takes logarithms cannot run: values with a sign, or of other likelihoods that it does not know."""
    odd = [m for m in mosaic.modalities if mosaic.likelihood_of(m) in likelihoods]
    return f"it needs counts, which the values of {listing(odd)} are not" if odd else None

"""Cells that a model was not trained with: any subset of its modalities, known batches or new ones."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import InputError, listing, nearest
from .features import Scaling, fit_scaling
from .mosaic import Mosaic

FEW_CELLS = 50  # whose mean and sd say little


def with_all_modalities(mosaic: Mosaic, features: dict[str, pd.Index]) -> Mosaic:
    """The mosaic with the modalities and features of a training, in its order; modalities that it lacks are not measured.

    Raises
    ------
    InputError
        If a modality is not one of the training, or a feature of the training is missing.
    """
    for m in mosaic.modalities:
        if m not in features:
            raise InputError(f"the model was not trained with a modality '{m}'; {nearest(m, features)}")
        missing = features[m].difference(mosaic.var[m].index)
        if len(missing):
            raise InputError(
                f"modality '{m}' lacks {len(missing)} of the {len(features[m])} features of the training ({listing(missing)}); "
                "add them, with zeros where nothing was counted"
            )
    counts, var, measured = {}, {}, pd.DataFrame(False, index=mosaic.cells, columns=list(features))
    for m, names in features.items():
        if m not in mosaic.modalities:
            counts[m] = sp.csr_array((len(mosaic.cells), len(names)), dtype=np.float32)
            var[m] = pd.DataFrame(index=names)
            continue
        same = names.equals(mosaic.var[m].index)
        columns = mosaic.var[m].index.get_indexer(names)
        counts[m] = mosaic.counts[m] if same else sp.csr_array(mosaic.counts[m][:, columns])
        var[m] = mosaic.var[m].loc[names]
        measured[m] = mosaic.measured[m]
    return replace(mosaic, counts=counts, var=var, measured=measured, guidance=None)


def extended_scaling(mosaic: Mosaic, batches: list[str], scaling: dict[str, Scaling]) -> tuple[list[str], dict[str, Scaling]]:
    """The batches and scaling of a training, and those of the mosaic's new batches after them, from their own cells."""
    new = [b for b in mosaic.batches if b not in batches]
    if not new:
        return batches, scaling
    for b in new:
        n = int((mosaic.obs["batch"] == b).sum())
        if n < FEW_CELLS:
            logging.warning("the new batch '%s' has %d cells only: too few to know their mean and sd well", b, n)
    rows = np.flatnonzero(mosaic.obs["batch"].isin(new))
    part = mosaic.take(rows)
    number = np.array([new.index(b) for b in part.obs["batch"]])
    measured = [m for m in scaling if part.measured[m].any()]
    kept = replace(
        part,
        counts={m: part.counts[m] for m in measured},
        var={m: part.var[m] for m in measured},
        measured=part.measured[measured],
        likelihoods={m: scaling[m].likelihood for m in measured},
    )
    fitted = fit_scaling(kept, number, len(new), {m: scaling[m].depth for m in measured})
    longer = {}
    for m, old in scaling.items():
        own = fitted.get(m)
        tables = {
            name: np.vstack([getattr(old, name), np.tile(getattr(old, name)[old.known].mean(axis=0), (len(new), 1))])
            if own is None
            else np.vstack([getattr(old, name), getattr(own, name)])
            for name in ("mean", "sd", "start")
        }
        known = np.concatenate([old.known, np.zeros(len(new), dtype=bool) if own is None else own.known])
        longer[m] = replace(old, known=known, **tables)
    return [*batches, *new], longer

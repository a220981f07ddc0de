"""Cells that a model was not trained with: any subset of its modalities, known batches or new ones."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import nn

from .data import MosaicData
from .errors import InputError, listing, nearest
from .features import Scaling, fit_batches
from .mosaic import Mosaic

if TYPE_CHECKING:
    from .estimator import MMAAVI

FEW_CELLS = 50  # whose mean and sd say little


def with_all_modalities(mosaic: Mosaic, features: dict[str, pd.Index]) -> Mosaic:
    """The mosaic with the modalities and features of a training, in its order; modalities that it lacks are not measured.

    Raises
    ------
    InputError
        If a modality or a feature is not one of the training, or a feature of the training is missing.
    """
    for m in mosaic.modalities:
        if m not in features:
            raise InputError(f"the model was not trained with a modality '{m}'; {nearest(m, features)}")
        extra = mosaic.var[m].index.difference(features[m])
        if len(extra):
            raise InputError(
                f"modality '{m}' has {len(extra)} features that the training did not have ({listing(extra)}); leave them out"
            )
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
        counts[m] = mosaic.counts[m] if same else mosaic.counts[m][:, columns]
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
    number = pd.Index(new).get_indexer(part.obs["batch"])
    longer = {}
    for m, old in scaling.items():
        has = part.measured[m].to_numpy()
        if has.any():
            own = fit_batches(old, part.counts[m][has], number[has], len(new))
        else:  # as other batches without the modality: the average of those that have it
            average = {t: np.tile(getattr(old, t)[old.known].mean(axis=0), (len(new), 1)) for t in ("mean", "sd", "start")}
            own = replace(old, known=np.zeros(len(new), dtype=bool), **average)
        joined = {t: np.concatenate([getattr(old, t), getattr(own, t)]) for t in ("mean", "sd", "start", "known")}
        longer[m] = replace(old, **joined)
    return [*batches, *new], longer


def adapt(model: "MMAAVI", mosaic: Mosaic, n_steps: int = 200, learning_rate: float = 1e-2) -> "MMAAVI":
    """A copy of the model that also decodes the mosaic's new batches; only their own parameters are trained.

    The encoder, and so every embedding, stays as it is. New rows of the decoder's tables start from the new batch's own
    values, and are fitted to the likelihood of its cells.

    Raises
    ------
    InputError
        If the mosaic has no new batch.
    """
    mosaic = with_all_modalities(mosaic, model.features)
    batches, scaling = extended_scaling(mosaic, model.batches, model.scaling)
    n_old, n_new = len(model.batches), len(batches) - len(model.batches)
    if not n_new:
        raise InputError(f"all batches of the mosaic ({listing(mosaic.batches)}) are of the training: there is nothing to adapt")
    longer = type(model)(model.settings, model.seed, model.device, model.memory_gib)
    for name in ("features", "labels", "temperature", "graph", "graph_share", "history"):
        setattr(longer, name, getattr(model, name))
    longer.batches, longer.scaling = batches, scaling
    longer.network = longer._new_network()
    old = model.network.state_dict()
    with torch.no_grad():
        for name, value in longer.network.state_dict().items():
            if value.shape == old[name].shape:
                value.copy_(old[name])
            elif value.shape[0] == old[name].shape[0] + n_new:  # tables of batches, and the discriminator's classes
                value[:n_old] = old[name]
            else:  # the batch's onehot, the last columns of the decoder's first layer
                value[:, :-n_new] = old[name]
        for m, decoder in longer.network.decoder.items():  # new rows start as the mean of those that were trained
            known = torch.tensor(np.flatnonzero(model.scaling[m].known), device=model.device)
            for name, table in decoder.likelihood.named_parameters():
                if name != "bias":
                    table[n_old:] = table[known].mean(dim=0)  # (n_new, G_m)
            if model.graph_share < 1:
                onehot = decoder.body[0].weight[:, -(n_old + n_new) :]  # (width, n_old + n_new)
                onehot[:, n_old:] = onehot[:, known].mean(dim=1, keepdim=True)  # (width, n_new)
    tables = [p for decoder in longer.network.decoder.values() for p in decoder.likelihood.parameters()]
    cells = mosaic.take(mosaic.obs["batch"].isin(batches[n_old:]).to_numpy())
    _fit_rows(longer, cells, tables, n_old, n_steps, learning_rate)
    return longer


def _fit_rows(
    model: "MMAAVI", mosaic: Mosaic, tables: list[nn.Parameter], first: int, n_steps: int, learning_rate: float
) -> None:
    """Fit the rows of batches from ``first`` on, of tables (n_batches, G), to the likelihood of the cells; nothing else."""
    network = model.network.eval()
    data = MosaicData(mosaic, model.batches, model.scaling, device=model.device, memory_gib=model.memory_gib)
    optimiser = torch.optim.Adam(tables, lr=learning_rate)
    generator = torch.Generator().manual_seed(model.seed)
    v = network.by_modality(network.graph.q_v().mean.detach())
    cells, size = np.arange(data.n_cells), model.settings.minibatch_size
    for step in range(n_steps):
        if step % data.steps_per_epoch(cells, size) == 0:
            minibatches = data.epoch(cells, size, generator)
        batch = next(minibatches)
        with torch.no_grad():
            z = network.encoder(batch)[0].mean
        loss = sum(network.decoder[m].nll(z, v[m], x) for m, x in batch.modalities.items())
        gradients = torch.autograd.grad(loss, tables, allow_unused=True)
        for table, gradient in zip(tables, gradients, strict=True):
            if gradient is not None:
                gradient[:first] = 0
            table.grad = gradient
        optimiser.step()

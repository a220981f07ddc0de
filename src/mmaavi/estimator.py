"""MMAAVI: fit a mosaic; embed, label and impute cells; compare groups of cells; score links between features."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from . import differential, links, persistence
from .calibration import fit_temperature
from .checks import check_trainable
from .data import MosaicData
from .edges import EdgeSampler
from .errors import InputError, listing
from .model import MosaicVAE, graph_share
from .mosaic import Mosaic, as_mosaic
from .networks import Decoder
from .processes import n_processes
from .query import adapt, extended_scaling, with_all_modalities
from .settings import Settings
from .train import split_cells, train

CELLS_AT_ONCE = 1024
NEW = "new_"  # labels of components that belong to no known label


class MMAAVI:
    """Mosaic integration by auto-scaling attention variational inference (Rong et al. 2024).

    Parameters
    ----------
    settings
        Model and training settings.
    seed
        Seed of all random draws but that of the validation cells; the same seed on the same machine gives the same embedding, bit
        for bit on a CPU. On a GPU sums run in another order each time, and training rounds the factors of products to TF32:
        trainings drift apart by rounding, as seeds do;
        :meth:`embed` of one model agrees with a CPU's to 1e-3.
    device
        Device of the tensors; by default the first GPU where there is one.
    memory_gib
        What values of a mosaic on disk (see :func:`mmaavi.mosaic.load`) may take at a time, on host and device.
    """

    def __init__(
        self,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        seed: int = 0,
        device: str | None = None,
        memory_gib: float = 4.0,
    ):
        self.settings, self.seed, self.memory_gib = settings, seed, memory_gib
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def fit(
        self,
        mosaic: Mosaic | md.MuData,
        labels: pd.Series | None = None,
        progress: bool = True,
        checkpoint: str | Path | None = None,
    ) -> "MMAAVI":
        """Train on a checked mosaic; its guidance graph is used where it has one. Sets ``history``.

        In several processes (``torchrun``, after ``torch.distributed.init_process_group``) each computes a share of every
        minibatch, and all end with the same model.

        Parameters
        ----------
        mosaic
            The cells. A MuData (see :func:`mmaavi.mosaic.from_mudata`) gets the results in place (see :meth:`annotate`).
        labels
            Labels by cell id, missing where not known: semi-supervised training. How common each is among the labelled cells is
            expected of all others too (p(c) of the mixture), little being left for cells of none (``new_1``, ...). Without
            labels none are used.
        progress
            Show a progress bar on a terminal.
        checkpoint
            File from which a training that was stopped goes on; it stays there. See :func:`mmaavi.train.train`.

        Raises
        ------
        InputError
            If values, mask or guidance graph cannot be used, a modality has a name that torch keeps for itself, or the
            labels are of other cells.
        """
        mdata, mosaic = mosaic, as_mosaic(mosaic)
        problems = check_trainable(mosaic)
        if checkpoint is not None and n_processes() > 1:
            problems.append(f"checkpoints are of one process, and there are {n_processes()}; leave 'checkpoint' out")
        problems += [f"the modality name '{m}' is taken; rename it" for m in mosaic.modalities if hasattr(nn.ModuleDict, m)]
        if problems:
            raise InputError("; ".join(problems))
        torch.manual_seed(self.seed)
        self.batches = mosaic.batches
        self.features = {m: table.index for m, table in mosaic.var.items()}
        total = sum(mosaic.n_features.values())
        self.graph = sp.csr_array((total, total), dtype=np.float32) if mosaic.guidance is None else mosaic.guidance
        self.labels, label = _numbered(labels, mosaic.cells)
        data = MosaicData(mosaic, self.batches, labels=label, device=self.device, memory_gib=self.memory_gib)
        self.scaling = data.scaling
        self.graph_share = graph_share(self.settings, mosaic.measured.to_numpy())
        strata = np.unique(np.column_stack([data.group, label]), axis=0, return_inverse=True)[1].ravel()
        split = split_cells(strata, self.settings.validation_share)
        self.network = self._new_network()
        edges = EdgeSampler(self.graph, device=self.device)
        checkpoint = None if checkpoint is None else Path(checkpoint)
        self.history = pd.DataFrame(train(self.network, data, edges, split, self.seed, progress, checkpoint))
        held_out = split.validation[label[split.validation] >= 0]
        self.temperature = fit_temperature(self._logits(data, held_out), label[held_out]) if len(held_out) else 1.0
        if isinstance(mdata, md.MuData):
            self.annotate(mdata)
        return self

    def _new_network(self) -> MosaicVAE:
        has_edges = self.graph.nnz > 0  # without any, its loss would only tell self-loops from chance
        weight_graph = self.settings.weight_graph if has_edges else 0.0
        settings = replace(self.settings, graph_share=self.graph_share, weight_graph=weight_graph)
        return MosaicVAE(settings, self.scaling, len(self.batches), self.graph, [*self.labels.values()]).to(self.device)

    @torch.no_grad()
    def embed(self, mosaic: Mosaic | md.MuData) -> dict[str, np.ndarray]:
        """Cell states of any cells with any subset of the modalities, of known batches or new ones.

        Nothing is trained: a new batch is z-scored by its own mean and sd, and read by the networks as they are. Rows follow
        the mosaic's cells.

        Returns
        -------
        ``X_mmaavi`` (n_cells, n_latent): posterior means; ``mmaavi_c`` (n_cells, K): mixture responsibilities;
        ``mmaavi_attention`` (n_cells, n_modalities): attention weights, NaN where a modality was not measured.

        Raises
        ------
        InputError
            If a modality or feature is not one of the training, or a feature of the training is missing.
        """
        data = self._data_of(as_mosaic(mosaic))
        out: dict[str, Tensor] = {}
        for batch in self._in_order(data):
            q_z, attention = self.network.encoder(batch)
            values = {
                "X_mmaavi": q_z.mean,
                "mmaavi_c": self.network.prior.q_c(q_z.mean).probs,
                "mmaavi_attention": attention.masked_fill(~batch.measured, torch.nan),
            }
            for name, value in values.items():
                if name not in out:
                    out[name] = value.new_empty((data.n_cells, value.shape[1]))
                out[name][batch.cells] = value
        return {name: value.cpu().numpy() for name, value in out.items()}

    def predict_labels(self, mosaic: Mosaic | md.MuData) -> pd.DataFrame:
        """Calibrated probabilities, cells x labels, of a model that was trained with labels.

        Components of the mixture that belong to no label (K larger than the number of labels) are ``new_1``, ``new_2``, ...:
        cells unlike all labelled ones. The predicted label is the column with the largest probability.
        """
        if not self.labels:
            raise InputError("the model was trained without labels; give some to fit(labels=...)")
        mosaic = as_mosaic(mosaic)
        data = self._data_of(mosaic)
        logits = self._logits(data, np.arange(data.n_cells)) / self.temperature
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        new = [f"{NEW}{i + 1}" for i in range(logits.shape[1] - len(self.labels))]
        return pd.DataFrame(probabilities / probabilities.sum(axis=1, keepdims=True), mosaic.cells, [*self.labels, *new])

    @torch.no_grad()
    def impute(self, mosaic: Mosaic | md.MuData, modality: str, depth: float | None = None) -> np.ndarray:
        """Expected values of a modality in each cell, measured there or not; float32 of shape (n_cells, G_m).

        Decoded from the posterior mean, as if in each batch of the training that has the modality, and averaged over those:
        only parameters that were trained are used. ``depth`` is the library size, by default the training's median. The
        values are dense: of very many cells, ask for some at a time (``mosaic.take``).
        """
        states = torch.tensor(self.embed(mosaic)["X_mmaavi"], device=self.device)
        return np.concatenate([self.decode(z, modality, depth).cpu().numpy() for z in states.split(CELLS_AT_ONCE)])

    def decode(self, z: Tensor, modality: str, depth: float | None = None) -> Tensor:
        """Expected values (n, G_m) of cell states (n, d), averaged over the training's batches that have the modality."""

        def expected(decoder: Decoder, *at: Tensor) -> Tensor:
            return decoder.mean(*at, self.scaling[modality].depth if depth is None else depth)

        return self._over_batches(expected, z, modality)

    def decode_logits(self, z: Tensor, modality: str) -> Tensor:
        """Logits (n, G_m) of cell states (n, d), averaged over the training's batches that have the modality."""
        return self._over_batches(lambda decoder, *at: decoder(*at), z, modality)

    @torch.no_grad()
    def _over_batches(self, decoded: Callable[..., Tensor], z: Tensor, modality: str) -> Tensor:
        """The mean of what is ``decoded`` with a decoder, states, feature embeddings and one of the batches that are known."""
        self.check_modality(modality)
        v = self.network.by_modality(self.network.graph.q_v().mean)[modality]
        known = np.flatnonzero(self.scaling[modality].known)
        batches = torch.tensor(known, device=z.device)[:, None].expand(-1, len(z))  # (B_m, n)
        return sum(decoded(self.network.decoder[modality], z, v, batch) for batch in batches) / len(known)

    def check_modality(self, modality: str) -> None:
        """InputError for one that the model does not have."""
        if modality not in self.features:
            raise InputError(f"the model has no modality '{modality}'; it has {listing(self.features)}")

    def differential(self, mosaic: Mosaic | md.MuData, modality: str, groups: pd.Series, **options) -> pd.DataFrame:
        """Features that differ between groups of cells; see :func:`mmaavi.differential.differential`."""
        mosaic = as_mosaic(mosaic)
        states = pd.DataFrame(self.embed(mosaic)["X_mmaavi"], index=mosaic.cells)
        rng = np.random.default_rng(self.seed)
        return differential.differential(self, states, modality, groups, rng=rng, **options)

    def links(
        self, mosaic: Mosaic | md.MuData, source: str, target: str, pairs: pd.DataFrame | None = None, **options
    ) -> pd.DataFrame:
        """Links between the features of two modalities, by what is decoded for cells; see :func:`mmaavi.links.links`."""
        return links.links(self, as_mosaic(mosaic), source, target, pairs, rng=np.random.default_rng(self.seed), **options)

    @torch.no_grad()
    def feature_embeddings(self, what: str = "mean") -> dict[str, pd.DataFrame]:
        """Modality -> feature embeddings V, features x n_latent: their posterior ``mean`` or ``sd``."""
        values = self.network.by_modality(getattr(self.network.graph.q_v(), what))
        return {m: pd.DataFrame(v.cpu().numpy(), index=self.features[m]) for m, v in values.items()}

    def annotate(self, mdata: md.MuData, imputed: Iterable[str] = ()) -> None:
        """Write states, responsibilities, clusters, attention, predicted labels and feature embeddings into a MuData.

        With ``imputed``, also the expected values of these modalities in the cells that have them (denoised), as the layer
        ``mmaavi_imputed``; those of other cells are given by :meth:`impute`.
        """
        mosaic = as_mosaic(mdata)
        rows = mosaic.cells.get_indexer(mdata.obs_names)
        for name, values in self.embed(mosaic).items():
            mdata.obsm[name] = values[rows]
        mdata.obs["mmaavi_cluster"] = pd.Categorical(mdata.obsm["mmaavi_c"].argmax(axis=1).astype(str))
        if self.labels:
            probabilities = self.predict_labels(mosaic).iloc[rows]
            mdata.obsm["mmaavi_label_probs"] = probabilities
            mdata.obs["mmaavi_label"] = pd.Categorical(probabilities.idxmax(axis=1))
        for slot, what in (("mmaavi_v", "mean"), ("mmaavi_v_sd", "sd")):
            for m, table in self.feature_embeddings(what).items():
                mdata[m].varm[slot] = table.loc[mdata[m].var_names].to_numpy()
        for m in imputed:
            columns = self.features[m].get_indexer(mdata[m].var_names)
            mdata[m].layers["mmaavi_imputed"] = self.impute(mosaic.take(mdata[m].obs_names), m)[:, columns]

    def adapt(self, mosaic: Mosaic | md.MuData, **options) -> "MMAAVI":
        """A copy that also decodes the mosaic's new batches; see :func:`mmaavi.query.adapt`."""
        return adapt(self, as_mosaic(mosaic), **options)

    def save(self, folder: str | Path) -> None:
        """Write a folder that :meth:`load` reads in any process: weights, settings, names, versions."""
        persistence.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> "MMAAVI":
        """A saved model."""
        return persistence.load(cls, Path(folder), device)

    def _data_of(self, mosaic: Mosaic) -> MosaicData:
        mosaic = with_all_modalities(mosaic, self.features)
        batches, scaling = extended_scaling(mosaic, self.batches, self.scaling)
        return MosaicData(mosaic, batches, scaling, device=self.device, memory_gib=self.memory_gib)

    def _in_order(self, data: MosaicData, cells: np.ndarray | None = None) -> Iterator:
        self.network.eval()
        yield from data.in_order(np.arange(data.n_cells) if cells is None else cells, CELLS_AT_ONCE)

    @torch.no_grad()
    def _logits(self, data: MosaicData, cells: np.ndarray) -> np.ndarray:
        """Logits of q(c | z) at the posterior means of some cells, of shape (n, K)."""
        out = np.empty((data.n_cells, self.network.prior.n_components), dtype=np.float32)
        for batch in self._in_order(data, cells):
            q_z, _ = self.network.encoder(batch)
            out[batch.cells.cpu()] = self.network.prior.q_c(q_z.mean).logits.cpu()
        return out[cells]


def _numbered(labels: pd.Series | None, cells: pd.Index) -> tuple[dict[str, int], np.ndarray]:
    """How many cells have each label, by its name, sorted; and the number of each cell's label (-1 for none)."""
    if labels is None:
        return {}, np.full(len(cells), -1)
    if not labels.index.isin(cells).any():
        raise InputError(
            f"none of the {len(labels)} labels is of a cell of the mosaic (such as {cells[0]}); index them by cell id"
        )
    known = labels.reindex(cells).astype("string")
    counts = known.value_counts().sort_index()
    return counts.to_dict(), pd.Categorical(known, categories=counts.index).codes.astype(np.int64)

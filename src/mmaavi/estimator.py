"""MMAAVI: fit a mosaic, embed cells."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from .checks import check_guidance
from .data import MosaicData
from .edges import EdgeSampler
from .errors import InputError, listing
from .model import MosaicVAE
from .mosaic import Mosaic
from .settings import Settings
from .train import train

CELLS_AT_ONCE = 1024
FEW_SHARED_CELLS = 10


class MMAAVI:
    """Mosaic integration by auto-scaling attention variational inference (Rong et al. 2024).

    Parameters
    ----------
    settings
        Model and training settings.
    seed
        Seed of all random draws; the same seed on the same machine gives the same embedding.
    device
        Device of the tensors; by default the first GPU where there is one.
    """

    def __init__(self, settings: Settings = Settings(), seed: int = 0, device: str | None = None):  # noqa: B008 - frozen
        self.settings, self.seed = settings, seed
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def fit(self, mosaic: Mosaic, progress: bool = True) -> "MMAAVI":
        """Train on a checked mosaic; its guidance graph is used where it has one. Sets ``history``.

        Raises
        ------
        InputError
            If the guidance graph cannot be used, or a modality has a name that torch keeps for itself.
        """
        problems = [] if mosaic.guidance is None else check_guidance(mosaic)
        problems += [f"the modality name '{m}' is taken; rename it" for m in mosaic.modalities if hasattr(nn.ModuleDict, m)]
        if problems:
            raise InputError("; ".join(problems))
        torch.manual_seed(self.seed)
        self.batches = mosaic.batches
        self.features = {m: table.index for m, table in mosaic.var.items()}
        total = sum(mosaic.n_features.values())
        graph = sp.csr_array((total, total), dtype=np.float32) if mosaic.guidance is None else mosaic.guidance
        data = MosaicData(mosaic, self.batches, device=self.device)
        self.scaling = data.scaling
        edges = EdgeSampler(graph, self.settings.n_negatives, self.device)
        shared = mosaic.measured.astype(int).T @ mosaic.measured.astype(int)  # cells that have both of two modalities
        linked = (shared.to_numpy() - np.diag(np.diag(shared))).max() > FEW_SHARED_CELLS
        if self.settings.graph_share is None:
            self.settings = replace(self.settings, graph_share=0.9 if linked else 0.99)
        self.network = MosaicVAE(self.settings, data.scaling, len(self.batches), graph).to(self.device)
        self.history = pd.DataFrame(train(self.network, data, edges, self.seed, progress))
        return self

    @torch.no_grad()
    def embed(self, mosaic: Mosaic) -> dict[str, np.ndarray]:
        """Cell states of any cells with any subset of the modalities; rows follow the mosaic's cells.

        Returns
        -------
        ``X_mmaavi`` (n_cells, n_latent): posterior means; ``mmaavi_c`` (n_cells, K): mixture responsibilities;
        ``mmaavi_attention`` (n_cells, n_modalities): attention weights, NaN where a modality was not measured.

        Raises
        ------
        InputError
            If features or batches differ from those of the training.
        """
        self._check_same(mosaic)
        data = MosaicData(mosaic, self.batches, self.scaling, self.device)
        self.network.eval()
        out: dict[str, Tensor] = {}
        for batch in data.in_order(np.arange(data.n_cells), CELLS_AT_ONCE):
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

    def _check_same(self, mosaic: Mosaic) -> None:
        if mosaic.modalities != list(self.features):
            raise InputError(
                f"the mosaic has the modalities {listing(mosaic.modalities)}, the model was trained with "
                f"{listing(self.features)}; give the same ones in the same order, without cells where nothing was measured"
            )
        for m, names in self.features.items():
            odd = names.symmetric_difference(mosaic.var[m].index)
            if len(odd) or not names.equals(mosaic.var[m].index):
                raise InputError(f"the features of '{m}' are not those of the training: {listing(odd) or 'another order'}")
        new = sorted(set(mosaic.batches) - set(self.batches))
        if new:
            raise InputError(f"the model was not trained with the batches {listing(new)}")

"""GLUE (Cao & Gao 2022, Nature Biotechnology 40, 1458), PyPI scglue 0.4.1, with the mosaic's guidance graph.

Input: counts (negative binomial); encoders read 100 principal components of scaled log-normalised values, or 100 LSI
components of ATAC, as in its tutorials. Each modality is one of its datasets, with the mosaic's batches; cells in several of
them are paired by name (``PairedSCGLUEModel``), and their state is the mean over modalities. Settings are its defaults: 50
latent dimensions, epochs by the number of cells, its own early stop; one more process shuffles its edges. Expected values
are decoded from the first modality that a cell has.
"""

from tempfile import TemporaryDirectory

import anndata as ad
import networkx as nx
import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from ..mosaic import Mosaic
from ..zero_filled import batches_with
from . import Result, beyond

PACKAGES = ("scglue", "scanpy")
ENVIRONMENT = "peers"


def unsupported(mosaic: Mosaic) -> str | None:
    if mosaic.guidance is None:
        return "it needs a guidance graph, and the dataset has none"
    bare = [m for m in mosaic.modalities if not mosaic.linked(m).any()]
    if len(mosaic.modalities) < 2 or bare:
        return "it aligns modalities by the guidance graph, which does not reach " + (", ".join(bare) or "a second one")
    return beyond(mosaic, mosaic.modalities)


def guidance_graph(mosaic: Mosaic, names: np.ndarray) -> nx.MultiDiGraph:
    """Both directions of each link, and a loop at each feature, with weights and signs."""
    links = sp.coo_array(mosaic.guidance)
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(names)
    for i, j, value in zip(*links.coords, links.data, strict=True):
        graph.add_edge(names[i], names[j], weight=float(min(abs(value), 1)), sign=int(np.sign(value)))
    graph.add_edges_from((name, name, {"weight": 1.0, "sign": 1}) for name in names)
    return graph


def run(mosaic: Mosaic, seed: int, latent_dim: int = 50, balance: bool = True, **fit_settings) -> Result:
    """``balance`` weighs cells by clusters that match in all modalities; ``fit_settings`` are those of ``SCGLUEModel.fit``.

    Raises InputError if no clusters match in all modalities, so that scglue's weights are 0 / 0.
    """
    import scanpy as sc
    import scglue

    adatas = {}
    for m, x in mosaic.counts.items():
        has = mosaic.measured[m].to_numpy()
        var = mosaic.var[m][[]].set_axis(mosaic.unique_features(m))
        adata = ad.AnnData(sp.csr_matrix(x[has]), obs=mosaic.obs.loc[has, ["batch"]], var=var)
        n = min(100, *(size - 1 for size in adata.shape))
        if m == "atac":
            scglue.data.lsi(adata, n_components=n, use_highly_variable=False, n_iter=15, random_state=seed)
        else:
            read = sc.pp.log1p(sc.pp.normalize_total(adata, copy=True), copy=True)
            sc.pp.scale(read)
            adata.obsm["X_pca"] = sc.pp.pca(read.X, n_comps=n, random_state=seed)
        options = {"use_highly_variable": False, "use_batch": "batch", "use_obs_names": True}
        scglue.models.configure_dataset(adata, "NB", use_rep="X_lsi" if m == "atac" else "X_pca", **options)
        adatas[m] = adata
    graph = guidance_graph(mosaic, np.concatenate([a.var_names for a in adatas.values()]))
    paired = (mosaic.measured.sum(axis=1) > 1).any()
    kind = scglue.models.PairedSCGLUEModel if paired else scglue.models.SCGLUEModel
    how = {"model": kind, "skip_balance": not balance, "init_kws": {"latent_dim": latent_dim, "random_seed": seed}}
    with TemporaryDirectory() as folder:
        model = scglue.models.fit_SCGLUE(adatas, graph, fit_kws={"directory": folder} | fit_settings, **how)
    if balance and any(a.obs["balancing_weight"].isna().any() for a in adatas.values()):
        raise InputError(
            "GLUE found no clusters of cells that match in all modalities: set 'balance: false' in a variant, or more max_epochs"
        )
    states = np.full((len(mosaic.modalities), len(mosaic.cells), latent_dim), np.nan, dtype=np.float32)
    for state, (m, adata) in zip(states, adatas.items(), strict=True):
        state[mosaic.measured[m].to_numpy()] = model.encode_data(m, adata)

    def impute(cells: Mosaic, modality: str) -> np.ndarray:
        values = np.empty((len(cells.cells), mosaic.n_features[modality]), dtype=np.float32)
        first = cells.measured.to_numpy().argmax(axis=1)
        for number, source in enumerate(mosaic.modalities):
            rows = np.flatnonzero(first == number)
            if len(rows):
                known = adatas[source][cells.cells[rows]]
                decoded = [
                    model.decode_data(source, modality, known, graph, target_batch=np.repeat(b, len(rows)))
                    for b in batches_with(mosaic, modality)
                ]
                values[rows] = sum(decoded) / len(decoded)
        return values

    settings = {"latent_dim": latent_dim, "balance": balance, **fit_settings}
    return Result(np.nanmean(states, axis=0), settings=settings, impute=impute)

"""MIDAS (He et al. 2024, Nature Biotechnology 42, 1594), PyPI scmidas 0.3.0.

Input: counts of RNA, protein and ATAC; ATAC is binarised by it, and encoded by chromosome where the peaks have coordinates.
Settings are the defaults of its one call ``scmidas.integrate`` (65 epochs of every batch resampled to the largest, 128 cells
a step, learning rate 3e-4; 32 biological latent dimensions). Its authors advise 1000 to 2000 epochs, 256 cells a step and
1e-4 for full datasets, which is hours on a CPU: a variant can ask for them. It draws no validation cells and has no early
stop.
"""

from functools import cache
from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..mosaic import Mosaic
from . import Result, beyond

PACKAGES = ("scmidas", "lightning")
ENVIRONMENT = "midas"
NAMES = {"rna": "rna", "protein": "adt", "atac": "atac"}


def unsupported(mosaic: Mosaic) -> str | None:
    return beyond(mosaic, NAMES)


def run(mosaic: Mosaic, seed: int, max_epochs: int = 65, batch_size: int = 128, lr: float = 3e-4, **model_settings) -> Result:
    """``model_settings`` are entries of ``scmidas.load_config()``, such as ``dim_c``."""
    import lightning
    import scmidas
    from mudata import MuData

    lightning.seed_everything(seed, verbose=False)
    group = mosaic.groups  # what it calls a batch has the same modalities in all cells
    order = {m: np.arange(n) for m, n in mosaic.n_features.items()}
    parts, chunks = {}, {}
    for m, x in mosaic.counts.items():
        if m == "atac" and "chrom" in mosaic.var[m]:
            chromosome = pd.Categorical(mosaic.var[m]["chrom"].astype(str))
            order[m] = np.argsort(chromosome.codes, kind="stable")
            chunks["atac"] = chromosome.value_counts().tolist()
        has = mosaic.measured[m].to_numpy()
        obs = pd.DataFrame({"batch": group[has]})
        var = pd.DataFrame(index=mosaic.unique_features(m)[order[m]])
        parts[NAMES[m]] = ad.AnnData(sp.csr_matrix(x[has][:, order[m]]), obs=obs, var=var)
    data = MuData(parts)
    scmidas.MIDAS.setup_mudata(data, batch_key="batch", dims_x=chunks or None)
    config = scmidas.load_config() | {"lr_net": lr, "lr_dsc": lr}
    config |= {"num_workers": 0, "persistent_workers": False, "pin_memory": False} | model_settings
    if "atac" in parts and len(chunks.get("atac", [0])) == 1:
        config = {k: v for k, v in config.items() if k not in ("dims_before_enc_atac", "dims_after_dec_atac")}
    with TemporaryDirectory() as folder:
        model = scmidas.MIDAS(data, configs=config, batch_size=batch_size, save_model_path=folder)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        model.train(max_epochs=max_epochs, **quiet)
    rows = pd.Index(data.obs_names)

    @cache
    def imputed(modality: str) -> np.ndarray:
        values = model.get_imputed_values(modality=NAMES[modality])
        return values[:, np.argsort(order[modality])]

    settings = {"max_epochs": max_epochs, "batch_size": batch_size, "lr": lr, "n_latent": config["dim_c"]}
    embedding = model.get_latent_representation()[rows.get_indexer(mosaic.cells)]
    return Result(embedding, settings=settings, impute=lambda cells, m: imputed(m)[rows.get_indexer(cells.cells)])

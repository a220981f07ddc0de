"""MultiVI (Ashuach et al. 2023, Nature Methods 20, 1222) of scvi-tools 1.4.2.

Input: counts of RNA and ATAC, and of protein where there is some; a missing modality is all zeros, as its documentation
says, and the batch is the mosaic's, which has to be of cells measured alike. Settings are the defaults of scvi-tools (up to
500 epochs of all cells, 128 a step, AdamW with learning rate 1e-4, its own early stop after 50 epochs without a better
validation loss); latent dimensions: the square root of the hidden units, which are the square root of the number of features.
Expected RNA and ATAC are decoded as if in each batch that has the modality, and averaged; it has none of protein, which gets
the nearest cells that have it.
"""

import numpy as np

from ..errors import listing
from ..imputation import knn_imputed
from ..mosaic import Mosaic
from ..zero_filled import batches_with, zero_filled
from . import Result, beyond

PACKAGES = ("scvi",)
ENVIRONMENT = "peers"


def unsupported(mosaic: Mosaic) -> str | None:
    if not {"rna", "atac"} <= set(mosaic.modalities):
        return "it is a model of RNA and ATAC, and one of the two is missing"
    n_patterns = mosaic.patterns.groupby(mosaic.obs["batch"].to_numpy()).nunique()
    if mixed := sorted(n_patterns.index[n_patterns > 1]):
        return f"in batch {listing(mixed)} only some cells have a modality, and its batches are of cells measured alike"
    return beyond(mosaic, ("rna", "atac", "protein"))


def run(mosaic: Mosaic, seed: int, max_epochs: int = 500, early_stopping: bool = True, **model_settings) -> Result:
    """``model_settings`` are those of ``scvi.model.MULTIVI``, such as ``n_latent``."""
    import scvi

    scvi.settings.seed = seed
    layers = {f"{m}_layer": m for m in mosaic.modalities} | {"batch_key": "rna"}

    data = zero_filled(mosaic)
    scvi.model.MULTIVI.setup_mudata(data, batch_key="batch", modalities=layers)
    sizes = {"n_genes": mosaic.n_features["rna"], "n_regions": mosaic.n_features["atac"]}
    model = scvi.model.MULTIVI(data, **sizes, **model_settings)
    model.train(max_epochs=max_epochs, early_stopping=early_stopping, enable_progress_bar=False)
    embedding = model.get_latent_representation()

    def embed(cells: Mosaic) -> np.ndarray:
        data = zero_filled(cells)
        data.obs["_indices"] = np.arange(data.n_obs)  # as setup_mudata numbers the cells
        return model.get_latent_representation(data)

    def impute(cells: Mosaic, modality: str) -> np.ndarray:
        if modality == "protein":
            return knn_imputed(mosaic, embedding, cells.cells, modality)
        rows = mosaic.cells.get_indexer(cells.cells)
        known = batches_with(mosaic, modality)
        if modality == "rna":
            return model.get_normalized_expression(indices=rows, transform_batch=known, return_numpy=True)
        asked = {"indices": rows, "normalize_regions": True, "return_numpy": True}  # as observed: with the regions' own factors
        of_batch = (model.get_normalized_accessibility(transform_batch=b, **asked) for b in known)
        return sum(of_batch) / len(known)

    return Result(
        embedding,
        settings={"max_epochs": max_epochs, "n_latent": embedding.shape[1], "epochs": len(model.history["elbo_train"])},
        embed=embed,
        impute=impute,
    )

"""totalVI (Gayoso et al. 2021, Nature Methods 18, 272) of scvi-tools 1.4.2.

Input: counts of RNA and protein; proteins of a batch without any are zeros, which it takes as missing, as its documentation says.
It has no such rule for RNA: cells with protein alone have zeros there too. Settings are the defaults of scvi-tools (20 latent
dimensions, up to 400 epochs, 256 cells a step, learning rate 4e-3 reduced on plateaus, its own early stop). Expected values
are decoded as if in each batch that has the modality, from 25 draws of the cell's state (as in its tutorial), and averaged.
"""

import numpy as np

from ..errors import listing
from ..mosaic import Mosaic
from ..zero_filled import batches_with, zero_filled
from . import Result, beyond

PACKAGES = ("scvi",)
ENVIRONMENT = "peers"
N_SAMPLES = 25


def unsupported(mosaic: Mosaic) -> str | None:
    if not {"rna", "protein"} <= set(mosaic.modalities):
        return "it is a model of RNA and protein, and one of the two is missing"
    share = mosaic.measured["protein"].groupby(mosaic.obs["batch"].to_numpy()).mean()
    if mixed := sorted(share.index[(share > 0) & (share < 1)]):
        return f"in batch {listing(mixed)} only some cells have protein, and it would take the others' for zeros"
    return beyond(mosaic, ("rna", "protein"))


def run(
    mosaic: Mosaic, seed: int, n_latent: int = 20, max_epochs: int | None = None, early_stopping: bool = True, **model_settings
) -> Result:
    """``model_settings`` are those of ``scvi.model.TOTALVI``; epochs by default as scvi-tools chooses them."""
    import scvi

    scvi.settings.seed = seed
    layers = {"rna_layer": "rna", "protein_layer": "protein", "batch_key": "rna"}
    data = zero_filled(mosaic)
    scvi.model.TOTALVI.setup_mudata(data, batch_key="batch", modalities=layers)
    model = scvi.model.TOTALVI(data, n_latent=n_latent, **model_settings)
    model.train(max_epochs=max_epochs, early_stopping=early_stopping, enable_progress_bar=False)

    def impute(cells: Mosaic, modality: str) -> np.ndarray:
        rows = mosaic.cells.get_indexer(cells.cells)
        known = batches_with(mosaic, modality)
        asked = {"n_samples": N_SAMPLES, "return_mean": True, "include_protein_background": True}  # as counts: with background
        rna, protein = model.get_normalized_expression(indices=rows, transform_batch=known, return_numpy=True, **asked)
        return rna if modality == "rna" else protein

    return Result(
        model.get_latent_representation(),
        settings={"n_latent": n_latent, "epochs": len(model.history["elbo_train"])},
        embed=lambda cells: model.get_latent_representation(zero_filled(cells)),
        impute=impute,
    )

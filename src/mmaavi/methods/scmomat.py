"""scMoMaT (Zhang et al. 2023, Nature Communications 14, 384): joint matrix tri-factorisation, PyPI scmomat 0.2.2.

Input, as in its authors' scripts: ATAC binarised; RNA quantile-normalised; protein logged and quantile-normalised; both
divided by their maximum. Cells with ATAC and no RNA get binarised gene activity from the guidance graph as RNA. The
embedding is the cell factors, 30 of them; defaults are the package's (4000 iterations of 10% of cells and features, learning
rate 0.01, lambda 0.001). All matrices are dense. Its post-processing gives a neighbourhood graph and no embedding, and is
left out.
"""

from contextlib import redirect_stdout
from io import StringIO

import numpy as np

from ..activity import measured_with_activity, with_gene_activity
from ..mosaic import Mosaic
from . import Result, no_counts

PACKAGES = ("scmomat",)
ENVIRONMENT = "peers"
LARGEST_GIB = 16


def unsupported(mosaic: Mosaic) -> str | None:
    """Why not: too few cells or features to draw a tenth of, dense matrices that do not fit, or values with a sign."""
    smallest = min(mosaic.groups.value_counts().min(), *mosaic.n_features.values())
    if smallest < 10:
        return f"it trains on a tenth of each group of cells and of each modality's features, and one has only {smallest}"
    measured = measured_with_activity(mosaic)
    dense = sum(measured[m].sum() * n * 12 for m, n in mosaic.n_features.items()) / 2**30  # float64, and a float32 copy
    return f"its dense matrices would take {dense:.0f} GiB" if dense > LARGEST_GIB else no_counts(mosaic)


def run(
    mosaic: Mosaic, seed: int, K: int = 30, T: int = 4000, batch_size: float = 0.1, lr: float = 1e-2, lamb: float = 0.001
) -> Result:
    """Settings have the package's names: factors ``K``, iterations ``T``, share drawn, learning rate, weight of the penalty."""
    import scmomat

    groups = mosaic.groups
    bridged = with_gene_activity(mosaic)
    rows = {g: np.flatnonzero(groups == g) for g in sorted(groups.unique())}
    counts: dict = {m: [] for m in mosaic.modalities}
    for cells in rows.values():
        for m, x in bridged.counts.items():
            if not bridged.measured[m].iloc[cells[0]]:
                counts[m].append(None)
                continue
            dense = x[cells].toarray()
            pseudo = not mosaic.measured[m].iloc[cells[0]]
            like_atac = pseudo or m == "atac"
            counts[m].append(scmomat.preprocess(dense, modality="ATAC" if like_atac else "RNA", log=m != "rna"))
    counts |= {"nbatches": len(rows), "feats_name": {m: table.index.to_numpy() for m, table in mosaic.var.items()}}
    with redirect_stdout(StringIO()):
        model = scmomat.scmomat_model(counts, K=K, batch_size=batch_size, interval=T, lr=lr, lamb=lamb, seed=seed)
        model.train_func(T=T)
    embedding = np.empty((len(mosaic.cells), K), dtype=np.float32)
    for cells, factors in zip(rows.values(), model.extract_cell_factors(), strict=True):
        embedding[cells] = factors
    return Result(embedding, settings={"K": K, "T": T, "batch_size": batch_size, "lr": lr, "lamb": lamb})

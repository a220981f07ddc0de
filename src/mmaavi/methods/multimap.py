"""MultiMAP (Jain et al. 2021, Genome Biology 22, 346), at the commit of ``envs/multimap.yaml``.

Written after its documentation and never run by us: it is on GitHub alone, which our test machines cannot reach. Input:
log-normalised counts, 50 principal components of each batch, or its TF-IDF and LSI where ATAC alone was measured. Any two
batches must share features; gene activity from the guidance graph bridges ATAC and RNA, as in its tutorial. Defaults are the
package's, but for its 2 dimensions, which are for pictures: scores are of 10.
"""

import anndata as ad
import numpy as np
import scipy.sparse as sp

from ..activity import measured_with_activity, with_gene_activity
from ..mosaic import Mosaic
from ..normalisation import log_normalised
from . import Result, no_counts

PACKAGES = ("MultiMAP", "scanpy")
ENVIRONMENT = "multimap"
DEPTH = 1e4


def unsupported(mosaic: Mosaic) -> str | None:
    masks = measured_with_activity(mosaic).drop_duplicates().to_numpy(dtype=int)
    if not (masks @ masks.T > 0).all():
        return "two batches share no features, not even by gene activity"
    return no_counts(mosaic)


def run(mosaic: Mosaic, seed: int, n_components: int = 10, n_reduced: int = 50) -> Result:
    """``n_components`` dimensions of the embedding, from ``n_reduced`` of each batch."""
    import MultiMAP
    import scanpy as sc

    np.random.seed(seed)  # noqa: NPY002 - it draws from the global generator
    bridged = with_gene_activity(mosaic)
    groups = mosaic.groups.to_numpy()
    parts, reduced, order = [], [], []
    for name in sorted(set(groups)):
        rows = np.flatnonzero(groups == name)
        has = bridged.measured.columns[bridged.measured.iloc[rows[0]]]
        values = [log_normalised(bridged.counts[m][rows], DEPTH) for m in has]
        names = np.concatenate([bridged.unique_features(m) for m in has])
        part = ad.AnnData(sp.csr_matrix(sp.hstack(values)))
        part.var_names, part.obs_names = names, mosaic.cells[rows]
        if mosaic.patterns.iloc[rows[0]] == "atac":
            peaks = ad.AnnData(sp.csr_matrix(mosaic.counts["atac"][rows]))
            MultiMAP.TFIDF_LSI(peaks, n_comps=n_reduced, random_state=seed)
            part.obsm["X_lsi"] = peaks.obsm["X_lsi"]
        else:
            sc.pp.pca(part, n_comps=n_reduced, random_state=seed)
        parts.append(part)
        reduced.append("X_lsi" if "X_lsi" in part.obsm else "X_pca")
        order.append(rows)
    joint = MultiMAP.Integration(parts, reduced, n_components=n_components)
    embedding = np.empty((len(mosaic.cells), n_components), dtype=np.float32)
    embedding[np.concatenate(order)] = joint.obsm["X_multimap"]
    return Result(embedding, settings={"n_components": n_components})

"""What libraries compile at first use: kept on disk, else every job that scores or lays out would compile it anew."""

import os
from pathlib import Path

FOLDER = ".snakemake/compiled"  # in the working directory; JAX_COMPILATION_CACHE_DIR and NUMBA_CACHE_DIR name others


def keep_compiled() -> None:
    """Read and keep kernels of jax and numba in folders. To be called before either is used."""
    import jax
    import numba
    from umap import layouts, umap_

    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{FOLDER}/jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", str(Path(FOLDER, "numba").resolve()))
    # What UMAP's graph and layout run, and UMAP does not keep itself.
    for kernel in (
        umap_.smooth_knn_dist,
        umap_.compute_membership_strengths,
        layouts._nb_optimize_layout_euclidean_single_epoch,
    ):
        kernel.enable_caching()

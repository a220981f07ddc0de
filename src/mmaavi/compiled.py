"""Compiled code kept on disk: else every job that scores or lays out would compile it anew.

To be imported first. It tells jax and numba to keep their kernels, also those that pynndescent compiles when it is imported, and
those of UMAP's graph and layout.
"""

import os
from pathlib import Path
from unittest import mock

import jax
import numba

FOLDER = ".snakemake/compiled"  # in the working directory; JAX_COMPILATION_CACHE_DIR and NUMBA_CACHE_DIR name others

jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{FOLDER}/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", str(Path(FOLDER, "numba").resolve()))

_njit = numba.njit


def _kept(*args, **options):
    """numba.njit, which keeps what it compiles at once: functions that are given with their types."""
    return _njit(*args, **{"cache": bool(args) and not callable(args[0])} | options)


with mock.patch.object(numba, "njit", _kept):
    from umap import layouts, umap_

for kernel in (umap_.smooth_knn_dist, umap_.compute_membership_strengths, layouts._nb_optimize_layout_euclidean_single_epoch):
    kernel.enable_caching()

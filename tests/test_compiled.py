import os

from umap import layouts, umap_

from mmaavi.compiled import keep_compiled


def test_what_scoring_and_layouts_compile_is_kept_in_one_folder():
    keep_compiled()  # the folder is that of conftest.py
    for kernel in (umap_.smooth_knn_dist, umap_.compute_membership_strengths, layouts._nb_optimize_layout_euclidean_single_epoch):
        assert kernel.stats.cache_path.startswith(os.environ["NUMBA_CACHE_DIR"])

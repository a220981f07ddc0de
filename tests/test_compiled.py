import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
PROGRAM = """
import mmaavi.compiled
from pynndescent import distances
from umap import layouts, umap_
kernels = (umap_.smooth_knn_dist, umap_.compute_membership_strengths, layouts._nb_optimize_layout_euclidean_single_epoch)
print(*{os.path.dirname(k.stats.cache_path) for k in (*kernels, distances.squared_euclidean)})
print(sum(distances.squared_euclidean.stats.cache_hits.values()))
"""


def test_what_scoring_and_layouts_compile_is_kept_in_one_folder(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SRC)}  # the folder is that of conftest.py
    command = [sys.executable, "-c", "import os" + PROGRAM]
    for _ in range(2):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    folders, hits = done.stdout.splitlines()
    assert all(folder.startswith(os.environ["NUMBA_CACHE_DIR"]) for folder in folders.split())
    assert int(hits) > 0

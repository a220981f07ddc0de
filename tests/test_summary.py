"""What ``snakemake check`` says, counted by hand."""

import sys
import types

import numpy as np
import pandas as pd
import pytest

from mmaavi import scenarios, summary
from mmaavi.methods import unsupported
from mmaavi.plots.mosaic import mosaic_blocks


@pytest.fixture
def halves(mosaic):
    return scenarios.hide(mosaic, {"batch1": ["atac"]})


def test_blocks_count_cells_features_depth_and_density(halves):
    mosaic, truth = halves
    table = summary.blocks(mosaic, truth).set_index(["batch", "modality"])
    assert table["state"].unstack().to_dict("index") == {
        "batch1": {"rna": "measured", "atac": "hidden", "protein": "absent"},
        "batch2": {"rna": "measured", "atac": "absent", "protein": "measured"},
        "batch3": {"rna": "absent", "atac": "measured", "protein": "measured"},
    }
    for (batch, m), row in table.iterrows():
        of = truth if row["state"] == "hidden" else mosaic
        x = of.counts[m].toarray()[((of.obs["batch"] == batch) & of.measured[m]).to_numpy()]
        assert row["cells"] == len(x)
        if len(x):
            assert row["features"] == (x.sum(axis=0) > 0).sum()
            assert row["depth"] == pytest.approx(np.median(x.sum(axis=1)))
            assert row["density"] == pytest.approx((x > 0).mean())


def test_reach_counts_edges_by_pair_and_features_with_one(mosaic):
    edges, reach = summary.reach(mosaic)
    graph = mosaic.guidance.toarray()
    n_rna, n_atac = mosaic.n_features["rna"], mosaic.n_features["atac"]
    assert edges.set_index("pair")["edges"].to_dict() == {
        "rna - atac": (graph[:n_rna, n_rna : n_rna + n_atac] != 0).sum(),
        "rna - protein": (graph[:n_rna, n_rna + n_atac :] != 0).sum(),
    }
    assert reach.set_index("modality").loc["atac", "reached"] == (graph[n_rna : n_rna + n_atac] != 0).any(axis=1).sum()


def test_the_report_says_all_of_it(halves):
    mosaic, truth = halves
    kind = np.where(mosaic.obs["batch"] == "batch2", None, "T")
    labels = pd.DataFrame({"batch": mosaic.obs["batch"], "pattern": mosaic.patterns, "kind": kind})
    assert summary.label_coverage(labels)["kind"].to_dict() == {"batch1": 1, "batch2": 0, "batch3": 1}
    assemblies = pd.DataFrame({"share_touching": [0.9], "genes_found": [40]}, index=["hg19"])
    text = summary.report("d / full", mosaic, truth, labels, assemblies, ["pca", "shuffled"])
    assert text.startswith(f"d / full: {len(mosaic.cells)} cells in 3 batches, 3 modalities")
    assert ", hidden)" in text
    assert "hg19: 90.0% (40 genes known)" in text
    assert "pca: can run" in text
    bare = summary.report("d / full", mosaic.take_features({}), truth, labels, assemblies[:0], [])
    assert "by assembly" not in bare


def test_a_method_says_why_it_cannot_run(mosaic, monkeypatch):
    picky = types.ModuleType("mmaavi.methods.picky")
    picky.unsupported = lambda mosaic: "it needs paired cells" if len(mosaic.modalities) > 2 else None
    monkeypatch.setitem(sys.modules, "mmaavi.methods.picky", picky)
    assert unsupported("picky", mosaic) == "it needs paired cells"
    assert summary.abilities(mosaic, ["picky", "pca"]) == {"picky": "cannot run: it needs paired cells", "pca": "can run"}


def test_the_picture_fills_what_was_measured(halves):
    mosaic, truth = halves
    table = summary.blocks(mosaic, truth)
    cells = mosaic.obs.groupby("batch").size()
    figure = mosaic_blocks(table, cells, pd.Series(dtype=float), *summary.reach(mosaic), "Title")
    figure.canvas.draw()
    tiles = figure.axes[0]
    filled = [patch for patch in tiles.patches if patch.get_facecolor()[3] > 0]
    hatched = [patch for patch in tiles.patches if patch.get_hatch()]
    assert (len(tiles.patches), len(filled), len(hatched)) == (9, (table["state"] == "measured").sum(), 1)
    assert [t.get_text() for t in tiles.get_yticklabels()] == ["batch2", "batch1", "batch3"]  # by pattern
    said = " | ".join(t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")))
    assert "hidden, kept as truth" in said
    assert f"{cells['batch1']}" in said

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mmaavi import guidance
from mmaavi.errors import InputError
from mmaavi.readers.tables import read_lines


def table(rows, columns=("chrom", "start", "end", "strand")):
    return pd.DataFrame([r[1:] for r in rows], columns=list(columns), index=[r[0] for r in rows])


GENES = table(
    [("fwd", "chr1", 10_000, 20_000, "+"), ("rev", "chr1", 10_000, 20_000, "-"), ("none", np.nan, np.nan, np.nan, np.nan)]
)


@pytest.mark.parametrize(
    ("start", "end", "linked"),
    [
        (7_000, 8_000, set()),  # half-open: ends where the window of 'fwd' begins
        (7_000, 8_001, {"fwd"}),
        (9_999, 10_001, {"fwd", "rev"}),
        (21_999, 22_100, {"rev"}),
        (22_000, 22_100, set()),
    ],
)
def test_the_promoter_lies_upstream_on_the_genes_own_strand(start, end, linked):
    edges = guidance.overlap_edges(GENES, table([("peak", "chr1", start, end, ".")]), upstream=2000)
    assert set(edges["source"]) == linked


def test_overlaps_agree_with_brute_force(rng):
    starts = rng.integers(0, 100_000, 60)
    chroms, strands = rng.choice(["chr1", "chr2"], 60), rng.choice(["+", "-"], 60)
    genes = table([(f"g{i}", chroms[i], starts[i], starts[i] + 5_000, strands[i]) for i in range(60)])
    at = rng.integers(0, 100_000, 200)
    peaks = table([(f"p{i}", rng.choice(["chr1", "chr2"]), at[i], at[i] + 300, ".") for i in range(200)])
    expected = set()
    for g in genes.itertuples():
        low, high = (g.start - 2000, g.end) if g.strand == "+" else (g.start, g.end + 2000)
        expected |= {
            (g.Index, p.Index) for p in peaks.itertuples() if p.chrom == g.chrom and p.start < high and p.end > max(low, 0)
        }
    found = guidance.overlap_edges(genes, peaks, upstream=2000)
    assert set(map(tuple, found.to_numpy())) == expected
    assert len(found) == len(expected)


def test_aliases_match_whole_names_without_case():
    genes = pd.Index(["CD4", "CD44", "Ptprc", "ITGB7"])
    proteins = pd.Index(["cd4.1", "CD45", "integrin", "CD4-like"])
    edges = guidance.alias_edges(genes, proteins, {"cd45": ["PTPRC", "CD"], "integrin": []}, ignore_suffix=r"\.\d+")
    assert set(map(tuple, edges.to_numpy())) == {("CD4", "cd4.1"), ("Ptprc", "CD45")}


def test_coordinates_are_the_same_from_every_format(tmp_path):
    (tmp_path / "a.bed").write_text("chr1\t99\t200\tG1\t-\nchr2\t5\t9\tG2\t+\nchrX\t99\t200\tG2\t+\n")
    (tmp_path / "b.bed").write_text("chr1\t99\t200\tG1\t0\t-\nchr2\t5\t9\tG2\t0\t+\nchrX\t99\t200\tG2\t0\t+\n")
    (tmp_path / "c.tsv").write_text(
        "name\tchrom\tstart\tend\tstrand\nG1\tchr1\t99\t200\t-\nG2\tchr2\t5\t9\t+\nG2\tchrX\t99\t200\t+\n"
    )
    line = '{}\tx\tgene\t{}\t{}\t.\t{}\t.\tgene_id "i"; gene_name "{}";\n'
    rows = [("chr1", 100, 200, "-", "G1"), ("chr2", 6, 9, "+", "G2"), ("chrX", 100, 200, "+", "G2")]
    (tmp_path / "d.gtf").write_text("#!x\n" + "".join(line.format(*r) for r in rows))
    tables = [guidance.read_coordinates(str(p)) for p in sorted(tmp_path.iterdir())]
    assert list(tables[0].loc["G1"]) == ["chr1", 99, 200, "-"]
    assert list(tables[0].loc["G2", "chrom"]) == ["chrX", "chr2"]  # both loci, the longer one first
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other, tables[0], check_dtype=False, check_names=False)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.bed", "chr1\t1\t2\tG\n", "4 columns; expected chrom"),
        ("a.tsv", "gene\tchrom\n", "lacks the columns"),
        ("a.xlsx", "", "are read from .bed"),
    ],
)
def test_coordinate_files_that_cannot_be_read_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        guidance.read_coordinates(str(tmp_path / name))


def test_peak_names_hold_coordinates():
    parsed = guidance.parse_peaks(pd.Index(["chr1_10_20", "chr1_GL45_random:5-7", "chrX-1-2"]))
    assert list(parsed["chrom"]) == ["chr1", "chr1_GL45_random", "chrX"]
    assert list(parsed["end"]) == [20, 7, 2]
    with pytest.raises(InputError, match="1 peak names hold no coordinates \\(peak7\\)"):
        guidance.parse_peaks(pd.Index(["chr1_10_20", "peak7"]))


def test_the_graph_is_symmetric_signed_and_weighted(mosaic):
    gene, protein = mosaic.var["rna"].index[3], mosaic.var["protein"].index[2]
    edges = pd.DataFrame({"source": [gene], "target": [protein], "weight": [2.0], "sign": [-1]})
    graph = guidance.build_guidance(mosaic, [("rna", "protein", edges)])
    at = mosaic.n_features["rna"] + mosaic.n_features["atac"] + 2
    assert graph[3, at] == graph[at, 3] == -2.0
    assert graph.nnz == 2


@pytest.mark.parametrize(
    ("edges", "target", "message"),
    [
        ({"weight": [0.0]}, "protein", "weights must be finite and > 0"),
        ({"weight": [np.nan]}, "protein", "weights must be finite and > 0"),
        ({"sign": [2]}, "protein", "signs 1 or -1"),
        ({"source": ["gene999"]}, "protein", "features that 'rna' lacks: gene999"),
        ({}, "proteins", "did you mean 'protein'"),
    ],
)
def test_edges_that_cannot_be_are_refused(mosaic, edges, target, message):
    row = {"source": [mosaic.var["rna"].index[0]], "target": [mosaic.var["protein"].index[0]]}
    with pytest.raises(InputError, match=message):
        guidance.build_guidance(mosaic, [("rna", target, pd.DataFrame(row | edges))])


def test_genes_without_coordinates_are_counted_and_named(mosaic):
    bare = guidance.with_gene_coordinates(mosaic, "rna", mosaic.var["rna"].iloc[5:])
    with pytest.raises(InputError, match="5 of 40 features of 'rna' have no coordinates \\(gene000"):
        guidance.check_coordinates(bare, "rna")
    guidance.check_coordinates(bare, "rna", allow_missing=0.2)


def test_peaks_and_genes_with_half_their_coordinates_are_named(mosaic):
    table = mosaic.var["atac"].astype({"start": float})
    table.loc[table.index[2], "start"] = np.nan
    with pytest.raises(InputError, match=f"1 of .* 'atac' lack chrom, start or end .*{table.index[2]}"):
        guidance.with_peak_coordinates(replace(mosaic, var=mosaic.var | {"atac": table}), "atac")
    strandless = replace(mosaic, var=mosaic.var | {"rna": mosaic.var["rna"].drop(columns="strand")})
    with pytest.raises(InputError, match="features of 'rna' have no strand"):
        guidance.check_coordinates(strandless, "rna")


def test_a_shared_assembly_check_refuses_the_wrong_one():
    report = pd.DataFrame({"share_touching": [0.9, 0.5]}, index=["hg19", "hg38"])
    guidance.check_assembly(report, "hg19")
    with pytest.raises(InputError, match="do not fit the assembly 'hg38'.*hg19 90.0%.*Set 'assembly: hg19'"):
        guidance.check_assembly(report, "hg38")


# On the real files: facts measured once on what was published.


def real_report(mirror, folder):
    genes, regions = (read_lines(mirror / folder / f"{name}.txt") for name in ("genes", "regions"))
    peaks = guidance.parse_peaks(regions)
    known = {a: guidance.read_coordinates(str(mirror / f"annotation/{a}_genes.bed")) for a in ("hg19", "hg38", "mm10")}
    return genes, peaks, known, guidance.assembly_report(genes, peaks, known)


def published(mirror, folder, genes, peaks):
    graph = sp.load_npz(mirror / folder / "GxR.npz").tocoo()
    return set(zip(genes[graph.row], peaks.index[graph.col], strict=True))


@pytest.mark.parametrize(
    ("folder", "assembly", "n_edges", "n_published"),
    [("mop", "mm10", 24_164, 24_073), ("pbmc", "hg19", 15_971, 15_786), ("pbmc", "hg38", 7_779, 4_508)],
)
def test_real_edges_reproduce_the_published_table(mirror, folder, assembly, n_edges, n_published):
    genes, peaks, known, _ = real_report(mirror, folder)
    loci = known[assembly]
    edges = guidance.overlap_edges(loci[loci.index.isin(genes)], peaks)
    assert len(edges) == n_edges
    assert len(set(map(tuple, edges.to_numpy())) & published(mirror, folder, genes, peaks)) == n_published


def test_real_assemblies_are_told_apart(mirror):
    *_, mop = real_report(mirror, "mop")
    assert mop.loc["mm10", "genes_found"] == 1_674
    guidance.check_assembly(mop, "mm10")
    *_, pbmc = real_report(mirror, "pbmc")
    guidance.check_assembly(pbmc, "hg19")
    with pytest.raises(InputError, match="Set 'assembly: hg19'"):
        guidance.check_assembly(pbmc, "hg38")


def test_real_proteins_match_by_whole_aliases(mirror):
    aliases = guidance.read_aliases(str(mirror / "annotation/proteins_alias.txt"))
    genes, proteins = (read_lines(mirror / f"pbmc/{name}.txt") for name in ("genes", "proteins"))
    assert len(guidance.alias_edges(genes, proteins, aliases)) == 213

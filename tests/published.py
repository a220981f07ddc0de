"""Miniature files of the published formats and names, and a server for them, as good or as bad as wanted."""

import gzip
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
import yaml

from mmaavi import simulate

ASSEMBLIES = ("hg19", "hg38", "mm10")
MUTO_DONORS = ("Healthy_1", "Healthy_2", "Healthy_3", "Healthy_4", "Healthy_5")


def parts(n_cells: int = 60, n_genes: int = 40, n_proteins: int = 10, seed: int = 0) -> dict[str, ad.AnnData]:
    """Simulated cells with all modalities; genes and proteins are named alike from seed to seed."""
    return simulate.simulate(seed, n_cells, n_genes, n_proteins).parts


def write_annotation(folder: Path) -> None:
    """Gene coordinates of every assembly, with the simulated genes, and the proteins' aliases."""
    given = parts()
    loci = given["rna"].var.assign(name=given["rna"].var_names)
    folder.mkdir(parents=True, exist_ok=True)
    for assembly in ASSEMBLIES:
        table = loci[["chrom", "start", "end", "name", "strand"]]
        table.to_csv(folder / f"{assembly}_genes.bed", sep="\t", header=False, index=False)
    lines = [f"{protein} {gene}" for protein, gene in given["protein"].var["aliases"].items()]
    (folder / "proteins_alias.txt").write_text("\n".join(lines) + "\n")


def write_npz_triplets(folder: Path, batches: dict[int, list[str]], labels: list[str]) -> None:
    """scMoMaT: sparse features x cells, names in text files, cells in tables; barcodes repeat across batches."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = {"rna": "GxC", "atac": "RxC", "protein": "PxC"}
    names = {"rna": "genes", "atac": "regions", "protein": "proteins"}
    for batch, modalities in batches.items():
        given = parts(seed=batch)
        for m in modalities:
            sp.save_npz(folder / f"{prefix[m]}{batch}.npz", sp.csc_matrix(given[m].X.T))
            features = given[m].var_names.str.replace("-", "_") if m == "atac" else given[m].var_names
            (folder / f"{names[m]}.txt").write_text("\n".join(features) + "\n")
        cells = pd.DataFrame({label: given["rna"].obs["cell_type"].to_numpy() for label in labels})
        cells.index = [f"ACGT{i}-1" for i in range(len(cells))]
        cells.to_csv(folder / f"meta_c{batch}.csv")


def glue_h5ad(part: ad.AnnData, cell_type, batch=None, highly_variable: bool = False) -> ad.AnnData:
    """GLUE: counts in X, coordinates as chrom, chromStart, chromEnd, cell_type in obs."""
    obs = pd.DataFrame({"cell_type": pd.Categorical(cell_type)}, index=[f"cell{i}" for i in range(part.n_obs)])
    if batch is not None:
        obs["batch"] = pd.Categorical(batch)
    var = part.var.rename(columns={"start": "chromStart", "end": "chromEnd"})
    if highly_variable:
        var["highly_variable"] = np.arange(len(var)) % 4 != 3
    return ad.AnnData(sp.csr_matrix(part.X), obs=obs, var=var, layers={"counts": sp.csr_matrix(part.X)})


def write_muto(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given = parts(n_cells=150)
    donors = np.array(MUTO_DONORS)[np.arange(150) % 5]
    for m, name, flagged in (("rna", "RNA", True), ("atac", "ATAC", False)):
        glue_h5ad(given[m], given[m].obs["cell_type"], donors, flagged).write_h5ad(folder / f"Muto-2021-{name}.h5ad")


def write_triple(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given, n = parts(n_cells=90), np.arange(90)
    rna = glue_h5ad(given["rna"], np.array(["Layer2/3", "MGE", "Claustrum"])[n % 3], highly_variable=True)
    rna.write_h5ad(folder / "Saunders-2018.h5ad")
    glue_h5ad(given["atac"], np.array(["L2/3 IT", "Pvalb", "L6 CT"])[n % 3]).write_h5ad(folder / "10x-ATAC-Brain5k.h5ad")
    counts = given["rna"].X.toarray()
    norm = np.repeat(counts / (counts.mean(axis=0) + 1), 2, axis=1).astype(np.float32)
    genes = given["rna"].var_names
    obs = pd.DataFrame({"cell_type": pd.Categorical(np.array(["mL2/3", "mPv", "mDL-3"])[n % 3])}, index=n.astype(str))
    var = pd.DataFrame(index=[f"{gene}_{kind}" for gene in genes for kind in ("mCH", "mCG")])
    methylation = ad.AnnData(norm * 7, obs=obs, var=var, layers={"norm": norm})
    methylation.write_h5ad(folder / "Luo-2017.h5ad")


def write_midas(folder: Path, name: str, inner: str, subsets: list[tuple[str, list[str]]]) -> None:
    """MIDAS: one zip of csv folders (cells x features), one of the labels as R writes them, by row number."""
    folder.mkdir(parents=True, exist_ok=True)
    of = {"rna": "rna", "atac": "atac", "adt": "protein"}
    with (
        zipfile.ZipFile(folder / f"{name}_demo_processed.zip", "w", zipfile.ZIP_DEFLATED) as data,
        zipfile.ZipFile(folder / f"{name}_demo_labels.zip", "w") as labels,
    ):
        for i, (batch, modalities) in enumerate(subsets):
            given = parts(seed=i)
            for m in modalities:
                table = pd.DataFrame(
                    given[of[m]].X.toarray().astype(int), index=given["rna"].obs_names, columns=given[of[m]].var_names
                )
                data.writestr(f"{inner}{name}_demo/subset_{i}/mat/{m}.csv", table.to_csv())
            rows = "".join(f'"{j + 1}","{label}"\n' for j, label in enumerate(given["rna"].obs["cell_type"]))
            labels.writestr(f"{name}_demo_labels/{batch}/label_seurat/l1.csv", '"","x"\n' + rows)


def write_published(folder: Path) -> None:
    """Every source of the paper's datasets, in miniature, under its path in a mirror."""
    write_annotation(folder / "annotation")
    pbmc = {1: ["rna", "protein"], 2: ["rna", "protein"], 3: ["atac", "protein"], 4: ["atac", "protein"]}
    write_npz_triplets(folder / "pbmc", pbmc, ["cluster", "coarse_cluster"])
    mop = {1: ["rna", "atac"], 2: ["rna"], 3: ["atac"], 4: ["rna"], 5: ["atac"]}
    write_npz_triplets(folder / "mop", mop, ["cluster (remapped)"])
    write_muto(folder / "muto2021")
    write_triple(folder / "triple")
    dogma = [("lll_ctrl", ["rna"]), ("lll_stim", ["rna", "atac"]), ("dig_ctrl", ["rna", "adt"])]
    write_midas(folder / "dogma", "dogma", "", dogma)
    write_midas(folder / "wnn", "wnn", "data/processed/", [("p1_0", ["rna", "adt"]), ("p2_0", ["rna"]), ("p3_0", ["adt"])])


def write_10x_folder(folder: Path, given: dict[str, ad.AnnData], zipped: bool = True) -> None:
    """Cell Ranger's matrix folder of some modalities, of the same cells."""
    folder.mkdir(parents=True)
    kinds = {"rna": "Gene Expression", "atac": "Peaks", "protein": "Antibody Capture"}
    rows, stacked = [], []
    for m, part in given.items():
        names = part.var_names.str.replace("-", ":", n=1) if m == "atac" else part.var_names  # chr1:100-600
        rows += [f"ID_{name}\t{name}\t{kinds[m]}" for name in names]
        stacked.append(part.X.T)
    first = next(iter(given.values()))
    matrix = io.BytesIO()
    scipy.io.mmwrite(matrix, sp.coo_matrix(sp.vstack(stacked)).astype(int))
    barcodes = [f"{i:016d}-1" for i in range(first.n_obs)]
    files = {
        "matrix.mtx": matrix.getvalue(),
        "features.tsv": "\n".join(rows).encode(),
        "barcodes.tsv": "\n".join(barcodes).encode(),
    }
    for name, content in files.items():
        (folder / f"{name}{'.gz' if zipped else ''}").write_bytes(gzip.compress(content) if zipped else content)


class Server(BaseHTTPRequestHandler):
    """Serves ``content`` by the whole path, query included, with ranges; ``behaviour`` may answer in its place."""

    content: dict[str, bytes]
    behaviour: dict
    requests: list[tuple[str, str | None]]

    def do_GET(self):
        self.requests.append((self.path, self.headers.get("Range")))
        odd = self.behaviour.get(self.path)
        if odd is not None and odd(self):
            return
        body = self.content.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.answer(body)

    def answer(self, body: bytes, sent: int | None = None, status: int = 200, **headers: str) -> None:
        """The body, or what of it was asked for; only ``sent`` bytes of that arrive."""
        start = 0
        if "Range" in self.headers and status == 200:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            status = 206 if start < len(body) else 416
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}" if status == 206 else f"bytes */{len(body)}"
        body = b"" if status == 416 else body[start:]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"v1"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_args):
        pass


@contextmanager
def serving(content: dict[str, bytes], behaviour: dict | None = None) -> Iterator[tuple[str, list]]:
    """(address, requests seen) of a server of ``path -> content``."""
    handler = type("Handler", (Server,), {"content": content, "behaviour": behaviour or {}, "requests": []})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, args=[0.02], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", handler.requests
    finally:
        httpd.shutdown()
        httpd.server_close()


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text())

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pandas as pd
import pytest
import requests

from mmaavi import ensembl
from mmaavi.errors import InputError

CONFIGURATION = """<DatasetConfig><FilterPage><FilterGroup><FilterCollection>
<FilterDescription internalName="chromosome_name" type="list" description=""/>
</FilterCollection></FilterGroup></FilterPage><AttributePage><AttributeGroup><AttributeCollection>
{}</AttributeCollection></AttributeGroup></AttributePage></DatasetConfig>"""
HEADER = ["Gene name", "Chromosome/scaffold name", "Gene start (bp)", "Gene end (bp)", "Strand"]
ROWS = [["Actb", "5", "101", "200", "-1"], ["", "5", "1", "2", "1"], ["Xist", "X", "1", "50", "1"]]


class BioMart(BaseHTTPRequestHandler):
    """Answers as BioMart does; ``mode`` spoils the answer."""

    mode = "sound"
    seen: list[dict] = []

    def do_GET(self):
        asked = parse_qs(urlparse(self.path).query)
        self.seen.append(asked)
        if self.mode == "html":
            body = "<html><body><br>Ensembl is down</body></html>"
        elif "query" not in asked:
            attributes = "".join(
                f'<AttributeDescription internalName="{a}" displayName="{d}" description=""/>'
                for a, d in zip(ensembl.ATTRIBUTES, HEADER, strict=True)
            )
            body = CONFIGURATION.format(attributes)
        else:
            body = "\n".join("\t".join(row) for row in [HEADER, *ROWS]) + "\n"
            body += "[success]\n" if self.mode == "sound" else ""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_args):
        pass


@pytest.fixture
def biomart(monkeypatch):
    monkeypatch.setattr(ensembl, "FEWEST_GENES", 2)
    monkeypatch.setattr(BioMart, "mode", "sound")
    BioMart.seen.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), BioMart)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield {"dataset": "mmusculus_gene_ensembl", "host": "127.0.0.1", "port": httpd.server_port, "retries": 0, "timeout": 5}
    httpd.shutdown()


def test_coordinates_become_zero_based_and_named(biomart):
    table, provenance = ensembl.fetch_coordinates(chromosomes=["5", "X"], **biomart)
    expected = [["Actb", "chr5", 100, 200, "-"], ["Xist", "chrX", 0, 50, "+"]]
    pd.testing.assert_frame_equal(table.reset_index(drop=True), pd.DataFrame(expected, columns=table.columns), check_dtype=False)
    assert provenance["host"] == "127.0.0.1"
    assert provenance["genes"] == 2
    assert 'completionStamp="1"' in BioMart.seen[-1]["query"][0]


@pytest.mark.parametrize(
    ("mode", "message"), [("truncated", "broke off its answer"), ("html", "did not give the gene coordinates")]
)
def test_answers_that_are_not_whole_are_refused(biomart, monkeypatch, mode, message):
    monkeypatch.setattr(BioMart, "mode", mode)
    with pytest.raises(InputError, match=message):
        ensembl.fetch_coordinates(chromosomes=["5", "X"], **biomart)


def test_a_chromosome_without_genes_is_refused(biomart):
    with pytest.raises(InputError, match="no genes on chr7"):
        ensembl.fetch_coordinates(chromosomes=["5", "X", "7"], **biomart)


def test_a_host_that_is_not_there_is_named(biomart):
    with pytest.raises(InputError, match="Ensembl at 127.0.0.1 did not give"):
        ensembl.fetch_coordinates(chromosomes=["5"], **(biomart | {"port": 9}))


def test_pybiomart_neither_caches_requests_nor_writes_files():
    assert requests.Session.__module__ == "requests.sessions"
    assert not Path(".pybiomart.sqlite").exists()

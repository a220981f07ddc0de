"""Gene coordinates from a pinned Ensembl release, through pybiomart."""

import datetime
import re
from unittest import mock

import pandas as pd
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from .errors import InputError, listing

with mock.patch("requests_cache.install_cache"):  # pybiomart would cache all requests of the process, in the working directory
    import pybiomart

ATTRIBUTES = {
    "external_gene_name": "name",
    "chromosome_name": "chrom",
    "start_position": "start",
    "end_position": "end",
    "strand": "strand",
}
STAMP = "[success]"
FEWEST_GENES = 10_000


class _PatientDataset(pybiomart.Dataset):
    """pybiomart's dataset with time-outs, retries, no cache, and a stamp that proves a complete answer."""

    def __init__(self, *args, timeout: float, retries: int, **kwargs):
        super().__init__(*args, use_cache=False, **kwargs)
        self._timeout = timeout
        self._session = requests.Session()
        policy = Retry(total=retries, backoff_factor=2, status_forcelist=[429, 500, 502, 503, 504])
        self._session.mount("http", HTTPAdapter(max_retries=policy))

    def get(self, **params):
        query = params.get("query")
        if query is not None:
            params["query"] = re.sub(rb"<Query ", b'<Query completionStamp="1" ', query, count=1)
        answer = self._session.get(self.url, params=params, timeout=self._timeout)
        answer.raise_for_status()
        if query is not None:
            text = answer.text.rstrip()
            if not text.endswith(STAMP):
                raise InputError(f"{self.url} broke off its answer after {len(text)} characters; try again later")
            answer._content = text.removesuffix(STAMP).encode(answer.encoding or "utf-8")
        return answer


def fetch_coordinates(
    dataset: str, host: str, chromosomes: list[str], port: int = 80, timeout: float = 300, retries: int = 4
) -> tuple[pd.DataFrame, dict]:
    """Gene coordinates of one archived Ensembl release.

    Parameters
    ----------
    dataset
        BioMart name, such as ``mmusculus_gene_ensembl``.
    host
        An archive without a scheme, such as ``nov2020.archive.ensembl.org`` (release 102, the last one on mm10).
    chromosomes
        Names without ``chr``; patches and scaffolds are left out.
    port, timeout, retries
        Of each request; pauses between tries grow.

    Returns
    -------
    The table ``name, chrom, start, end, strand`` (0-based, half-open, ``chr`` before the chromosome's name), and its
    provenance.

    Raises
    ------
    InputError
        If the host does not answer, or answers with something else than the whole table.
    """
    mart = _PatientDataset(dataset, host=host, port=port, timeout=timeout, retries=retries)
    try:
        table = mart.query(list(ATTRIBUTES), filters={"chromosome_name": chromosomes}, use_attr_names=True)
    except InputError:
        raise
    except Exception as error:  # requests, XML and pandas errors all mean that the host answered wrongly
        raise InputError(
            f"Ensembl at {host} did not give the gene coordinates of {dataset} ({type(error).__name__}: {error}). Try again "
            "later, or name a coordinate file in the dataset config"
        ) from error
    table = clean(table.rename(columns=ATTRIBUTES))
    absent = {ucsc_name(c) for c in chromosomes} - set(table["chrom"])
    if absent:
        raise InputError(f"Ensembl at {host} gave no genes on {listing(sorted(absent))}; check 'chromosomes', or try again later")
    if len(table) < FEWEST_GENES:
        raise InputError(f"Ensembl at {host} gave only {len(table)} genes; try again later")
    provenance = {
        "host": host,
        "dataset": dataset,
        "retrieved": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "genes": len(table),
    }
    return table, provenance


def ucsc_name(chromosome: str) -> str:
    """Ensembl's name of a chromosome -> the name in peaks: ``1`` -> ``chr1``, ``MT`` -> ``chrM``."""
    return "chr" + ("M" if chromosome == "MT" else chromosome)


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """Ensembl's table (1-based, end included, strand 1 or -1) as 0-based half-open coordinates of named genes."""
    table = table.dropna(subset=["name"]).astype({"chrom": str})
    return pd.DataFrame(
        {
            "name": table["name"],
            "chrom": table["chrom"].map(ucsc_name),
            "start": table["start"] - 1,
            "end": table["end"],
            "strand": table["strand"].map({1: "+", -1: "-"}),
        }
    )

"""The tables of the report's first page."""

import base64
from pathlib import Path

import pandas as pd

from .plots.style import method_name, named
from .scores import AGGREGATES


def headline(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95% interval of the aggregates, best total first within each mosaic; as text."""
    table = named(summary[(summary["group"] == "all") & summary["metric"].isin(AGGREGATES)])
    table = table.assign(text=[_with_interval(row) for row in table.itertuples()])
    key = ["dataset", "scenario", "name", "n_seeds"]
    texts = table.pivot_table(index=key, columns="metric", values="text", aggfunc="first", sort=False)
    totals = table[table["metric"] == "total"].set_index(key)["mean"]
    texts = texts.assign(order=totals).dropna(subset="order").reset_index()
    place = {mosaic: i for i, mosaic in enumerate(dict.fromkeys(zip(texts["dataset"], texts["scenario"], strict=True)))}
    texts["mosaic"] = [place[pair] for pair in zip(texts["dataset"], texts["scenario"], strict=True)]
    texts = texts.sort_values(["mosaic", "order"], ascending=[True, False])
    names = {"dataset": "Dataset", "scenario": "Scenario", "name": "Method", "n_seeds": "Seeds"} | AGGREGATES
    return texts[list(names)].rename(columns=names)


def _with_interval(row) -> str:
    if pd.isna(row.low):
        return f"{row.mean:.3f}"
    return f"{row.mean:.3f} ± {row.high - row.mean:.3f}"


def not_scored(scores: pd.DataFrame) -> pd.DataFrame:
    """Runs that were not run, or failed, and why: ``Dataset, Scenario, Method, Reason``."""
    table = named(scores[scores["note"].astype(str).str.match("not run: |failed: ")])
    table = table[["dataset", "scenario", "name", "note"]].drop_duplicates()
    return table.set_axis(["Dataset", "Scenario", "Method", "Reason"], axis=1)


def packages(cost: pd.DataFrame) -> dict[str, str]:
    """Method -> the packages that its runs say they used, with their versions; of methods that use any beyond the main stack."""
    table = cost.dropna(subset="packages")[["method", "packages"]].drop_duplicates()
    table = table[table["packages"] != ""]
    return {method_name(method): "; ".join(used) for method, used in table.groupby("method", sort=False)["packages"]}


def embedded(path: str) -> str:
    """A PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()

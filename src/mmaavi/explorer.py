"""The page for exploring: one HTML file with an interactive UMAP, which needs nothing else, not even the internet."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from bokeh import models
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from bokeh.resources import INLINE

from .estimator import CELLS_AT_ONCE, MMAAVI
from .mosaic import Mosaic
from .normalisation import log_normalised
from .plots.style import COLOURS, MISSING, NO_COLOURS, colours_of
from .scenarios import subsample

MOST_CELLS = 20_000  # more are not fluent in every browser
FEATURE_BYTES = 10_000_000  # of all features as text; with 20,000 cells and bokeh itself the page stays below 15 MB
STEPS = 254  # 255 levels of one byte each are finer than a colour scale shows; the last one, 255, is a missing value
DEPTH = 1e4
UNITS = {"bernoulli": "share of values above zero", "normal": "value", "zero_inflated_log_normal": "log1p of the value"}
FEATURES = "Features"  # the group of choices that searched features join
SUGGESTED = 2  # features of each modality that are among the choices from the start
RAMP = list(Viridis256[:255])
CAPTION = """<p>Each dot is a cell, placed by a UMAP of its state in mmAAVI's space: near cells are alike; distances between
groups mean little. Grey cells have no value. Imputed: the model's expectation, also where the modality was measured.</p>
<p>Model: mmAAVI, <a href="https://doi.org/10.1093/bib/bbae540">Rong et al. 2024</a></p>"""
VALUE = """const paint = source.tags[0]
const number = () => (paint.low + (value / 254) * (paint.high - paint.low)).toPrecision(3)
return `${colour.value} ${value == 255 ? paint.missing : paint.names?.[value] ?? number()}`"""


@dataclass(frozen=True)
class PageData:
    """What a page shows, in the order in which cells are drawn.

    Attributes
    ----------
    cells
        ``x, y`` and what is said of a cell under the pointer, by cell id.
    colourings
        Group -> name -> colouring: ``data`` (one byte a cell, deflated, base64), ``missing`` (what its lack means), and ``names``
        with ``colours``, or ``low, high, unit``.
    features
        ``modality:feature`` -> its measured and its imputed colouring.
    searchable
        Modality -> how many of its features are in ``features``, and how many it has.
    n_cells
        Of the mosaic, of which ``cells`` may be a part.
    """

    cells: pd.DataFrame
    colourings: dict[str, dict[str, dict]]
    features: dict[str, tuple[dict, dict]]
    searchable: dict[str, tuple[int, int]]
    n_cells: int


def page_data(
    mosaic: Mosaic,
    labels: pd.DataFrame,
    umap: pd.DataFrame,
    embedding: ad.AnnData,
    model: MMAAVI,
    most_cells: int = MOST_CELLS,
    feature_bytes: int = FEATURE_BYTES,
    known: Mapping[str, str] = NO_COLOURS,
) -> PageData:
    """Colourings of a mosaic's cells, joined by cell id.

    Parameters
    ----------
    mosaic
        As the model was trained on it.
    labels
        ``batch, pattern`` and label columns.
    umap
        ``x, y, cluster`` of the embedding.
    embedding
        With ``X_emb``, ``mmaavi_c`` and ``mmaavi_attention``, as :func:`mmaavi.embedding.save_embedding` writes them.
    model
        That gave the embedding.
    most_cells
        Where there are more, as many are drawn at random, with the same share from each batch.
    feature_bytes
        What the features may take: those whose expected values vary most between clusters, as many of each modality.
    known
        Colours of labels that are the same in all datasets.
    """
    embedding, labels, umap = embedding[mosaic.cells], labels.loc[mosaic.cells], umap.loc[mosaic.cells]
    clusters = pd.Series(embedding.obsm["mmaavi_c"].argmax(axis=1), mosaic.cells)
    shown = subsample(mosaic, most_cells).in_memory()
    shown = shown.take(np.random.default_rng(0).permutation(len(shown.cells)))  # no group is drawn on top of another
    part = embedding[shown.cells]
    colourings = {
        "Cells": {
            **{_heading(name): categories(values, shown.cells, known) for name, values in labels.items()},
            "mmAAVI cluster": categories(clusters, shown.cells),
            "Leiden cluster": categories(umap["cluster"].astype(int), shown.cells),
            "mmAAVI confidence": numbers(part.obsm["mmaavi_c"].max(axis=1), "largest mixture responsibility"),
        },
        "Attention": {
            f"Attention to {m}": numbers(weights, "attention weight", (0, 1))
            for m, weights in zip(embedding.uns["modalities"], part.obsm["mmaavi_attention"].T, strict=True)
        },
    }
    place, said = umap[["x", "y"]].astype(np.float32), labels.fillna("unassigned").rename(columns=_heading)
    sizes = clusters.map(clusters.value_counts())
    large = clusters[sizes >= min(20, sizes.max())]  # clusters of fewer cells would rank features by noise
    centres = pd.DataFrame(embedding.obsm["X_emb"], mosaic.cells).groupby(large).mean().to_numpy()
    features = _features(shown, part.obsm["X_emb"], centres, model, feature_bytes)
    searchable = {m: (sum(f.startswith(f"{m}:") for f in features), len(names)) for m, names in model.features.items()}
    return PageData(place.loc[shown.cells].join(said), colourings, features, searchable, len(mosaic.cells))


def _heading(name: str) -> str:
    return {"pattern": "Measured modalities"}.get(name, name.replace("_", " ").capitalize())


def categories(values: pd.Series, cells: pd.Index, known: Mapping[str, str] = NO_COLOURS) -> dict:
    """Colouring of some cells by a category; its colours are those that all cells have in other figures."""
    colours = colours_of(values, known)
    names, inks = list(map(str, colours)), list(colours.values())
    codes = pd.Categorical(values.loc[cells], categories=list(colours)).codes.astype(int)
    if len(names) > STEPS:
        names, inks = [*names[:STEPS], "all others"], [*inks[:STEPS], COLOURS[-1]]
    steps = np.where(codes < 0, 255, np.minimum(codes, STEPS)).astype(np.uint8)
    return {"data": _packed(steps), "missing": "unassigned", "names": names, "colours": inks}


def numbers(values: np.ndarray, unit: str, limits: tuple[float, float] | None = None) -> dict:
    """Colouring by numbers, NaN where not measured, between limits: by default the smallest and the largest."""
    missing, known = np.isnan(values), values[~np.isnan(values)]
    low, high = limits or ((float(known.min()), float(known.max())) if len(known) else (0.0, 0.0))
    steps = np.rint((np.where(missing, low, values) - low) * (STEPS / max(high - low, 1e-9)))
    steps = np.where(missing, 255, steps).astype(np.uint8)
    return {"data": _packed(steps), "missing": "not measured", "low": low, "high": high, "unit": unit}


def _packed(steps: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def _features(mosaic: Mosaic, states: np.ndarray, centres: np.ndarray, model: MMAAVI, budget: int) -> dict[str, tuple]:
    """Colourings of the features that vary most between the clusters' centres, as many of each modality as fit."""
    tables = {}
    for m, names in model.features.items():
        spread = _expected(model, m, centres).std(axis=0)
        best = np.argsort(-spread, kind="stable")[: budget // len(states)]  # a bound: even packed, most take a byte a cell
        has = mosaic.measured[m].to_numpy()
        measured = np.full((len(states), len(best)), np.nan, dtype=np.float32)
        measured[has] = _measured(mosaic.counts[m][has], model.scaling[m].likelihood)[:, best].toarray()
        tables[m] = (names[best], measured, _expected(model, m, states, best))
    features, used = {}, 0
    for rank, m in sorted((rank, m) for m, (names, *_) in tables.items() for rank in range(len(names))):
        names, *values = tables[m]
        pair = tuple(
            numbers(table[:, rank], UNITS.get(model.scaling[m].likelihood, "log1p of counts per 10,000")) for table in values
        )
        used += sum(len(paint["data"]) for paint in pair)
        if used > budget:
            break
        features[f"{m}:{names[rank]}"] = pair
    return features


def _measured(x: sp.csr_array, likelihood: str) -> sp.csr_array:
    """Values in the unit in which they are shown."""
    if likelihood == "zero_inflated_log_normal":
        return x.log1p()
    if likelihood == "bernoulli":
        return (x > 0).astype(np.float32)
    return x if likelihood == "normal" else log_normalised(x, DEPTH)


def _expected(model: MMAAVI, modality: str, states: np.ndarray, columns=slice(None)) -> np.ndarray:
    """Expected values of cell states (n, d) in the same unit, of some features."""
    parts = torch.tensor(states, device=model.device).split(CELLS_AT_ONCE)
    values = np.concatenate([model.decode(z, modality, DEPTH).cpu().numpy()[:, columns] for z in parts])
    return values if model.scaling[modality].likelihood in ("bernoulli", "normal") else np.log1p(values)


def explorer_page(data: PageData, title: str, citation: str) -> str:
    """The page as HTML."""
    style, code, template = (Path(__file__).with_suffix(s).read_text(encoding="utf-8") for s in (".css", ".js", ".html"))
    said = list(data.cells.columns[2:])
    columns = {"x": data.cells["x"], "y": data.cells["y"], "cell": data.cells.index, "value": np.zeros(len(data.cells))}
    source = models.ColumnDataSource(columns | {f"said{i}": data.cells[name] for i, name in enumerate(said)})
    mapper = models.LinearColorMapper(palette=RAMP, high_color="#00000000")  # 255: transparent, the grey dot below is seen

    plot = figure(
        output_backend="webgl", match_aspect=True, sizing_mode="stretch_both", min_width=300, min_height=300,
        tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll="wheel_zoom", outline_line_color=None,
    )  # fmt: skip
    plot.toolbar.logo, plot.axis.visible, plot.grid.visible = None, False, False
    dot = {"source": source, "size": float(np.clip(400 / len(data.cells) ** 0.5, 2.5, 7)), "line_color": None}
    below = plot.scatter("x", "y", fill_color=MISSING, **dot)  # so that cells without a value hide none that have one
    dots = plot.scatter("x", "y", fill_color={"field": "value", "transform": mapper}, **dot)

    wide, text = {"sizing_mode": "stretch_width"}, {"sizing_mode": "stretch_width", "stylesheets": [style]}
    first = [name for m in data.searchable for name in [f for f in data.features if f.startswith(f"{m}:")][:SUGGESTED]]
    groups = {group: list(paints) for group, paints in data.colourings.items()} | {FEATURES: first}
    colour = models.Select(title="Colour by", value=said[min(2, len(said) - 1)], options=groups, **wide)
    search = models.AutocompleteInput(
        title="Search a feature", placeholder="part of its name", min_characters=1, max_completions=12,
        case_sensitive=False, search_strategy="includes",
        completions=sorted(data.features, key=lambda f: (len(f.partition(":")[2]), f)), **wide,  # whole names before longer ones
    )  # fmt: skip
    legend, which = models.Div(**text), models.RadioButtonGroup(labels=["Measured", "Imputed"], active=0, **wide)
    args = {
        "source": source, "mapper": mapper, "below": below, "colour": colour, "search": search, "which": which,
        "colourings": {name: paint for group in data.colourings.values() for name, paint in group.items()},
        "features": data.features, "legend": legend, "ramp": RAMP, "grey": MISSING, "group": FEATURES,
    }  # fmt: skip
    tooltips = [("Cell", "@cell"), *((name, f"@said{i}") for i, name in enumerate(said)), ("Shown", "@value{custom}")]
    value = models.CustomJSHover(args={"source": source, "colour": colour}, code=VALUE)
    plot.add_tools(models.HoverTool(renderers=[dots], tooltips=tooltips, formatters={"@value": value}, limit=1))

    head = models.Div(text=f"<h1>{escape(title)}</h1><p>{_cells(data)}</p>", **text)
    note = models.Div(text=f"<p>{_searchable(data)}</p>", **text)
    caption = models.Div(text=CAPTION + (f"<p>Data: {escape(citation)}</p>" if citation else ""), **text)
    parts, scrolled = [head, colour, search, note, which, legend, caption], {"overflow-y": "auto"}
    side = column(*parts, width=290, sizing_mode="stretch_height", styles=scrolled)
    document = Document(title=f"{title}: explore")
    document.add_root(row(side, plot, sizing_mode="stretch_both"))
    show = models.CustomJS(code=code, args=args)
    for widget, attribute in ((colour, "value"), (search, "value"), (which, "active")):
        widget.js_on_change(attribute, show)
    document.js_on_event("document_ready", show)
    return file_html(document, INLINE, template=template)


def _cells(data: PageData) -> str:
    part = f" of {data.n_cells:,} cells, drawn at random with the same share from each batch"
    return f"{len(data.cells):,}" + (part if len(data.cells) < data.n_cells else " cells")


def _searchable(data: PageData) -> str:
    counts = [f"{n:,} of {total:,} {escape(m)}" for m, (n, total) in data.searchable.items()]
    some = any(n < total for n, total in data.searchable.values())
    return f"Searchable: {', '.join(counts)} features" + (", those that differ most between clusters." if some else ".")

"""What all figures share: one colour-blind-safe palette, names of methods, and how a figure is written."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..files import replacing, write_table

mpl.use("Agg")
mpl.rcParams |= {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "mmaavi",
}
# Okabe & Ito 2008, then Tol's muted scheme: told apart with any common colour vision.
COLOURS = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288",
    "#88CCEE", "#117733", "#999933", "#CC6677", "#882255", "#AA4499", "#44AA99", "#7F7F7F", "#000000",
]  # fmt: skip
MISSING = "#D9D9D9"
NO_COLOURS: Mapping[str, str] = MappingProxyType({})
CONTROLS = ("shuffled", "cell_type")
METHOD_NAMES = {
    "mmaavi": "mmAAVI",
    "scmomat": "scMoMaT",
    "midas": "MIDAS",
    "multivi": "MultiVI",
    "totalvi": "totalVI",
    "glue": "GLUE",
    "stabmap": "StabMap",
    "uinmf": "UINMF",
    "multimap": "MultiMAP",
    "harmony": "Harmony",
    "pca": "PCA, zero-filled",
    "shuffled": "Shuffled (lower bound)",
    "cell_type": "Cell types (upper bound)",
}
# A method keeps its colour in every figure; yellow is too light for a line.
METHOD_COLOURS = dict(zip(METHOD_NAMES, (colour for colour in COLOURS if colour != "#F0E442"), strict=False))


def save(figure: Figure, paths) -> None:
    """Write the figure to each path, whose ending gives the format, under a temporary name first."""
    for path in map(Path, paths):
        with replacing(path) as partial:
            figure.savefig(
                partial, format=path.suffix[1:], bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None
            )


def save_with_values(figure: Figure, values: pd.DataFrame, output) -> None:
    """Write the figure as ``svg`` and ``png``, and what it shows as the table ``values``: names of a rule's output."""
    save(figure, [output.svg, output.png])
    write_table(values, output.values, index=False, float_format="%.6g")


def cells_in(labels: str) -> str:
    """How many cells a file of labels has, as titles say it: ``"6,000 cells"``."""
    n = len(pd.read_csv(labels, sep="\t", usecols=["cell"]))
    return f"{n:,} cells"


def colours_of(values: pd.Series, known: Mapping[str, str] = NO_COLOURS) -> dict[str, str]:
    """A colour for each value, in the order of the alphabet, so that a value keeps it in every figure of a dataset.

    Those that are ``known`` have theirs in every dataset; the others take what these leave, and all again when none is left.
    """
    names = sorted(values.dropna().unique())
    taken = {known[name] for name in names if name in known}
    free = cycle([colour for colour in COLOURS if colour not in taken] or COLOURS)
    return {name: known[name] if name in known else next(free) for name in names}


def method_name(method: str) -> str:
    base, _, variant = method.partition(" ")
    return METHOD_NAMES.get(base, base) + (f" {variant}" if variant else "")


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table of runs with a column ``name``: the method as it is printed, and the variant where it is not the default."""
    variant = np.where(table["variant"] == "default", "", " (" + table["variant"] + ")")
    return table.assign(name=[method_name(m + v) for m, v in zip(table["method"], variant, strict=True)])

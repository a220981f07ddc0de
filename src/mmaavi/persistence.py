"""A fitted model as a folder: ``weights.safetensors``, ``arrays.safetensors`` (scaling and graph) and ``model.json``."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import safetensors.numpy
import safetensors.torch
import scipy.sparse as sp

from . import __version__
from .errors import InputError
from .features import Scaling
from .files import replacing
from .settings import Settings

if TYPE_CHECKING:
    from .estimator import MMAAVI

FORMAT = 5
LIBRARIES = ("torch", "numpy", "numba", "scipy", "anndata", "mudata")
TABLES = ("weight", "axes", "mean", "sd", "start", "known")


def save(model: "MMAAVI", folder: Path) -> None:
    """Write the folder; each file appears whole, ``model.json`` last."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"scaling.{m}.{name}": np.ascontiguousarray(getattr(s, name)) for m, s in model.scaling.items() for name in TABLES}
    graph = model.graph.tocsr()
    arrays |= {"graph.indptr": graph.indptr, "graph.indices": graph.indices, "graph.data": graph.data.astype(np.float32)}
    about = {
        "format": FORMAT,
        "versions": {"mmaavi": __version__, **{name: version(name) for name in LIBRARIES}},
        "settings": asdict(model.settings),
        "seed": model.seed,
        "batches": model.batches,
        "labels": model.labels,
        "temperature": model.temperature,
        "graph_share": model.graph_share,
        "features": {m: list(names) for m, names in model.features.items()},
        "scaling": {
            m: {"likelihood": s.likelihood, "depth": s.depth, "input_depth": s.input_depth} for m, s in model.scaling.items()
        },
        "history": model.history.to_dict("list"),
    }
    weights = {name: value.contiguous().cpu() for name, value in model.network.state_dict().items()}
    (folder / "model.json").unlink(missing_ok=True)  # of an earlier model: without it the folder holds none
    with replacing(folder / "weights.safetensors") as partial:
        safetensors.torch.save_file(weights, partial)
    with replacing(folder / "arrays.safetensors") as partial:
        safetensors.numpy.save_file(arrays, partial)
    with replacing(folder / "model.json") as partial:
        partial.write_text(json.dumps(about))


def load(cls: type["MMAAVI"], folder: Path, device: str | None) -> "MMAAVI":
    """Read the folder; raises InputError where it is none, or of another format."""
    try:
        about = json.loads((folder / "model.json").read_text())
        arrays = safetensors.numpy.load_file(folder / "arrays.safetensors")
        weights = safetensors.torch.load_file(folder / "weights.safetensors")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder} holds no whole saved model ({error}); save it again with MMAAVI.save") from error
    if about["format"] != FORMAT:
        raise InputError(f"{folder} has the format {about['format']}, this version reads {FORMAT}; fit the model anew")
    model = cls(Settings.from_dict(about["settings"]), about["seed"], device)
    for name in ("batches", "labels", "temperature", "graph_share"):
        setattr(model, name, about[name])
    model.features = {m: pd.Index(names) for m, names in about["features"].items()}
    model.history = pd.DataFrame(about["history"])
    model.scaling = {
        m: Scaling(**plain, **{name: arrays[f"scaling.{m}.{name}"] for name in TABLES}) for m, plain in about["scaling"].items()
    }
    n = sum(map(len, model.features.values()))
    parts = (arrays["graph.data"], arrays["graph.indices"], arrays["graph.indptr"])
    model.graph = sp.csr_array(parts, shape=(n, n))
    model.network = model._new_network()
    model.network.load_state_dict(weights)
    model.network.eval()
    return model

"""mmAAVI. Input: counts, and the guidance graph; with labels of some cells it is trained on these too."""

from dataclasses import asdict

import pandas as pd

from ..estimator import MMAAVI
from ..mosaic import Mosaic
from ..settings import Settings
from . import Result


def run(
    mosaic: Mosaic,
    seed: int,
    labels: pd.Series | None = None,
    checkpoint: str | None = None,
    memory_gib: float = 4.0,
    **settings,
) -> Result:
    """Settings are those of :class:`mmaavi.settings.Settings`; a training that was stopped goes on from ``checkpoint``."""
    model = MMAAVI(Settings.from_dict(settings), seed, memory_gib=memory_gib).fit(mosaic, labels=labels, checkpoint=checkpoint)
    slots = model.embed(mosaic)
    return Result(
        embedding=slots["X_mmaavi"],
        obsm={name: slots[name] for name in ("mmaavi_c", "mmaavi_attention")},
        settings=asdict(model.network.settings),
        history=model.history,
        embed=lambda cells: model.embed(cells)["X_mmaavi"],
        impute=model.impute,
        label_probabilities=None if labels is None else model.predict_labels(mosaic),
        save=model.save,
    )

import numpy as np
import pandas as pd

from mmaavi.selection import by_components, validation_losses
from mmaavi.settings import Settings


def test_mean_plus_sd_decides():
    losses = pd.DataFrame(
        [(3, 0, 10.0), (3, 1, 10.0), (4, 0, 7.0), (4, 1, 12.0), (5, 0, 9.0), (5, 1, 9.5), (6, 0, 9.0), (6, 1, 9.5), (7, 0, 1.0)],
        columns=["n_components", "seed", "loss"],
    )
    table = by_components(losses)
    chosen = table.loc[table["chosen"], "n_components"]
    assert list(chosen) == [5]  # 4 has the best loss, but too large a spread; 6 is no better than 5; a fit of 7 failed
    assert list(table["n_seeds"]) == [2, 2, 2, 2, 1]
    assert np.allclose(table.loc[1, ["mean", "sd"]].astype(float), [9.5, np.std([7, 12], ddof=1)])


def test_the_best_validation_loss_of_each_fit_counts(mosaic):
    quick = Settings(width=16, n_fused=8, n_latent=6, n_steps=30, minibatch_size=60)
    losses = validation_losses(mosaic, [2, 3], [0, 1], quick)
    assert list(losses["n_components"]) == [2, 2, 3, 3]
    assert np.isfinite(losses["loss"]).all()
    assert by_components(losses)["chosen"].sum() == 1

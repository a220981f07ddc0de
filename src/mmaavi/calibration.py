"""Calibrated probabilities: one temperature for all logits (Guo et al. 2017), fitted to held-out labels."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

PRIOR_SD = 0.5  # of log T


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The temperature in [0.05, 20] under which ``softmax(logits / T)`` (n, K) makes the labels (n,) most likely.

    With a Normal prior on log T: a few labels that are all right do not make the model sure of everything.
    """

    def loss(log_t: float) -> float:
        log_likelihood = log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(label)), label].sum()
        return 0.5 * (log_t / PRIOR_SD) ** 2 - log_likelihood

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def expected_calibration_error(probability: np.ndarray, right: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance between stated probability and share of right answers, over bins of equal width, weighted by size.

    Parameters
    ----------
    probability
        Of the predicted label, of shape (n,).
    right
        Whether that label is the true one, of shape (n,).
    n_bins
        Number of bins of [0, 1].
    """
    of = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    gaps = [abs(probability[of == b].mean() - right[of == b].mean()) * (of == b).mean() for b in np.unique(of)]
    return float(np.sum(gaps))

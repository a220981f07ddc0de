"""Integrative non-negative matrix factorisation with unshared features (UINMF), and the alignment of its factors."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors


def nnls(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Non-negative least squares of many columns at once, by block principal pivoting (Kim & Park 2011).

    Parameters
    ----------
    gram, target
        ``A.T @ A`` of shape (k, k) and ``A.T @ B`` of shape (k, n).

    Returns
    -------
    The x >= 0 of shape (k, n) for which ``|A x - B|`` is least in each column.
    """
    k, n = target.shape
    free = np.zeros((n, k), dtype=bool)
    x, gradient = np.zeros((n, k)), -target.T.astype(float)
    slack = 1e-12 * max(abs(target).max(initial=0), 1e-300)
    fewest, tries = np.full(n, k + 1), np.full(n, 3)
    ridge = 1e-12 * np.trace(gram) / k * np.eye(k)  # a factor that nothing uses leaves the others solvable
    while (wrong := np.where(free, x < 0, gradient < -slack)).any():
        active = wrong.any(axis=1)
        wrong, number = wrong[active], wrong[active].sum(axis=1)
        better = number < fewest[active]
        fewest[active] = np.minimum(fewest[active], number)
        tries[active] = np.where(better, 3, tries[active] - 1)
        one_by_one = tries[active] < 0  # exchanging all would go round in circles: only the last one
        last = np.zeros_like(wrong)
        last[np.arange(len(wrong)), k - 1 - wrong[:, ::-1].argmax(axis=1)] = True
        free[active] ^= np.where(one_by_one[:, None], last, wrong)
        used = free[active]
        system = (gram + ridge) * (used[:, :, None] & used[:, None, :]) + np.eye(k) * ~used[:, :, None]
        solution = np.linalg.solve(system, (target.T[active] * used)[:, :, None])[:, :, 0]
        x[active] = np.where(used, solution, 0)
        gradient[active] = x[active] @ gram - target.T[active]
    return x.T


@dataclass(frozen=True)
class Factorisation:
    """Shared loadings W (g, k), each batch's own V (g, k) and U (u, k), its cells' factors H (k, n), and the objectives."""

    w: np.ndarray
    v: list[np.ndarray]
    u: list[np.ndarray]
    h: list[np.ndarray]
    objectives: list[float]


def uinmf(
    shared: list[sp.csr_array], unshared: list[sp.csr_array], k: int, penalty: float, n_iterations: int, seed: int
) -> Factorisation:
    """Minimise the sum over batches of ``|[X; P] - [W + V; U] H|^2 + penalty |[V; U] H|^2`` (Kriebel & Welch 2022).

    Parameters
    ----------
    shared, unshared
        Of each batch, non-negative values (n, g) and (n, u) of its cells; u may be 0.
    k, penalty, n_iterations
        Number of factors, lambda, and rounds of updates of H, V, U and W: each solved exactly, so the objective never rises.
    seed
        Of the start: V and U are random cells of the batch, W is uniform in [0, 2), as in rliger.
    """
    rng = np.random.default_rng(seed)
    start = [rng.choice(x.shape[0], k, replace=x.shape[0] < k) for x in shared]
    v, u = ([x[rows].toarray().T.astype(float) for x, rows in zip(values, start, strict=True)] for values in (shared, unshared))
    w = rng.uniform(0, 2, size=(shared[0].shape[1], k))
    size = sum(float((x.data.astype(float) ** 2).sum()) for x in [*shared, *unshared])
    batches = range(len(shared))
    objectives = []
    for _ in range(n_iterations):
        gram = [(w + v[i]).T @ (w + v[i]) + u[i].T @ u[i] + penalty * (v[i].T @ v[i] + u[i].T @ u[i]) for i in batches]
        h = [nnls(gram[i], (shared[i] @ (w + v[i]) + unshared[i] @ u[i]).T) for i in batches]
        hh = [factors @ factors.T for factors in h]
        hx, hp = ([(x.T @ factors.T).T for x, factors in zip(values, h, strict=True)] for values in (shared, unshared))  # (k, g)
        v = [nnls((1 + penalty) * hh[i], hx[i] - hh[i] @ w.T).T for i in batches]
        u = [nnls((1 + penalty) * hh[i], hp[i]).T for i in batches]
        w = nnls(sum(hh), sum(hx[i] - hh[i] @ v[i].T for i in batches)).T
        fit = [(w + v[i], u[i]) for i in batches]
        cross = sum((hx[i].T * a).sum() + (hp[i].T * b).sum() for i, (a, b) in enumerate(fit))
        square = sum(((a.T @ a + b.T @ b) * hh[i]).sum() for i, (a, b) in enumerate(fit))
        own = sum(((v[i].T @ v[i] + u[i].T @ u[i]) * hh[i]).sum() for i in batches)
        objectives.append(float(size - 2 * cross + square + penalty * own))
    return Factorisation(w, v, u, h, objectives)


def quantile_align(h: list[np.ndarray], n_quantiles: int = 50, n_neighbours: int = 20, fewest: int = 20) -> list[np.ndarray]:
    """Factors (n, k) of each batch, with the quantiles of the largest batch within each joint cluster (rliger's quantileNorm).

    A cell's cluster is its largest factor, each scaled to unit mean square, by majority of its ``n_neighbours`` nearest cells of
    the batch; clusters with less than ``fewest`` cells in either batch stay as they are.
    """
    reference = int(np.argmax([len(x) for x in h]))
    clusters = []
    for x in h:
        largest = np.argmax(x / np.sqrt((x**2).mean(axis=0)).clip(1e-12), axis=1)
        near = NearestNeighbors(n_neighbors=min(n_neighbours, len(x))).fit(x).kneighbors(return_distance=False)
        votes = np.apply_along_axis(np.bincount, 1, largest[near], minlength=x.shape[1])
        clusters.append(votes.argmax(axis=1))
    levels = np.linspace(0, 1, n_quantiles + 1)
    aligned = [x.copy() for x in h]
    for i, x in enumerate(h):
        for cluster in range(x.shape[1]):
            here, there = clusters[i] == cluster, clusters[reference] == cluster
            if i == reference or min(here.sum(), there.sum()) < fewest:
                continue
            for factor in range(x.shape[1]):
                own, theirs = (np.quantile(y, levels) for y in (x[here, factor], h[reference][there, factor]))
                places, which = np.unique(own, return_inverse=True)  # tied quantiles: the mean of those that they become
                values = np.bincount(which, theirs) / np.bincount(which)
                flat = len(places) < 2 or theirs[0] == theirs[-1]
                aligned[i][here, factor] = 0 if flat else np.interp(x[here, factor], places, values)
    return aligned

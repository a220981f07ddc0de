"""Speed of a training step: against a plain dense form of the same loss, against its matrix products alone, and how it grows.

    PYTHONPATH=src .venv/bin/python tests/benchmarks/benchmark.py [--mosaic FILE.h5mu] [--minibatch N] [--multivi] [--out FOLDER]

Ratios are of things that ran in turn in this one process; absolute times are of the machine that is printed with them.
``--multivi`` needs scvi-tools beside the other packages.
"""

import argparse
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch.utils._python_dispatch import TorchDispatchMode

from mmaavi import likelihoods, networks, precision, sparse_numba
from mmaavi.data import MosaicData
from mmaavi.edges import EdgeSampler
from mmaavi.minibatch import Minibatch
from mmaavi.model import MosaicVAE
from mmaavi.mosaic import Mosaic, load
from mmaavi.negative_binomial import negative_binomial_nll
from mmaavi.precision import fast_products, sum_of_products
from mmaavi.schedules import OneCycle
from mmaavi.settings import Settings
from mmaavi.sparse import shifted_sparse_linear
from mmaavi.steps import Step
from mmaavi.train import keep_freed_memory
from mmaavi.zero_filled import zero_filled

SETTINGS = Settings(graph_share=0.9)
TURNS = 5  # of two methods, in each of which both train two epochs
DEVICES = {"cpu": ("CPU", "#0072B2"), "cuda": ("GPU", "#D55E00")}  # name, colour


class Training:
    """A model on its data, ready to step."""

    def __init__(self, mosaic: Mosaic, settings: Settings = SETTINGS, device: str = "cpu", data: MosaicData | None = None):
        torch.manual_seed(0)
        self.settings = settings
        self.data = data or MosaicData(mosaic, mosaic.batches, device=device)
        n = sum(mosaic.n_features.values())
        graph = sp.csr_array((n, n), dtype=np.float32) if mosaic.guidance is None else mosaic.guidance
        self.model = MosaicVAE(settings, self.data.scaling, len(mosaic.batches), graph).to(device)
        schedule = OneCycle(self.model, settings.learning_rate, 1000, 1000, self.model.fast_parameters())
        self._step = Step(self.model, self.model.total, schedule, EdgeSampler(graph, device=device))
        self.cells = np.arange(self.data.n_cells)
        self.minibatches = self._endless()

    def fast_products(self) -> AbstractContextManager[None]:
        """As in training."""
        return fast_products(max(self.model.n_features.values()))

    @property
    def per_epoch(self) -> int:
        return self.data.steps_per_epoch(self.cells, self.settings.minibatch_size)

    def _endless(self) -> Iterator[Minibatch]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from self.data.epoch(self.cells, self.settings.minibatch_size, generator)

    def step(self) -> None:
        self._step(next(self.minibatches))

    def epoch(self) -> None:
        for _ in range(self.per_epoch):
            self.step()

    def products(self) -> Callable[[], None]:
        """Matrix products between cells and features, forward and backward: first layers, decoders.

        Those of the decoders in the precision that they have in training.
        """
        batch = next(self.minibatches)
        device = batch.cells.device
        width, k = self.settings.width, self.settings.width + self.settings.n_latent
        parts = []
        for m, x in batch.modalities.items():
            n, g = len(x.rows), self.model.n_features[m]
            first, *decoder = (torch.randn(shape, device=device) for shape in ((g, width), (n, width), (n, k), (g, k), (n, g)))
            kind = sum_of_products([decoder[1:3]], may_round=True).dtype
            inputs = x.inputs.to_dense() if x.inputs.is_dense else None
            by_batch = torch.randn(len(x.zeros), width, device=device)
            parts.append((x, inputs, first, by_batch, decoder[0], *(factor.to(kind) for factor in decoder[1:])))

        def run() -> None:
            for x, inputs, first, by_batch, gradient, hidden, weight, logit in parts:
                if inputs is not None:
                    inputs @ first
                    inputs.T @ gradient
                else:
                    shifted_sparse_linear(x.inputs, x.zeros, x.batch, first)
                    x.inputs.transposed_matmul_and_shift(gradient, x.zeros, by_batch)
                    del x.inputs.__dict__["_transposed"]  # each minibatch turns its own values
                hidden @ weight.T
                logit @ weight
                logit.T @ hidden

        return run

    def all_products(self) -> Callable[[], None]:
        """All matrix products that a step makes, those of hidden layers, heads and the graph among them."""
        made = _Products()
        compiled = {name: made.kept(getattr(sparse_numba, name)) for name in ("shifted_product", "product_and_shift")}
        with made, mock.patch.multiple(sparse_numba, **compiled):
            self.step()

        def run() -> None:
            for product, args, kwargs in made.calls:
                product(*args, **kwargs)

        return run


class _Products(TorchDispatchMode):
    """Keeps the matrix products that are made meanwhile."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        if func.overloadpacket in (aten.mm, aten.addmm, aten.addmm_, aten.bmm):
            self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def kept(self, compiled: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """The same product, of which the dispatcher knows nothing."""

        def run(*args: torch.Tensor) -> torch.Tensor:
            self.calls.append((compiled, args, {}))
            return compiled(*args)

        return run


def seconds(run: Callable[[], None], n: int = 20, warm_up: int = 5) -> float:
    """Median time of a call; on a GPU, until the device is done."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(n):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@contextmanager
def float32() -> Iterator[None]:
    """All products in float32, as torch makes them where it is not told otherwise."""
    with mock.patch.object(precision, "multiplies_bfloat16", return_value=False):
        yield


@contextmanager
def dense() -> Iterator[None]:
    """The plain form, in float32: dense inputs of the first layer, and a dense negative binomial left to autograd."""

    def first_layer(x, zeros, batch, weight):
        return (x.to_dense() + zeros[batch]) @ weight

    def nll(logit, scale, bias, log_r, batch, counts, log_depth):
        mean = log_depth.exp()[:, None] * torch.softmax(scale[batch] * logit + bias[batch], dim=1)
        x = counts.to_dense()
        return (negative_binomial_nll(x, mean, log_r[batch].exp()) - torch.lgamma(x + 1)).sum(dim=1).mean()

    with (
        float32(),
        mock.patch.object(networks, "shifted_sparse_linear", first_layer),
        mock.patch.object(likelihoods, "softmax_negative_binomial", nll),
    ):
        yield


def random_mosaic(
    n_cells: int, n_features: dict[str, int], density: dict[str, float], patterns: list[str] | None = None, seed: int = 0
) -> Mosaic:
    """Counts of 1 to 3 at random places, as many in each cell.

    ``patterns`` are the modalities of each batch, with a space between; by default there are as many batches as modalities, each
    lacking one where there are several.
    """
    rng = np.random.default_rng(seed)
    names = list(n_features)
    patterns = patterns or [" ".join(set(names) - {m}) or m for m in names]
    batch = np.arange(n_cells) % len(patterns)
    cells = pd.RangeIndex(n_cells).astype(str)
    measured = pd.DataFrame({m: np.array([m in p.split() for p in patterns])[batch] for m in names}, index=cells)
    counts = {}
    for m, g in n_features.items():
        has, n = measured[m].to_numpy(), max(1, round(density[m] * g))
        stretch = g // n  # one entry in each
        indices = np.arange(n, dtype=np.int32) * stretch + rng.integers(stretch, size=(has.sum(), n), dtype=np.int32)
        values = rng.integers(1, 4, indices.size, dtype=np.int8).astype(np.float32)
        counts[m] = sp.csr_array((values, indices.ravel(), np.append(0, np.cumsum(n * has))), shape=(n_cells, g))
    var = {m: pd.DataFrame(index=[f"{m}{i}" for i in range(g)]) for m, g in n_features.items()}
    return Mosaic(counts, measured, pd.DataFrame({"batch": [f"b{b}" for b in batch]}, index=cells), var)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def against_dense(mosaic: Mosaic, settings: Settings) -> pd.DataFrame:
    """Step time and peak memory of this process: floor and step, as trained and in float32, and dense; memory can only grow."""
    training, rows = Training(mosaic, settings), []

    def measure(what: str, run: Callable[[], None], **kwargs) -> None:
        rows.append((what, seconds(run, **kwargs), peak_gib()))

    with training.fast_products():
        measure("matrix products alone", training.products())
        measure("step", training.step)
        measure("all of its matrix products alone", training.all_products())
    with float32():
        measure("matrix products alone, float32", training.products())
        measure("step, float32", training.step)
    with dense():
        measure("step, plain dense form", training.step, n=5, warm_up=2)
    table = pd.DataFrame(rows, columns=["what", "seconds", "peak_gib"])
    products = table["seconds"].where(table["what"].str.startswith("matrix products")).ffill()  # of the same precision
    return table.assign(ratio_to_products=table["seconds"] / products, epoch_seconds=table["seconds"] * training.per_epoch)


def growth(device: str = "cpu") -> pd.DataFrame:
    """Epoch time by cells, step time by features and by modalities."""

    def a_step(training: Training, **kwargs) -> float:
        with training.fast_products():
            return seconds(training.step, **kwargs)

    rows = []
    for n_cells in (1_000, 3_000, 10_000, 30_000, 100_000):
        training = Training(random_mosaic(n_cells, {"rna": 2_000, "atac": 10_000}, {"rna": 0.02, "atac": 0.02}), device=device)
        rows.append(("cells", n_cells, a_step(training) * training.per_epoch, "epoch"))
    for n_features in (2_000, 6_000, 20_000, 60_000, 200_000):
        training = Training(random_mosaic(2_000, {"rna": 1_000, "atac": n_features}, {"rna": 0.01, "atac": 0.01}), device=device)
        rows.append(("features", n_features, a_step(training, n=8, warm_up=3), "step"))
    for n_modalities in (1, 2, 4, 8):
        names = [f"m{i}" for i in range(n_modalities)]
        training = Training(random_mosaic(2_000, dict.fromkeys(names, 2_000), dict.fromkeys(names, 0.02)), device=device)
        rows.append(("modalities", n_modalities, a_step(training), "step"))
    return pd.DataFrame(rows, columns=["by", "size", "seconds", "of"]).assign(device=device)


def growth_figure(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    for axis, (by, of_all) in zip(figure.subplots(1, 3), table.groupby("by", sort=False), strict=True):
        for device, part in of_all.groupby("device", sort=False):
            name, colour = DEVICES[device]
            axis.loglog(part["size"], part["seconds"], "o-", ms=4, color=colour, label=name)
            last = part.iloc[-1]
            axis.loglog(part["size"], last["seconds"] * part["size"] / last["size"], ":", color="0.5", label="linear", zorder=0)
        axis.set(xlabel=by, ylabel=f"seconds a{'n' if last['of'] == 'epoch' else ''} {last['of']}")
        axis.set_ylim(of_all["seconds"].min() / 1.6, of_all["seconds"].max() * 1.6)
        axis.set_xticks(part["size"], [f"{n:,}" if n < 1000 else f"{n // 1000}k" for n in part["size"]])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(lw=0.4, color="0.88")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    shown = {label: handles[labels.index(label)] for label in sorted(set(labels))}
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=len(shown), frameon=False)
    return figure


def against_multivi(mosaic: Mosaic, settings: Settings, device: str = "cpu") -> pd.DataFrame:
    """An epoch of ours (every batch resampled to the largest) and one of MultiVI (each cell once), on the same cells, in turn."""
    import scvi

    training = Training(mosaic, settings, device=device)
    mdata = zero_filled(mosaic)
    names = {"rna_layer": "rna", "atac_layer": "atac", "batch_key": "rna"}
    scvi.model.MULTIVI.setup_mudata(mdata, batch_key="batch", modalities=names)
    n_features = {"n_genes": mosaic.n_features["rna"], "n_regions": mosaic.n_features["atac"]}
    model = scvi.model.MULTIVI(mdata, **n_features)
    kwargs = {"accelerator": device, "train_size": 1.0, "early_stopping": False, "check_val_every_n_epoch": None}
    drawn = training.per_epoch * len(next(training.minibatches).cells)
    training.epoch()
    model.train(max_epochs=1, **kwargs)
    rows = []
    for _ in range(TURNS):
        with training.fast_products():
            rows.append(("mmAAVI", seconds(training.epoch, n=2, warm_up=0), drawn))
        rows.append(("MultiVI", seconds(lambda: model.train(max_epochs=2, **kwargs), n=1, warm_up=0) / 2, len(mosaic.cells)))
    return pd.DataFrame(rows, columns=["method", "epoch_seconds", "cells_drawn"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mosaic", type=Path, help="a mosaic.h5mu of the workflow; without it a random one is used")
    parser.add_argument("--minibatch", type=int, default=SETTINGS.minibatch_size, help="cells a step")
    parser.add_argument("--multivi", action="store_true", help="compare with MultiVI of scvi-tools")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()  # as training does
    print(platform.processor() or platform.machine(), f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    mosaic = (
        load(options.mosaic)
        if options.mosaic
        else random_mosaic(10_000, {"rna": 1_700, "atac": 24_000}, {"rna": 0.01, "atac": 0.01})
    )
    settings = replace(SETTINGS, minibatch_size=options.minibatch)
    if options.multivi:
        tables = {"multivi": against_multivi(mosaic, settings)}
    else:
        tables = {"step": against_dense(mosaic, settings), "growth": growth()}
    for name, table in tables.items():
        print(table.to_string(index=False, float_format="%.3f"))
        table.to_csv(options.out / f"{name}.tsv", sep="\t", index=False)
    if "growth" in tables:
        growth_figure(tables["growth"]).savefig(options.out / "growth.png", dpi=160)


if __name__ == "__main__":
    main()

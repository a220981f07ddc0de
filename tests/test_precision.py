import numpy as np
import pytest
import torch
from conftest import DEVICES

from mmaavi import precision
from mmaavi.data import MosaicData
from mmaavi.estimator import MMAAVI
from mmaavi.likelihoods import LIKELIHOODS
from mmaavi.minibatch import ModalityRows
from mmaavi.model import MosaicVAE
from mmaavi.precision import ONEDNN_FROM, fast_products, sum_of_products
from mmaavi.settings import Settings

ROUNDOFF = 2.0**-8  # of bfloat16: two neighbouring numbers near 1 differ by twice that, a rounded one is off by half
MATMULS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def multiplies_bfloat16(request, monkeypatch):
    """Either kind of CPU, whichever this one is."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind: request.param)
    return request.param


def factors() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(0)
    return [
        tuple(torch.tensor(rng.normal(size=(n, k)), dtype=torch.float32, requires_grad=True) for n in (9, 40)) for k in (5, 17)
    ]


def exact(pairs) -> torch.Tensor:
    return sum(left.double() @ right.double().T for left, right in pairs)


@pytest.mark.parametrize("n_pairs", [1, 2])
def test_the_sum_and_its_gradients_are_those_of_float64(multiplies_bfloat16, n_pairs):
    pairs = factors()[:n_pairs]
    upstream = torch.tensor(np.random.default_rng(1).normal(size=(9, 40)), dtype=torch.float32)
    out = sum_of_products(pairs, may_round=True)
    assert out.dtype == (torch.bfloat16 if multiplies_bfloat16 else torch.float32)
    out.backward(upstream.to(out.dtype))
    found = [x.grad.clone() for pair in pairs for x in pair]
    expected = exact(pairs)
    gradients = torch.autograd.grad(expected, [x for pair in pairs for x in pair], upstream.double())
    # Of each rounding, the largest entry bounds what it can change; there are three, and a sum of 40 or fewer entries.
    tolerance = 3 * ROUNDOFF if multiplies_bfloat16 else 1e-6
    for a, b in zip([out, *found], [expected, *gradients], strict=True):
        assert (a.double() - b).abs().max() <= tolerance * b.abs().max()
    if multiplies_bfloat16:  # it was rounded indeed, and to the nearest
        rounded = exact([[x.bfloat16() for x in pair] for pair in pairs])
        assert torch.equal(out, rounded.bfloat16())
        assert not torch.equal(out.double(), expected)


def test_only_training_rounds(mosaic, multiplies_bfloat16):
    torch.manual_seed(0)
    data = MosaicData(mosaic, mosaic.batches)
    model = MosaicVAE(Settings(n_components=3, graph_share=0.9), data.scaling, len(mosaic.batches), mosaic.guidance)
    decoder = model.decoder["rna"]
    z, v = torch.randn(6, 30), torch.randn(mosaic.n_features["rna"], 30)
    batch = torch.zeros(6, dtype=torch.int64)
    assert decoder.eval()(z, v, batch).dtype == torch.float32
    assert decoder.train()(z, v, batch).dtype == (torch.bfloat16 if multiplies_bfloat16 else torch.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_of_rounded_logits_is_that_of_their_values(name, device, mosaic):
    data = MosaicData(mosaic, mosaic.batches, device=device)
    x: ModalityRows = next(iter(data.in_order(np.arange(40), 40))).modalities["rna"]
    torch.manual_seed(0)
    start = 0.1 * np.random.default_rng(0).normal(size=data.scaling["rna"].start.shape).astype(np.float32)
    likelihood = LIKELIHOODS[name](start).to(device)
    results = {}
    for kind in (torch.bfloat16, torch.float32):
        drawn = torch.randn(len(x.rows), x.counts.n_columns, generator=torch.Generator().manual_seed(0))
        logit = drawn.bfloat16().to(device, kind)
        logit.requires_grad_()
        nll = likelihood.nll(logit, x)
        results[kind] = (nll, *torch.autograd.grad(nll, [logit, likelihood.bias]))
    for rounded, plain in zip(*results.values(), strict=True):
        assert (rounded.float() - plain).abs().max() <= 2 * ROUNDOFF * plain.abs().max()
    assert results[torch.bfloat16][0].dtype == torch.float32
    of_bias = [r[2] for r in results.values()]  # what is not as large stays float32; a GPU sums in any order
    torch.testing.assert_close(*of_bias, rtol=0, atol=0 if device == "cpu" else 1e-5 * of_bias[0].abs().max().item())


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_in_bfloat16_descends_as_one_in_float32(mosaic, monkeypatch, device):
    losses = {}
    for rounds in (True, False):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind, rounds=rounds: rounds)
        model = MMAAVI(Settings(n_components=3, n_steps=40, minibatch_size=64, width=64), seed=0, device=device).fit(mosaic)
        losses[rounds] = model.history.query("phase == 'validation'")["total"].to_numpy()
    assert not np.array_equal(losses[True], losses[False])
    np.testing.assert_allclose(losses[True][-1], losses[False][-1], rtol=1e-2)  # seeds differ by as much


def test_products_are_as_before_outside(monkeypatch):
    before = [m.fp32_precision for m in MATMULS]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    with fast_products(ONEDNN_FROM):
        assert [m.fp32_precision for m in MATMULS] == ["tf32", "bf16"]
    with fast_products(ONEDNN_FROM - 1):  # too few to gain by it
        assert [m.fp32_precision for m in MATMULS] == ["tf32", before[1]]
    assert [m.fp32_precision for m in MATMULS] == before
    for other in ({"avx512_bf16": True, "amx_tile": True}, {"architecture": "aarch64", "bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda other=other: other)
        with fast_products(ONEDNN_FROM):
            assert MATMULS[1].fp32_precision == before[1]


def test_on_this_cpu_fast_products_of_float32_are_not_rounded():
    left, right = torch.randn(64, 256), torch.randn(256, 512)
    expected = left.double() @ right.double()
    with fast_products(ONEDNN_FROM):
        found = left @ right
    assert (found.double() - expected).abs().max() <= 1e-5 * expected.abs().max()

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.distributions import Independent, Normal, kl_divergence

from mmaavi.data import MosaicData
from mmaavi.edges import EdgeSampler
from mmaavi.mixture import DiagonalNormal, MixturePrior
from mmaavi.model import MosaicVAE
from mmaavi.networks import Decoder, Discriminator, GatedAttention, GuidanceGraph
from mmaavi.settings import Settings

SETTINGS = Settings(n_components=4, n_latent=6, n_fused=8, width=16, graph_share=0.9)


@pytest.fixture(scope="module")
def network(mosaic):
    torch.manual_seed(0)
    data = MosaicData(mosaic, mosaic.batches)
    return MosaicVAE(SETTINGS, data.scaling, len(mosaic.batches), mosaic.guidance), data


def subsets(n: int):
    return list(chain.from_iterable(combinations(range(n), k) for k in range(1, n + 1)))


@pytest.mark.parametrize("subset", subsets(3))
def test_attention_is_a_softmax_over_the_measured_modalities(subset):
    torch.manual_seed(0)
    attention = GatedAttention(["a", "b", "c"], 5, modality_dropout=0.0)
    h = torch.randn(3, 4, 5)
    names = ["a", "b", "c"]
    fused, weights = attention({names[i]: h[i] for i in subset}, {names[i]: torch.arange(4) for i in subset}, 4)
    scores = np.full((4, 3), -np.inf)
    for i in subset:
        w, b = (p.detach().numpy() for p in (attention.gate[names[i]].weight, attention.gate[names[i]].bias))
        raw = h[i].numpy() @ w.T + b
        scores[:, i] = 1 / (1 + np.exp(-raw[:, 0])) * np.tanh(raw[:, 1])
    alpha = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights.detach(), alpha, atol=1e-6)
    np.testing.assert_allclose(fused.detach(), np.einsum("nm,mnk->nk", alpha, h.numpy()), atol=1e-6)


def test_the_mean_weighs_all_measured_modalities_alike():
    attention = GatedAttention(["a", "b"], 5, modality_dropout=0.0, fusion="mean")
    h = {m: torch.randn(3, 5) for m in "ab"}
    fused, weights = attention(h | {"b": h["b"][:2]}, {"a": torch.arange(3), "b": torch.arange(2)}, 3)
    np.testing.assert_allclose(weights.detach(), [[0.5, 0.5], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(fused.detach(), torch.stack([*(h["a"] + h["b"])[:2] / 2, h["a"][2]]), atol=1e-6)


def test_a_missing_modality_gets_no_gradient(mosaic, network):
    model, data = network
    cells = np.flatnonzero((mosaic.obs["batch"] == "batch1").to_numpy())[:40]  # RNA + ATAC
    model.zero_grad()
    model.train()
    model.total(model(data.minibatch(cells), EdgeSampler(mosaic.guidance).sample(20))).backward()
    for part in (model.encoder.modality["protein"], model.encoder.attention.gate["protein"], model.decoder["protein"]):
        assert all(p.grad is None or not p.grad.any() for p in part.parameters())
    assert all(p.grad.any() for p in model.encoder.modality["rna"].parameters() if p.ndim > 1)


def test_every_other_parameter_gets_a_finite_gradient(mosaic, network):
    model, data = network
    model.zero_grad()
    model.train()
    cells = np.arange(0, len(mosaic.cells), 2)
    model.total(model(data.minibatch(cells), EdgeSampler(mosaic.guidance).sample(20))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def torchs(q: DiagonalNormal) -> Independent:
    return Independent(Normal(q.mean, q.sd), 1)


def test_normals_are_torchs():
    torch.manual_seed(0)
    q = DiagonalNormal(torch.randn(4, 3, 5, dtype=torch.float64), torch.rand(4, 3, 5, dtype=torch.float64) + 0.1)
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(x), torchs(q).log_prob(x))
    standard = torchs(DiagonalNormal(torch.zeros_like(q.mean), torch.ones_like(q.mean)))
    torch.testing.assert_close(q.kl_to_standard(), kl_divergence(torchs(q), standard))
    many = DiagonalNormal(q.mean.expand(20_000, 4, 3, 5), q.sd.expand(20_000, 4, 3, 5)).rsample()
    torch.testing.assert_close(many.mean(dim=0), q.mean, atol=0.2, rtol=0)
    torch.testing.assert_close(many.std(dim=0), q.sd, atol=0, rtol=0.05)


def in_both_precisions(function, *inputs: torch.Tensor) -> None:
    """The compiled form, which single precision takes, gives what torch does in double: values, gradients of a sum."""
    results = []
    for kind in (torch.float32, torch.float64):
        leaves = [x.to(kind).requires_grad_() for x in inputs]
        values = function(*leaves)
        values = values if isinstance(values, tuple) else (values,)
        total = sum((value * torch.linspace(-1, 2, value.numel()).view(value.shape)).sum() for value in values)
        results.append([*values, *torch.autograd.grad(total, leaves)])
    for compiled, exact in zip(*results, strict=True):
        assert compiled.dtype == torch.float32
        assert (compiled - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 30), (6, 4, 30), (3, 2000)])
def test_compiled_normals_and_their_gradients_are_those_of_double_precision(shape):
    torch.manual_seed(0)
    mean, sd = torch.randn(shape), torch.rand(shape) + 0.1

    def split(both):
        q = DiagonalNormal.from_linear(both)
        return q.mean, q.sd

    in_both_precisions(split, 3 * torch.randn(*shape[:-1], 2 * shape[-1]))
    in_both_precisions(lambda mean, sd: DiagonalNormal(mean, sd).kl_to_standard(), mean, sd)
    in_both_precisions(lambda mean, sd, x: DiagonalNormal(mean, sd).log_prob(x), mean, sd, torch.randn(shape))
    if len(shape) == 3:
        one = torch.randn(shape[0], 1, shape[2])
        in_both_precisions(lambda mean, sd, x: DiagonalNormal(mean, sd).log_prob(x), mean, sd, one)
        in_both_precisions(lambda mean, sd, x: DiagonalNormal(mean, sd).log_prob(x), mean, sd, torch.randn(shape[1:]))


def test_normals_that_are_very_narrow_or_wide_stay_finite():
    both = torch.cat([torch.zeros(4, 300), torch.tensor([-200.0, -30.0, 30.0, 200.0])[:, None].expand(4, 300)], dim=1)
    q = DiagonalNormal.from_linear(both)
    torch.testing.assert_close(q.sd[:, 0], torch.tensor([1e-4, 1e-4, 30.0, 200.0]) + torch.tensor([0.0, 0.0, 1e-4, 1e-4]))
    for of_each in (lambda q: q.kl_to_standard(), lambda q: q.log_prob(torch.ones(4, 300).to(q.mean))):
        in_both_precisions(lambda both, of_each=of_each: of_each(DiagonalNormal.from_linear(both)), both)


def test_the_gradient_of_an_sd_is_right_where_it_hardly_moves():
    raw = torch.linspace(-60, 20, 500)
    both = torch.stack([torch.zeros_like(raw), raw], dim=1).requires_grad_()  # (500, 2): one dimension
    (gradient,) = torch.autograd.grad(DiagonalNormal.from_linear(both).sd.sum(), both)
    torch.testing.assert_close(gradient[:, 1], torch.sigmoid(raw), rtol=1e-6, atol=0)


def test_kl_terms_agree_with_monte_carlo():
    torch.manual_seed(0)
    prior = MixturePrior(n_latent=3, counts=torch.tensor([3.0, 0.0, 7.0]), width=8).double()
    z = torch.randn(2, 3, dtype=torch.float64)
    draws = 200_000
    with torch.no_grad():
        q_z = DiagonalNormal(z + 0.1, torch.full_like(z, 0.5))
        unlabelled = torch.full((2 * draws,), -1)
        many = prior(z.repeat(draws, 1), DiagonalNormal(q_z.mean.repeat(draws, 1), q_z.sd.repeat(draws, 1)), unlabelled)
        exact = {name: term.reshape(draws, 2).mean(dim=0) for name, term in many.items()}

        # The same expectations by drawing c and u instead of summing over c and using closed forms.
        q_c = prior.q_c(z)
        c = q_c.sample((draws,))  # (draws, 2)
        onehot = torch.nn.functional.one_hot(c, 3).double()
        q_u = prior.q_u_head(torch.nn.functional.leaky_relu(prior.q_u_of_z(z) + onehot @ prior.q_u_of_c, 0.2))
        u = torchs(q_u).sample()
        p_z = torchs(DiagonalNormal.from_linear(prior.p_z_of_u(u) + onehot @ prior.p_z_of_c))
        p_u = torchs(DiagonalNormal(torch.zeros(3), torch.ones(3)))
        drawn = {
            "kl_z": torchs(q_z).log_prob(z) - p_z.log_prob(z).mean(dim=0),
            "kl_u": (torchs(q_u).log_prob(u) - p_u.log_prob(u)).mean(dim=0),
            "kl_c": (q_c.log_prob(c) - torch.tensor([4, 1, 8]).div(13).log()[c]).mean(dim=0),
        }
    for name in exact:
        torch.testing.assert_close(exact[name], drawn[name], atol=0.05, rtol=0.03, msg=lambda m, name=name: f"{name}: {m}")


def test_the_gradient_to_the_encoder_is_reversed_and_scaled():
    torch.manual_seed(0)
    z = torch.randn(10, 4, requires_grad=True)
    batch = torch.arange(10) % 2

    def gradients(strength):
        discriminator = Discriminator(4, 2, 8, 0.0, strength)
        discriminator.load_state_dict(state)
        loss = discriminator(z, batch)
        return torch.autograd.grad(loss, [z, discriminator.net[0].weight])

    state = Discriminator(4, 2, 8, 0.0, 1.0).state_dict()
    (forward_z, forward_w), (reversed_z, reversed_w) = gradients(-1.0), gradients(20.0)
    torch.testing.assert_close(reversed_z, -20 * forward_z)
    torch.testing.assert_close(reversed_w, forward_w)


@pytest.mark.parametrize(("which", "dropout", "learns_fast"), [("fast", 0.0, True), ("released", SETTINGS.dropout, False)])
def test_a_fast_discriminator_drops_nothing_and_learns_apart(which, dropout, learns_fast, mosaic, network):
    settings = replace(SETTINGS, discriminator=which)
    model = MosaicVAE(settings, network[1].scaling, len(mosaic.batches), mosaic.guidance)
    assert {layer.dropout for layer in model.discriminator.modules() if hasattr(layer, "dropout")} == {dropout}
    fast = {name for name, p in model.named_parameters() if any(p is other for other in model.fast_parameters())}
    assert fast == {name for name, _ in model.named_parameters() if learns_fast and name.startswith("discriminator.")}


def test_propagation_and_edge_loss_are_the_dense_ones(rng):
    torch.manual_seed(0)
    upper = np.triu(rng.random((12, 12)) < 0.3, 1) * rng.choice([-1.0, 1.0], (12, 12))
    graph = sp.csr_array((upper + upper.T).astype(np.float32))
    module = GuidanceGraph(graph, 4)
    dense = torch.as_tensor(graph.toarray() + np.eye(12, dtype=np.float32))
    scaled = dense / dense.abs().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(module.q_v().mean, module.head.both(scaled @ module.table)[:, :4])
    module.q_v().mean.sum().backward()
    expected = scaled.T @ (torch.ones(12, 4) @ module.head.both.weight[:4])
    torch.testing.assert_close(module.table.grad, expected)

    sample = EdgeSampler(graph, n_negatives=3).sample(40)
    assert set(sample.sign.tolist()) == {-1.0, 1.0}
    assert (sample.source == sample.targets[:, 0]).any()  # a feature and itself
    v = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    pair = sample.sign[:, None] * torch.gather((v @ v.T)[sample.source], 1, sample.targets)
    linked = torch.sigmoid(pair)
    expected = 0.5 * (-linked[:, 0].log().mean() - (1 - linked[:, 1:]).log().mean())
    (gradient,) = torch.autograd.grad(3 * expected, v)
    for dtype in (torch.float32, torch.float64):  # compiled, and plain
        of = v.detach().to(dtype).requires_grad_()
        ours = GuidanceGraph.edge_nll(of, sample)
        torch.testing.assert_close(ours, expected.to(dtype))
        torch.testing.assert_close(torch.autograd.grad(3 * ours, of)[0], gradient.to(dtype))
    of = of.detach().float().index_fill(0, sample.targets[-1, -1], torch.nan)
    assert GuidanceGraph.edge_nll(of, sample).isnan()


def test_the_weight_of_the_kl_terms_is_that_of_z_u_and_c_alone(mosaic, network):
    model, data = network
    terms = model(data.minibatch(np.arange(40)), EdgeSampler(mosaic.guidance).sample(20))
    less = model.total(terms) - model.total(terms, torch.tensor(0.3))
    torch.testing.assert_close(less, 0.7 * (terms["kl_z"] + terms["kl_u"] + terms["kl_c"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("w", [0.0, 0.9, 1.0])
def test_the_decoder_mixes_graph_and_network_as_the_paper_says(mosaic, network, w):
    torch.manual_seed(1)
    scaling = network[1].scaling["rna"]
    decoder = Decoder(6, scaling, 16, dropout=0.2, graph_share=w)
    z, v = torch.randn(30, 6), torch.randn(scaling.n_features, 6)
    batch = torch.arange(30) % len(mosaic.batches)
    decoder.train()(z, v, batch)  # so that the normalisation has means of its own
    logits = decoder.eval()(z, v, batch)
    expected = w * z.double() @ v.double().T
    if w < 1:
        h = torch.cat([z, torch.eye(len(mosaic.batches))[batch]], dim=1).double()
        for linear, norm in ((decoder.body[0], decoder.body[1].norm), (decoder.body[2], decoder.body[3].norm)):
            h = h @ linear.weight.double().T
            h = (h - norm.running_mean.double()) / (norm.running_var.double() + norm.eps).sqrt()
            h = h * norm.weight.double() + norm.bias.double()
            h = torch.where(h > 0, h, 0.2 * h)
        expected = expected + (1 - w) * h @ decoder.weight.double().T
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)

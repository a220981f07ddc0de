import pytest
import torch
import torch.nn.functional as F

from mmaavi.layers import Activation
from mmaavi.processes import BatchNorm


def trained(width: int, dropout: float) -> Activation:
    layer = Activation(width, dropout)
    with torch.no_grad():
        layer.norm.weight.copy_(torch.linspace(0.5, 2, width))
        layer.norm.bias.copy_(torch.linspace(-1, 1, width))
    return layer


@pytest.mark.parametrize(("n", "width"), [(2, 1), (64, 256), (171, 50)])
def test_the_compiled_layer_is_torchs_in_double_precision(n, width):
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(n, width)
    results = []
    for kind in (torch.float32, torch.float64):
        layer, given = trained(width, 0.0).to(kind), x.to(kind).requires_grad_()
        for _ in range(2):  # its moving statistics move twice
            out = layer(given)
        total = (out * torch.linspace(-1, 2, out.numel()).view(out.shape)).sum()
        moved = (layer.norm.running_mean, layer.norm.running_var)
        results.append([out, *torch.autograd.grad(total, [given, *layer.parameters()]), *moved])
    for compiled, exact in zip(*results, strict=True):
        assert compiled.dtype == torch.float32
        assert (compiled - exact).norm() < 1e-5 * exact.norm() + 1e-5 * (n == 2)  # of two cells it hardly tells how far apart


@pytest.mark.parametrize("share", [0.05, 0.3, 0.99])
def test_it_drops_the_share_that_it_is_asked_for_and_keeps_the_mean(share):
    torch.manual_seed(0)
    x = torch.randn(801, 503)  # no multiple of four units
    out, plain = Activation(503, share)(x), Activation(503, 0.0)(x)
    kept = (out != 0).double()
    sd = (share * (1 - share)) ** 0.5
    assert abs(kept.mean() - (1 - share)) < 5 * sd / x.numel() ** 0.5 + 2**-16
    torch.testing.assert_close(out, plain * kept.float() / (1 - share), rtol=1e-5 + 2**-16 / (1 - share), atol=1e-6)
    by_place = kept.flatten()[: x.numel() // 4 * 4].view(-1, 4).mean(dim=0)  # four units come of one drawn number
    assert ((by_place - (1 - share)).abs() < 5 * sd / (x.numel() / 4) ** 0.5 + 2**-16).all()


def test_it_draws_each_unit_by_itself_and_anew():
    torch.manual_seed(0)
    layer, x = Activation(256, 0.5), torch.randn(400, 256)
    first, second = layer(x) != 0, layer(x) != 0
    for lag in (1, 2, 3, 4, 256):
        one, other = first.flatten()[:-lag].float(), first.flatten()[lag:].float()
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 5 / x.numel() ** 0.5
    assert abs((first == second).float().mean() - 0.5) < 2.5 / x.numel() ** 0.5
    torch.manual_seed(0)
    torch.randn(400, 256)
    assert torch.equal(layer(x) != 0, first)


def test_the_gradient_leaves_out_what_was_dropped():
    torch.manual_seed(0)
    x = torch.randn(60, 30, requires_grad=True)
    layer = trained(30, 0.2)
    out = layer(x)
    weight = torch.randn_like(x)
    mine = torch.autograd.grad((out * weight).sum(), [x, *layer.parameters()])
    norm = BatchNorm(30)
    norm.load_state_dict({**layer.norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    kept = (out != 0).float() / (1 - round(0.2 * 2**16) / 2**16)
    plain = F.leaky_relu(norm(x), 0.2) * kept
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(mine, torch.autograd.grad((plain * weight).sum(), [x, *norm.parameters()]), rtol=1e-4, atol=1e-5)


def test_a_trained_layer_is_plain():
    torch.manual_seed(0)
    layer, x = trained(7, 0.5), torch.randn(5, 7)
    layer(torch.randn(50, 7))
    norm = layer.eval().norm
    expected = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(layer(x), torch.where(expected > 0, expected, 0.2 * expected))


def test_one_cell_has_no_spread_to_normalise_by():
    with pytest.raises(ValueError, match="more than 1 value"):
        Activation(7, 0.0)(torch.randn(1, 7))

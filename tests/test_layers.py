import pytest
import torch

from mmaavi.layers import Dropout


@pytest.mark.parametrize("share", [0.05, 0.3, 0.99])
def test_dropout_drops_the_share_that_it_is_asked_for_and_keeps_the_mean(share):
    torch.manual_seed(0)
    x = torch.ones(801, 503, dtype=torch.float64)  # no multiple of four units
    out = Dropout(share)(x)
    kept = out != 0
    n_kept = kept.double()
    sd = (share * (1 - share)) ** 0.5
    assert abs(n_kept.mean() - (1 - share)) < 5 * sd / x.numel() ** 0.5 + 2**-16
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - share)), rtol=2**-16 / (1 - share), atol=0)
    by_place = n_kept.flatten()[: x.numel() // 4 * 4].view(-1, 4).mean(dim=0)  # four units come of one drawn number
    assert ((by_place - (1 - share)).abs() < 5 * sd / (x.numel() / 4) ** 0.5 + 2**-16).all()


def test_dropout_draws_each_unit_by_itself_and_anew():
    torch.manual_seed(0)
    layer, x = Dropout(0.5), torch.ones(400, 256)
    first, second = layer(x) != 0, layer(x) != 0
    for lag in (1, 2, 3, 4, 256):
        one, other = first.flatten()[:-lag].float(), first.flatten()[lag:].float()
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 5 / x.numel() ** 0.5
    assert abs((first == second).float().mean() - 0.5) < 2.5 / x.numel() ** 0.5
    torch.manual_seed(0)
    assert torch.equal(layer(x) != 0, first)


def test_dropouts_gradient_is_what_was_kept():
    torch.manual_seed(0)
    x = torch.randn(60, 30, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.2)(x)
    weight = torch.randn_like(x)
    (out * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight * (out / x).detach())


def test_dropout_leaves_alone_what_is_not_trained_or_not_dropped():
    x = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)

import pytest
import torch
from conftest import DEVICES
from torch import nn

from mmaavi.schedules import OneCycle, Plateau, Rmsprop


def rates(schedule, model, losses, per_epoch=1):
    seen = []
    for epoch, loss in enumerate(losses):
        for _ in range(per_epoch):
            schedule.descend(model(torch.ones(1, 1)).sum())
            schedule.next_step()
        seen.append(schedule._optimiser.param_groups[0]["lr"])
        if schedule.ends_after(epoch, loss, {"epoch": torch.tensor(epoch)}):
            break
    return seen


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_rmsprop_is_torchs_rmsprop(device, dtype):
    torch.manual_seed(0)
    shapes = [(5, 3), (), (7,), (70_001,), *[(4,)] * 40]  # more than a kernel takes at once, and no multiples of its width
    ours = [nn.Parameter(torch.randn(shape, dtype=dtype, device=device)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    ours_and_theirs = [[{"params": p[:9], "lr": 2**-7}, {"params": p[9:], "lr": 2**-5}] for p in (ours, theirs)]
    optimisers = [Rmsprop(ours_and_theirs[0]), torch.optim.RMSprop(ours_and_theirs[1])]
    for step in range(60):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            a.grad = None if i % 3 == step % 5 else torch.randn_like(a) + a.detach()  # some have none now and then
            b.grad = None if a.grad is None else a.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
        for a, b in zip(ours, theirs, strict=True):
            assert a.grad is None or torch.equal(a.grad, b.grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-12, "atol": 1e-14} if dtype == torch.float64 else {}))


def test_one_cycle_rises_and_falls_to_zero_over_all_steps():
    model = nn.Linear(1, 1)
    seen = rates(OneCycle(model, 0.1, n_epochs=20, per_epoch=5), model, [1.0] * 20, per_epoch=5)[:-1]
    assert len(seen) == 19
    assert max(seen) <= 0.1
    assert seen[-1] < 0.01 < seen[2]


@pytest.mark.parametrize("schedule", [OneCycle, Plateau])
def test_fast_parameters_move_three_times_as_far(schedule):
    model = nn.Linear(1, 1).double()
    moving = schedule(model, 0.1, n_epochs=20, per_epoch=5, fast=[model.bias])
    for step in range(20):
        before = [p.detach().clone() for p in (model.weight, model.bias)]
        moving.descend(model(torch.ones(1, 1, dtype=torch.float64)).sum())  # the same gradient of both
        moving.next_step()
        moving.ends_after(step, 1.0, {})  # at a plateau both rates fall
        weight, bias = (p.detach() - b for p, b in zip((model.weight, model.bias), before, strict=True))
        torch.testing.assert_close(bias, 3 * weight[0], rtol=1e-9, atol=0)


def test_the_kl_terms_weigh_more_from_step_to_step_of_the_first_half():
    model = nn.Linear(1, 1)
    schedule, seen = OneCycle(model, 0.1, n_epochs=4, per_epoch=5), []
    for _ in range(19):
        seen.append(float(schedule.kl_weight))
        schedule.descend(model(torch.ones(1, 1)).sum())
        schedule.next_step()
    torch.testing.assert_close(torch.tensor(seen), torch.linspace(0.1, 1.9, 19).clamp_max(1.0))


def test_a_restored_schedule_weighs_the_kl_terms_as_the_one_that_was_stored():
    model = nn.Linear(1, 1)
    one, other = (OneCycle(model, 0.1, n_epochs=4, per_epoch=5) for _ in range(2))
    for _ in range(3):
        one.descend(model(torch.ones(1, 1)).sum())
        one.next_step()
    other.load_state_dict(one.state_dict())
    assert float(other.kl_weight) == float(one.kl_weight) == pytest.approx(0.4)


def test_plateau_weighs_all_terms_fully_from_the_first_step():
    model = nn.Linear(1, 1)
    schedule = Plateau(model, 0.1, n_epochs=300, per_epoch=1)
    assert schedule.kl_weight == 1
    rates(schedule, model, [1.0] * 3)
    assert schedule.kl_weight == 1


def test_plateau_ends_at_the_third_fall_and_keeps_the_best_state():
    model = nn.Linear(1, 1)
    schedule = Plateau(model, 0.1, n_epochs=300, per_epoch=1)
    losses = [10.0, 9.0, *[9.5] * 7, 8.0, *[8.5] * 7, 7.0, *[7.5] * 50]
    seen = rates(schedule, model, losses)
    assert len(seen) < len(losses)
    assert seen[-1] <= 0.1 * 0.1**2 + 1e-9
    assert schedule.best_state["epoch"] == losses.index(7.0)


def test_plateau_ends_after_ten_epochs_without_improvement():
    model = nn.Linear(1, 1)
    assert len(rates(Plateau(model, 0.1, n_epochs=300, per_epoch=1), model, [1.0] + [2.0] * 50)) == 11

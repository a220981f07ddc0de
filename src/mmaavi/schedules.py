"""How the parameters move: the optimiser, its learning rate, the weight of the KL terms, and when training ends."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LONG_SINCE = 1e6  # steps of Adam, so that 1 - 0.99^steps is 1
FAST = 3.0  # learning rate of the fast parameters, in that of the others


class Rmsprop(torch.optim.Optimizer):
    """RMSprop (Hinton 2012) with torch's defaults, in one fused pass over the parameters; torch's own takes four times as long.

    The pass is that of Adam, without momentum: the average of gradients is the gradient, in its own place. Nor is the average of
    squares corrected for starting at zero. The first steps are so the largest, and batches mix better than with Adam; without
    its momentum alone, Adam mixed no better. Each group has its parameters (``params``) and their learning rate (``lr``).
    """

    def __init__(self, groups: list[dict]):
        super().__init__(groups, {})

    def add_param_group(self, group: dict) -> None:
        """As torch's own, which first imports torch's compiler: that takes a second, and nothing is compiled."""
        rate, device = group["lr"], group["params"][0].device
        if device.type == "cuda":  # a recorded step reads the rate there
            rate = torch.tensor(rate, dtype=torch.float32, device=device)
        self.param_groups.append({**group, "lr": rate})
        for p in group["params"]:
            self.state[p] = {"squares": torch.zeros_like(p)}

    @torch.no_grad()
    def step(self) -> None:
        plain = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            gradients, squares = [p.grad for p in moved], [self.state[p]["squares"] for p in moved]
            n_steps = [torch.full((), LONG_SINCE, dtype=torch.float32, device=moved[0].device)] * len(moved)
            torch._fused_adam_(
                moved, gradients, gradients, squares, [], n_steps, lr=group["lr"], beta1=0.0, beta2=0.99, eps=1e-8, **plain
            )


class Schedule:
    """RMSprop and how its learning rate changes; each kind of schedule says how, and when training ends.

    A step is ``descend``, which a GPU may replay from a recording, and then ``next_step``.

    Parameters
    ----------
    model, learning_rate, n_epochs
        What is trained, how fast at the highest, how long at most.
    fast
        Those of the model's parameters that learn three times as fast as the others.

    Attributes
    ----------
    kl_weight
        Of the cells' KL terms in the present step; a scalar on the model's device, where a recorded step reads it.
    """

    best_state: dict[str, Tensor] | None = None

    def __init__(self, model: nn.Module, learning_rate: float, n_epochs: int, fast: Iterable[nn.Parameter] = ()):
        self.n_epochs = n_epochs
        self._parameters, fast = list(model.parameters()), set(fast)
        groups = [
            {"params": [p for p in self._parameters if p not in fast], "lr": learning_rate},
            {"params": [p for p in self._parameters if p in fast], "lr": FAST * learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        self._highest_rates = [group["lr"] for group in groups]
        self._optimiser = Rmsprop(groups)
        self.kl_weight = torch.ones((), device=next(model.parameters()).device)

    def descend(self, loss: Tensor) -> None:
        """Take the gradients of the loss, and a step of the optimiser."""
        for parameter in self._parameters:
            parameter.grad = None  # module.zero_grad looks for all parameters first, in some 2% of a small step
        loss.backward()
        self._optimiser.step()

    def next_step(self) -> None:
        """Set the learning rate and the KL terms' weight of the next step."""

    def ends_after(self, epoch: int, validation_loss: float, state: dict[str, Tensor]) -> bool:
        """Whether training ends before the last epoch."""
        return False

    def state_dict(self) -> dict:
        """What is needed to go on."""
        return {"optimiser": self._optimiser.state_dict(), "rate": self._rate.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._optimiser.load_state_dict(state["optimiser"])
        self._rate.load_state_dict(state["rate"])


class OneCycle(Schedule):
    """The learning rate rises, then falls to zero over a fixed number of steps (Smith & Topin 2019).

    No epoch is wasted on waiting for a plateau, and the last state is the one to keep. The cells' KL terms weigh little at
    first (Bowman et al. 2016).
    """

    WARM_UP = 0.1  # share of the steps in which the learning rate rises
    KL_WARM_UP = 0.5  # share of the steps in which the KL terms' weight rises

    def __init__(self, model: nn.Module, learning_rate: float, n_epochs: int, per_epoch: int, fast: Iterable[nn.Parameter] = ()):
        super().__init__(model, learning_rate, n_epochs, fast)
        self._rate = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, self._highest_rates, total_steps=n_epochs * per_epoch, pct_start=self.WARM_UP, cycle_momentum=False
        )
        self._weigh_kl()

    def next_step(self) -> None:
        self._rate.step()
        self._weigh_kl()

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._weigh_kl()

    def _weigh_kl(self) -> None:
        n_taken = self._rate.last_epoch
        self.kl_weight.fill_(min(1.0, (n_taken + 1) / (self.KL_WARM_UP * self._rate.total_steps)))


class Plateau(Schedule):
    """As released: the learning rate falls tenfold where the validation loss stalls, and training ends at the third fall, or
    after ten epochs without improvement; the best state is kept.
    """

    N_FALLS, PATIENCE, LONG_PATIENCE = 3, 5, 10

    def __init__(self, model: nn.Module, learning_rate: float, n_epochs: int, per_epoch: int, fast: Iterable[nn.Parameter] = ()):
        super().__init__(model, learning_rate, n_epochs, fast)
        self._best_loss, self._best_epoch, self._lowest_rate = float("inf"), 0, learning_rate * 0.1**self.N_FALLS
        self._rate = torch.optim.lr_scheduler.ReduceLROnPlateau(self._optimiser, factor=0.1, patience=self.PATIENCE)

    def ends_after(self, epoch: int, validation_loss: float, state: dict[str, Tensor]) -> bool:
        """Whether training ends before the last epoch; ``state`` is kept where it is the best so far."""
        if validation_loss < self._best_loss:
            self._best_loss, self._best_epoch, self.best_state = validation_loss, epoch, state
        self._rate.step(validation_loss)
        fallen = self._optimiser.param_groups[0]["lr"] <= 1.01 * self._lowest_rate
        return fallen or epoch - self._best_epoch >= self.LONG_PATIENCE

    def state_dict(self) -> dict:
        best = {"loss": self._best_loss, "epoch": self._best_epoch, "state": self.best_state}
        return {**super().state_dict(), "best": best}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        best = state["best"]
        self._best_loss, self._best_epoch, self.best_state = best["loss"], best["epoch"], best["state"]


SCHEDULES = {"one_cycle": OneCycle, "plateau": Plateau}

"""An optimiser that does not trip over a loss or a gradient that is not finite."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

Average = Callable[[list[Tensor]], None]  # replaces tensors, in place, by their means over learners
PATIENCE = 100


class NonFiniteError(RuntimeError):
    """A loss or its gradient stayed NaN or infinite for too long: nothing is being learned any more."""


def alone(tensors: list[Tensor]) -> None:
    """The average over one learner."""


class GuardedOptimiser:
    """Steps of an optimiser along gradients averaged over learners; where one is not finite it is skipped, and counted.

    ``members`` E: of an :class:`.ensemble.Ensemble`, whose losses are (E,); each member is skipped alone. ``patience`` steps in a row that
    are skipped raise :class:`NonFiniteError`. ``schedule`` moves on with every step, skipped or not.
    """

    def __init__(
        self,
        name: str,
        optimiser: torch.optim.Optimizer,
        *,
        schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        members: int | None = None,
        patience: int = PATIENCE,
        average: Average = alone,
    ) -> None:
        self.name, self.optimiser, self.patience, self.average, self.members = name, optimiser, patience, average, members
        self.schedule = None if schedule is None else schedule(optimiser)
        self.parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self.steps = self.skipped = 0
        self.last_finite = torch.zeros(members or 1, dtype=torch.long)  # step of each member

    def step(self, losses: Tensor | Iterable[Tensor]) -> Tensor:
        """One step along the gradient of the loss, or of the sum of several, which is returned, averaged over learners.

        Each is differentiated before the next is made: the parts of one large loss need no more memory, or cache, than one of them.
        """
        return self._step(*self._differentiated([losses] if isinstance(losses, Tensor) else losses))

    def step_along(self, loss: Tensor, found: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """One step of some of the parameters, along the gradient of the loss that was ``found`` in each; others stay."""
        gradients = {parameter: _like(gradient, parameter) for parameter, gradient in found}
        return self._step(loss, [gradients.get(parameter) for parameter in self.parameters])

    def _step(self, total: Tensor, gradients: Sequence[Tensor | None]) -> Tensor:
        self.steps += 1
        there = [each for each in gradients if each is not None]
        self.average([total, *there])
        finite = self._finite(total, there)
        if finite.all():
            self.last_finite.fill_(self.steps)
            self._move(gradients)
        else:
            self.last_finite[finite.cpu()] = self.steps
            self.skipped += int((~finite).sum())
            self._stop_if_hopeless()
            self._move_some(finite, gradients)
        if self.schedule is not None:
            self.schedule.step()
        return total

    @property
    def decay(self) -> float:
        """The present learning rate as a share of the first."""
        return 1.0 if self.schedule is None else float(self.schedule.get_last_lr()[0] / self.schedule.base_lrs[0])

    def _differentiated(self, losses: Iterable[Tensor]) -> tuple[Tensor, list[Tensor]]:
        totals: list[Tensor] = []
        for loss in losses:
            found = torch.autograd.grad(loss.sum(), self.parameters, allow_unused=True)
            gradients = [torch.zeros_like(p) if g is None else _like(g, p) for g, p in zip(found, self.parameters, strict=True)]
            parts = [loss.detach().clone(), *gradients]
            totals = [total.add_(part) for total, part in zip(totals, parts, strict=True)] if totals else parts
        return totals[0], totals[1:]

    def _finite(self, loss: Tensor, gradients: list[Tensor]) -> Tensor:
        """Of each member, (E,)."""
        if self.members is None:
            return (loss + torch.stack(torch._foreach_norm(gradients)).sum()).isfinite().reshape(1)
        sums = [gradient.reshape(self.members, -1).sum(1) for gradient in gradients]
        return torch.stack([loss, *sums]).isfinite().all(0)

    def _move(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()

    def _move_some(self, finite: Tensor, gradients: Sequence[Tensor | None]) -> None:
        """Of all that a step changes, Adam's moments among it, what belongs to the others is put back."""
        if not finite.any():
            return
        kept = [(tensor, tensor[~finite].clone()) for tensor in self._moved()]
        dropped = (~finite).nonzero().squeeze(1)
        self._move([None if gradient is None else gradient.index_fill(0, dropped, 0.0) for gradient in gradients])
        for tensor, before in kept:
            tensor[~finite] = before

    def _moved(self) -> list[Tensor]:
        states = [value for p in self.parameters for value in self.optimiser.state[p].values() if value.shape == p.shape]
        return [parameter.data for parameter in self.parameters] + states

    def _stop_if_hopeless(self) -> None:
        longest, member = (self.steps - self.last_finite).max(0)
        if longest >= self.patience:
            whose = "" if self.members is None else f" of repeat {int(member)}"
            raise NonFiniteError(
                f"the {self.name} loss{whose} or its gradient was not finite {int(longest)} times in a row, last finite at its step "
                f"{int(self.last_finite[member])}: look for NaN or huge numbers in what goes in, or lower the {self.name}'s learning rate."
            )

    def state_dict(self) -> dict[str, Any]:
        """The counts, and the optimiser and the schedule."""
        schedule = {} if self.schedule is None else {"schedule": self.schedule.state_dict()}
        counts = {"steps": self.steps, "skipped": self.skipped, "last_finite": self.last_finite}
        return {"optimiser": self.optimiser.state_dict(), **schedule, **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.steps, self.skipped, self.last_finite = state["steps"], state["skipped"], state["last_finite"].clone()


def _like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """In the parameter's memory layout: torch's fused optimisers on a CPU read numbers in the order of memory, whatever the strides."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)

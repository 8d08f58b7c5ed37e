"""An ensemble that is trained: optimiser, learning-rate schedule, and members that do not spoil each other's steps.

Notation: E members.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ardae_rl.nn.ensemble import Ensemble
from ardae_rl.tasks.descent import IMPATIENCE


class Learner:
    """An ensemble with its optimiser (Adam) and learning rate, which decays to 0 along a cosine over ``steps``."""

    def __init__(self, name: str, members: Sequence[nn.Module], *, lr: float, steps: int, device: str) -> None:
        self.name, self.ensemble = name, Ensemble(members).to(device)
        self.optimiser = torch.optim.Adam(self.ensemble.parameters(), lr=lr, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)
        self.steps_done, self.skipped = 0, 0
        self.last_finite_step = torch.zeros(self.ensemble.size, dtype=torch.long)

    @property
    def decay(self) -> float:
        """The present learning rate as a share of the first."""
        return float(self.schedule.get_last_lr()[0] / self.schedule.base_lrs[0])

    def descend(self, losses: Tensor) -> None:
        """One step of every member down its own loss, (E,)."""
        self.optimiser.zero_grad()
        losses.sum().backward()
        self.steps_done += 1
        lost = self._lost(losses.detach())
        kept = [(tensor, tensor[lost].clone()) for tensor in self._moved()] if lost.any() else []
        self.optimiser.step()
        for tensor, before in kept:
            tensor[lost] = before
        self.schedule.step()

    @torch.no_grad()
    def _lost(self, losses: Tensor) -> Tensor:
        """Which members have a loss or gradient that is not finite, (E,): counted, their gradient set to 0. After 100 in a row all stop."""
        gradients = [parameter.grad for parameter in self.ensemble.parameters() if parameter.grad is not None]
        finite = torch.stack([losses, *(gradient.reshape(len(losses), -1).sum(1) for gradient in gradients)]).isfinite().all(0)
        self.last_finite_step[finite.cpu()] = self.steps_done
        if finite.all():
            return ~finite
        self.skipped += int((~finite).sum())
        for gradient in gradients:
            gradient[~finite] = 0.0
        self._stop_if_hopeless()
        return ~finite

    def _moved(self) -> Iterator[Tensor]:
        """All that a step of the optimiser changes: parameters, and Adam's moments, which move a parameter that has no gradient."""
        for parameter in self.ensemble.parameters():
            yield parameter.data
            yield from (value for value in self.optimiser.state[parameter].values() if value.shape == parameter.shape)

    def _stop_if_hopeless(self) -> None:
        longest, member = (self.steps_done - self.last_finite_step).max(0)
        if longest >= IMPATIENCE:
            raise FloatingPointError(
                f"the {self.name} loss of repeat {int(member)} or its gradient was not finite {int(longest)} times in a row; it last was "
                f"at {self.name} step {int(self.last_finite_step[member])}. Lower lr, score.lr or penalty_end."
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "ensemble": self.ensemble.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps_done": self.steps_done,
            "skipped": self.skipped,
            "last_finite_step": self.last_finite_step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ensemble.load_state_dict(state["ensemble"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps_done, self.skipped = state["steps_done"], state["skipped"]
        self.last_finite_step = state["last_finite_step"].clone()

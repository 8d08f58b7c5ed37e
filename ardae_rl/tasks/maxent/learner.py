"""An ensemble that is trained: optimiser, learning-rate schedule, and members that do not spoil each other's steps.

Notation: E members.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ardae_rl.score.ensemble import Ensemble
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
        self._mask(losses.detach())
        self.optimiser.step()
        self.schedule.step()

    @torch.no_grad()
    def _mask(self, losses: Tensor) -> None:
        """A member whose loss or gradient is not finite gets a gradient of 0, and keeps the others going; after 100 in a row all stop."""
        gradients = [parameter.grad for parameter in self.ensemble.parameters() if parameter.grad is not None]
        finite = torch.stack([losses, *(gradient.reshape(len(losses), -1).sum(1) for gradient in gradients)]).isfinite().all(0)
        healthy = finite.cpu()
        self.last_finite_step[healthy] = self.steps_done
        if healthy.all():
            return
        self.skipped += int((~healthy).sum())
        for gradient in gradients:
            gradient[~finite] = 0.0
        self._stop_if_hopeless()

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

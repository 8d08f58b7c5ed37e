"""An optimiser that does not trip over a loss or a gradient that is not finite."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

IMPATIENCE = 100


class Descent:
    """Steps of an optimiser that skip, and count, losses that are not finite or whose gradient is not.

    A hundred of them in a row raise FloatingPointError: nothing is being learned any more.
    """

    def __init__(self, name: str, optimiser: torch.optim.Optimizer) -> None:
        self.name, self.optimiser = name, optimiser
        self.steps = self.skipped = self.skipped_in_a_row = 0

    def step(self, loss: Tensor) -> None:
        self.step_along((loss,))

    def step_along(self, losses: Iterable[Tensor]) -> Tensor:
        """One step along the gradient of the sum of ``losses``, which is returned.

        Each is differentiated before the next is made: the parts of one large loss need no more memory, or cache, than one of them.
        """
        self.steps += 1
        self.optimiser.zero_grad()
        values = []
        for loss in losses:
            loss.backward()
            values.append(loss.detach())
        total = torch.stack(values).sum()
        if (total + self._gradient_norm()).isfinite():
            self.skipped_in_a_row = 0
            self.optimiser.step()
        else:
            self._skip()
        return total

    def _gradient_norm(self) -> Tensor:
        parameters = (parameter for group in self.optimiser.param_groups for parameter in group["params"])
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])

    def _skip(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row == IMPATIENCE:
            raise FloatingPointError(
                f"the loss of the {self.name} or its gradient was not finite {IMPATIENCE} times in a row, last finite at its step "
                f"{self.steps - IMPATIENCE}: lower its learning rate, or look at the samples there."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "counts": [self.steps, self.skipped, self.skipped_in_a_row]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.skipped, self.skipped_in_a_row = state["counts"]

"""A task whose every number is known, to test what is built around tasks."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from ardae_rl.tasks.task import Metrics


@dataclass(frozen=True, kw_only=True)
class CountingSettings:
    steps: int = 7
    report_every_steps: int = 3
    evaluate_every_steps: int = 2
    evaluates: str = "spread"
    late_metric_from: int = 1000

    def smoke(self) -> "CountingSettings":
        return dataclasses.replace(self, steps=1)


class CountingTask:
    """Counts its steps; walks at random with torch's own generator; evaluates with one of its own."""

    headline = "spread"

    def __init__(self, settings: CountingSettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings, self.count, self.position = settings, 0, torch.zeros(())
        self._own = torch.Generator().manual_seed(seed)

    def step(self) -> Metrics:
        self.count += 1
        self.position = self.position + torch.randn(())
        late = {"late": 0.0} if self.count >= self.settings.late_metric_from else {}
        return {"count": float(self.count), "position": float(self.position), **late}

    def evaluate(self) -> Metrics:
        value = float(torch.randn((), generator=self._own))
        return {self.settings.evaluates: value} if self.settings.evaluates else {}

    def figures(self) -> dict[str, Figure]:
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().plot([0, self.count])
        return {"walk": figure}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "position": self.position, "own": self._own.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.position = state["count"], state["position"]
        self._own.set_state(state["own"])

"""Train one score estimator on draws of one law and measure its error."""

from typing import Any

import torch
from matplotlib.figure import Figure

from ardae_rl.score import ARDAE
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.task import Metrics


class ScoreErrorTask:
    headline = "score_error"

    def __init__(self, settings: ScoreErrorSettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings = settings
        self.estimator = ARDAE(1, adaptive_delta=False, delta_scale=0.05).to(device)
        self.optimiser = torch.optim.Adam(self.estimator.parameters(), lr=settings.lr, fused=True)

    def step(self) -> Metrics:
        x = 2 * torch.randint(0, 2, (256, 1)) * 2.0 - 2 + 0.5 * torch.randn(256, 1)
        self.optimiser.zero_grad()
        loss = self.estimator.loss(x)
        loss.backward()
        self.optimiser.step()
        return {"loss": float(loss.detach())}

    def evaluate(self) -> Metrics:
        return {"score_error": float(sum(p.detach().abs().sum() for p in self.estimator.parameters()))}

    def figures(self) -> dict[str, Figure]:
        figure = Figure()
        figure.add_subplot().plot([0, 1], [0, 1])
        return {"score": figure}

    def state_dict(self) -> dict[str, Any]:
        return {"estimator": self.estimator.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.estimator.load_state_dict(state["estimator"])
        self.optimiser.load_state_dict(state["optimiser"])

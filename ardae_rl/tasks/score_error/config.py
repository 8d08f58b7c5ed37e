"""Settings of the ``score_error`` task. Plain data: no torch, no Ray."""

import dataclasses
from dataclasses import dataclass


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value <= 0:
            raise ValueError(f"{name} must be greater than 0, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ScoreErrorSettings:
    """One estimator trained on draws of one law whose score is known."""

    law: str = "mixture_1d"
    estimator: str = "ardae"
    steps: int = 10_000
    lr: float = 1e-3
    report_every_steps: int = 500
    evaluate_every_steps: int = 1000

    def __post_init__(self) -> None:
        _positive(self, "steps", "lr", "report_every_steps", "evaluate_every_steps")

    def smoke(self) -> "ScoreErrorSettings":
        return dataclasses.replace(self, steps=20, report_every_steps=10, evaluate_every_steps=20)

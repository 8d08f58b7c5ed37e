"""Accuracy of AR-DAE on a sampler whose score is known: ``amortised``, the default, and ``per_context`` against the paper's scale.

The sampler is the law ``gaussian_4d`` of the ``score_error`` task: x = m(s) + L(s) eps with a state s (8-d), a sample x (4-d), fixed random
smooth m and L, and a spread that differs from state to state and between dimensions. All see the same draws, have the same score network,
and train for the same number of steps.
"""

from collections.abc import Sequence

import torch
from rich.progress import track

from ardae_rl.run.process import prepare_training_process
from ardae_rl.tasks.score_error.config import ScoreErrorSettings, ScoreSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask
from benchmark.report import Row, beside_the_first

LABELS = ("fixed s = 10000", "per_context", "amortised")
STATES, SAMPLES = 64, 32


def settings(label: str, *, steps: int) -> ScoreErrorSettings:
    standardisation = dict(zip(LABELS, ("fixed", "per_context", "amortised"), strict=True))[label]
    score = ScoreSettings(
        activation="elu",
        standardisation=standardisation,  # type: ignore[arg-type]
        scale=10_000.0,
        delta_scale=0.1,
        adaptive_delta=True,
        antithetic=True,
    )
    return ScoreErrorSettings(
        law="gaussian_4d",
        score=score,
        contexts=STATES,
        samples_per_context=SAMPLES,
        steps=steps,
    )


def run(*, seeds: Sequence[int], threads: int, steps: int = 4000) -> list[Row]:
    """Every variant on the law of every seed."""
    prepare_training_process()
    torch.set_num_threads(threads)
    plan = [(seed, label) for seed in seeds for label in LABELS]
    found: dict[str, list[dict[str, float]]] = {label: [] for label in LABELS}
    for seed, label in track(plan, "AR-DAE on a Gaussian sampler", transient=True):
        found[label].append(measure(settings(label, steps=steps), seed=seed))
    shown = (("score error", "relative_score_error", "relative"), ("log-density error", "log_density_error", "nats RMS"))
    return [each for name, metric, unit in shown for each in _rows(name, metric, unit, found)]


def measure(chosen: ScoreErrorSettings, *, seed: int) -> dict[str, float]:
    """Train on fresh draws, then compare with the truth on fresh draws."""
    task = ScoreErrorTask(chosen, seed=seed)
    for _ in range(chosen.steps):
        task.step()
    return task.evaluate()


def _rows(name: str, metric: str, unit: str, found: dict[str, list[dict[str, float]]]) -> list[Row]:
    return beside_the_first({f"{name}, {label}": [each[metric] for each in runs] for label, runs in found.items()}, unit)

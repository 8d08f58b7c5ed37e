"""The numbers to watch while trials run, at Ray's Prometheus endpoint; docs/monitoring.md says how to read them.

Every trial publishes what it reports, in its own process; Ray offers it at the metrics port of the node it runs on, as ``ray_`` and the
name, of a counter with ``_total`` behind it.
"""

import logging
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)
PREFIX = "ardae_rl_"
LABELS = ("experiment", "trial", "env", "method")
GAUGES = {
    "running": "1 while the trial trains, 0 once it has ended",
    "steps": "Environment steps sampled so far; of a task, gradient steps",
    "steps_per_s": "The same per second, since the last report",
    "updates_per_s": "Learner updates per second, since the last report",
    "episode_return": "Mean undiscounted return of recent training episodes, exploration noise included",
    "evaluation": "Latest evaluation: mean return at zero noise; of a task, its headline measure",
    "replay_fill": "Transitions in the replay buffer as a share of its capacity",
    "score_loss": "AR-DAE loss; the dimension of the actions (or samples) for a score that knows nothing",
    "importance_ess": "Effective sample size of the weights behind log Z, from 1 to the number of samples drawn",
    "entropy": "Estimated entropy of the policy in nats",
    "critic_loss": "Mean squared temporal-difference error, both critics",
    "q_mean": "Mean of both critics on replayed actions",
}
COUNTERS = {"non_finite_skips": "Optimiser steps skipped because a loss or a gradient was not finite"}


class Monitor:
    """Publishes the numbers of one trial."""

    def __init__(self, *, experiment: str, trial: str, env: str, method: str) -> None:
        values = (experiment, trial, env, method)
        self._labels = {label: value.encode("ascii", "backslashreplace").decode() for label, value in zip(LABELS, values, strict=True)}
        self._has_failed = False
        self._counted = dict.fromkeys(COUNTERS, 0.0)

    def resume(self, totals: Mapping[str, float | None]) -> None:
        """Say what the counters of an earlier process, which published it, had got to: only what comes on top is new."""
        self._counted |= {name: value for name, value in totals.items() if value is not None and not math.isnan(value)}

    def publish(self, values: Mapping[str, float | None]) -> None:
        """``values`` by names of ``GAUGES`` and ``COUNTERS``, of counters totals; None and NaN mean that there is none to publish.

        What Ray does not take is not published, with one warning. Raises KeyError for another name.
        """
        unknown = values.keys() - GAUGES.keys() - COUNTERS.keys()
        if unknown:
            raise KeyError(f"no such number: {', '.join(sorted(unknown))}")
        try:
            for name, value in values.items():
                if value is not None and not math.isnan(value):
                    self._publish_one(name, value)
        except Exception as error:  # of Ray, OpenTelemetry, Prometheus: whatever they raise, training is worth more
            if not self._has_failed:
                logger.warning("numbers of this trial are not at the Prometheus endpoint: %s", error)
            self._has_failed = True

    def _publish_one(self, name: str, value: float) -> None:
        instrument = _instruments()[name]
        if name not in COUNTERS:
            instrument.set(value, tags=self._labels)
            return
        grown, self._counted[name] = value - self._counted[name], value
        if grown > 0:
            instrument.inc(grown, tags=self._labels)


@cache
def _instruments() -> dict[str, Any]:
    """This process's: Ray knows each by its name, and trials may share a process one after the other."""
    from ray.util.metrics import Counter, Gauge

    gauges = {name: Gauge(f"{PREFIX}{name}", description=text, tag_keys=LABELS) for name, text in GAUGES.items()}
    return gauges | {name: Counter(f"{PREFIX}{name}", description=text, tag_keys=LABELS) for name, text in COUNTERS.items()}

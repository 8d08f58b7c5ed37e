"""Statistics of few runs: what to say of a method after five seeds, and how sure of it to be.

Notation: a *score* is one number per run; scores come as strata, one array (n_k,) of runs per environment k. A bootstrap resamples the
runs of each environment on their own, so no environment loses weight; intervals are 95% percentile intervals.
Not here: what a run's score is (``control.py``).
Reference: Agarwal et al. 2021, arXiv:2108.13264, section 4; curves are smoothed as in [Lim2020] arXiv:2006.05164, section 6.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

Scores = NDArray[np.float64]
WINDOW, ORDER = 7, 2
CONFIDENCE, RESAMPLES = 0.95, 5000


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval: scalars, or arrays of one shape. NaN bounds where an environment has a single run to resample."""

    value: Any
    low: Any
    high: Any


def smoothed(curve: Scores) -> Scores:
    """Savitzky-Golay filter (window 7, order 2) of a curve (n,); below 7 points the widest odd window, below 3 the curve itself."""
    window = min(WINDOW, len(curve) - (len(curve) + 1) % 2)
    return np.asarray(signal.savgol_filter(curve, window, ORDER)) if window > ORDER else curve


def interquartile_mean(strata: Sequence[Scores], seed: int = 0) -> Estimate:
    """Mean of the middle half of all runs: floor(n / 4) of n runs cut off at either end, so below four runs the plain mean."""

    def statistic(*samples: Scores, axis: int = -1) -> Scores:
        return np.asarray(stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis))

    return bootstrapped(strata, statistic, seed)


def performance_profile(strata: Sequence[Scores], thresholds: Scores, seed: int = 0) -> Estimate:
    """Share of all runs with a score above each of the thresholds (t,)."""

    def statistic(*samples: Scores, axis: int = -1) -> Scores:
        runs = np.concatenate(samples, axis=axis)
        return np.stack([(runs > threshold).mean(axis=axis) for threshold in thresholds])

    return bootstrapped(strata, statistic, seed)


def probability_of_improvement(strata: Sequence[Scores], others: Sequence[Scores], seed: int = 0) -> Estimate:
    """P(X > Y) + P(X = Y) / 2 for a run X of these and Y of the others in the same environment, averaged over environments.

    ``others`` holds the other method's runs in the same environments, in the same order.
    """

    def statistic(*samples: Scores, axis: int = -1) -> Scores:
        pairs = zip(samples[: len(strata)], samples[len(strata) :], strict=True)
        return np.mean([_wins(x, y) for x, y in pairs], axis=0)

    return bootstrapped([*strata, *others], statistic, seed)


def _wins(x: Scores, y: Scores) -> Scores:
    """Share of pairs along the last axes in which x is larger, ties counting half."""
    differences = x[..., :, None] - y[..., None, :]
    return np.asarray((np.sign(differences) / 2 + 0.5).mean(axis=(-2, -1)))


def bootstrapped(strata: Sequence[Scores], statistic: Callable[..., Any], seed: int = 0, resamples: int | None = None) -> Estimate:
    """The statistic with its percentile interval."""
    value = statistic(*strata)
    if min(map(len, strata)) < 2:
        return Estimate(value, *[np.full_like(value, np.nan)] * 2)
    interval = stats.bootstrap(
        strata,
        statistic,
        n_resamples=resamples or RESAMPLES,
        batch=RESAMPLES // 10,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, interval.low, interval.high)

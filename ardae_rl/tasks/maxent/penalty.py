"""The price of a constraint that is not kept: ||E_p[r]||^2, and what a few samples say about it.

Notation: E repeats, N samples, M numbers of one constraint; r (E, N, M) residuals, r^ = mean_i r_i.
Identity: E||r^||^2 = ||E r||^2 + tr Cov(r) / N. The second term is no violation, but a sampler lowers the sum by being less random: the
covariance of a Gaussian in ten dimensions estimated from N = 128 samples shifts every variance by about -tr Cov(x) / N, which is more than
a small variance itself.
Reference: [Lim2020] arXiv:2006.05164, section 6.4, where the estimate is ``batch``.
"""

from typing import Literal

from torch import Tensor


def squared_expectation(residuals: Tensor, estimate: Literal["unbiased", "batch"]) -> Tensor:
    """||E r||^2 of each repeat, (E,), from N >= 2 independent residuals (E, N, M).

    ``batch``: ||r^||^2. ``unbiased`` leaves the products of a sample with itself out of it,
    (||sum_i r_i||^2 - sum_i ||r_i||^2) / (N (N - 1)), and may be negative.
    """
    samples = residuals.shape[1]
    total = residuals.sum(1).square().sum(-1)
    if estimate == "batch":
        return total / samples**2
    return (total - residuals.square().sum((1, 2))) / (samples * (samples - 1))


def penalty_weight(step: int, *, start: float, end: float, ramp_steps: float) -> float:
    """lambda at ``step``: geometric from ``start`` to ``end`` over ``ramp_steps``, constant from there."""
    share = min(1.0, step / ramp_steps) if ramp_steps else 1.0
    return start * (end / start) ** share

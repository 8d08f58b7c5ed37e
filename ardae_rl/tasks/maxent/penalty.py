"""The price of a constraint that is not kept, lambda ||E_p[r]||^2, and what N samples say about it.

Notation: E repeats, N samples, M numbers of one constraint; r (E, N, M) residuals, r^ = mean_i r_i; z (E, N, D) standard normal noise.
Identity: E||r^||^2 = ||E r||^2 + tr Cov(r^). The second is no violation, but a sampler lowers the sum by being less random: with N = 128
independent samples, a covariance in ten dimensions pulls every variance down by about tr Cov(x) / N, more than a small variance itself.
And r^ is noisy: from N = 512 the noise that large variances add to the gradient is a hundred times what small ones have to say.
Three remedies: nothing (the paper's ``batch``); an unbiased square; noise with exact moments, with which Cov(r^) is 0 for the mean and the
covariance of a linear sampler, and small for one that is nearly linear.
Reference: [Lim2020] arXiv:2006.05164, section 6.4; moment matching: Barraquand 1995, Management Science 41.
"""

import torch
from torch import Tensor


def squared_mean(residuals: Tensor) -> Tensor:
    """||r^||^2 of each repeat, (E,)."""
    return residuals.mean(1).square().sum(-1)


def squared_expectation(residuals: Tensor) -> Tensor:
    """||E r||^2 of each repeat without bias, (E,), from N >= 2 independent residuals; may be negative.

    ||r^||^2 without the products of a sample with itself: (||sum_i r_i||^2 - sum_i ||r_i||^2) / (N (N - 1)).
    """
    samples = residuals.shape[1]
    return (residuals.sum(1).square().sum(-1) - residuals.square().sum((1, 2))) / (samples * (samples - 1))


def matched(noise: Tensor) -> Tensor:
    """z, N > D, moved so that the sample mean is 0 and the sample covariance (divisor N) the identity in every repeat.

    The samples are no longer independent, and a little less normal: of order 1 / N.
    """
    centred = noise - noise.mean(1, keepdim=True)
    root = torch.linalg.cholesky(centred.mT @ centred / noise.shape[1])
    return torch.linalg.solve_triangular(root.mT, centred, upper=True, left=False)


def penalty_weight(step: int, *, start: float, end: float, ramp_steps: float) -> float:
    """lambda at ``step``: geometric from ``start`` to ``end`` over ``ramp_steps``, constant from there."""
    share = min(1.0, step / ramp_steps) if ramp_steps else 1.0
    return start * (end / start) ** share

"""The price of a constraint that is not kept, <mu, E_p[r]> + lambda ||E_p[r]||^2, and what N samples say about it.

Notation: E repeats, N samples, M numbers of one constraint; r (E, N, M) residuals, r^ = mean_i r_i; multipliers mu (E, M).
Identity: three things keep the law that the penalty lambda ||r^||^2 alone leads to from being the answer.
Room: of a variance that a constraint wants to be v, -1/2 log x + lambda (x - v)^2 makes x = (v + sqrt(v^2 + 1/lambda)) / 2. With
lambda = 100 that is 1.0025 for v = 1, but 0.05 for every v far below: entropy gained in the narrowest directions.
Bias: E||r^||^2 = ||E r||^2 + tr Cov(r^). The second is no violation, but a sampler lowers the sum by being less random.
Noise: what lambda amplifies. One that leaves no room, far above 1 / v^2 of the smallest v, drowns all other gradients in the noise of r^.
Remedies: multipliers (the augmented Lagrangian), at whose saddle point E r = 0 for any lambda, so that a small one will do, and an
unbiased square.
Reference: [Lim2020] arXiv:2006.05164, section 6.4 (penalty alone, of batch estimates); Nocedal & Wright 2006, chapter 17.
"""

import torch
from torch import Tensor

from ardae_rl.tasks.maxent.problems import Problem


def squared_mean(residuals: Tensor) -> Tensor:
    """||r^||^2 of each repeat, (E,)."""
    return residuals.mean(1).square().sum(-1)


def squared_expectation(residuals: Tensor) -> Tensor:
    """||E r||^2 of each repeat without bias, (E,), from N >= 2 independent residuals; may be negative.

    ||r^||^2 without the products of a sample with itself: (||sum_i r_i||^2 - sum_i ||r_i||^2) / (N (N - 1)).
    """
    samples = residuals.shape[1]
    return (residuals.sum(1).square().sum(-1) - residuals.square().sum((1, 2))) / (samples * (samples - 1))


def penalty_weight(step: int, *, start: float, end: float, ramp_steps: float) -> float:
    """lambda at ``step``: geometric from ``start`` to ``end`` over ``ramp_steps``, constant from there."""
    share = min(1.0, step / ramp_steps) if ramp_steps else 1.0
    return start * (end / start) ** share


class Multipliers:
    """mu_k of every constraint, from 0."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.values: dict[str, Tensor] = {}

    def price(self, expectations: dict[str, Tensor]) -> Tensor | float:
        """sum_k <mu_k, E r_k> of each repeat, (E,); 0 before the first move."""
        return sum((value * expectations[name]).sum(-1) for name, value in self.values.items())

    @torch.no_grad()
    def move(self, expectations: dict[str, Tensor], x: Tensor, rate: float) -> None:
        """Up by ``rate`` of Newton's step, where that is finite.

        Samples x (E, N, D) are others than those of the expectations: independent of each other, the step has mean 0 just where E r is 0.
        """
        for name, step in self._problem.newton_step(expectations, x).items():
            change = torch.where(step.isfinite(), rate * step, 0.0)
            self.values[name] = self.values.get(name, 0.0) + change

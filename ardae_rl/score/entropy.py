"""Turn a score estimate into an entropy gradient, and see whether it can be one.

Identities: for x = g(eps), grad H = -E[score(x)^T dg/dtheta] (eq. 1 of [Lim2020], arXiv:2006.05164): no bijection, no density.
E[(x - b)^T score(x)] = -D for any constant b, where p is smooth and vanishes far out (Stein 1981, Ann. Statist. 9(6)). With the mean of K
independent samples for b, which is one K-th the sample itself, it is -D (K - 1) / K.
"""

from typing import Literal

from torch import Tensor


def entropy_surrogate(x: Tensor, score: Tensor, *, weights: Tensor | None = None, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """Scalar whose gradient in the sampler's parameters is that of the entropy H; its value means nothing.

    Args:
        x: (..., D) reparameterised samples.
        score: (..., D) an estimate of grad log p at them, taken as a constant.
        weights: (...) of the samples, taken as constants: the mean is sum w_i v_i / sum w_i (for importance weights, or a mask).
        reduction: ``none`` gives the values v_i of the samples, (...), times their weights where given.

    Maximise it to raise the entropy. Raises ValueError where shapes do not match.
    """
    _check_shape("score", score, x.shape)
    values = -(score.detach() * x).sum(-1)
    if weights is not None:
        _check_shape("weights", weights, values.shape)
        values = values * weights.detach()
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}.")
    if reduction == "none":
        return values
    return values.mean() if weights is None else values.sum() / weights.detach().sum()


def stein_ratio(x: Tensor, score: Tensor, *, centre: Tensor | None = None) -> Tensor:
    """-E[(x - b)^T score] / D, a scalar, which is 1 for the true score of any smooth distribution: a check that needs samples alone.

    Args:
        x: (N, D), or (B, K, D): K samples of each context.
        score: the estimate at them.
        centre: b, (B, D) or (D,), any points that do not depend on the samples, best near their means. None: the means, corrected for that.

    Scaling x in all directions at once raises the entropy by D per e-fold; this is the share of it that the estimate sees. Below 1 it is
    too weak on average, for instance blind to directions in which the distribution is thin; above 1 too strong. 1 does not prove it right.

    Raises:
        ValueError: where shapes do not match, and for one sample per context without a centre.
    """
    _check_shape("score", score, x.shape)
    count = x.shape[-2]
    if centre is None and count < 2:
        raise ValueError(f"x must hold two or more samples per context unless a centre is given, got shape {tuple(x.shape)}: pass centre=.")
    middle, correction = (x.mean(-2, keepdim=True), count / (count - 1)) if centre is None else (centre.unsqueeze(-2), 1.0)
    return -correction * ((x - middle) * score).detach().sum(-1).mean() / x.shape[-1]


def _check_shape(name: str, given: Tensor, expected: tuple[int, ...]) -> None:
    if given.shape != expected:
        raise ValueError(f"{name} must have shape {tuple(expected)} to go with x, got {tuple(given.shape)}.")

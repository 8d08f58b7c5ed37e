"""Turn a score estimate into an entropy gradient, and see whether it can be one.

Identities: for x = g(eps), grad H = -E[score(x)^T dg/dtheta] (eq. 1 of [Lim2020], arXiv:2006.05164): no bijection, no density.
E[(x - b)^T score(x)] = -D for any constant b (Stein), where p vanishes far out.
"""

from torch import Tensor


def entropy_surrogate(x: Tensor, score: Tensor) -> Tensor:
    """Scalar whose gradient in the sampler's parameters is that of the entropy H; its value means nothing.

    ``x`` (..., D) reparameterised samples, ``score`` (..., D) an estimate of grad log p at them, taken as a constant.
    Maximise it to raise the entropy.
    """
    _check_shapes(x, score)
    return -(score.detach() * x).sum(-1).mean()


def stein_ratio(x: Tensor, score: Tensor) -> float:
    """-E[x^T score] / D, which is 1 for the score of any law: a check of an estimate that takes no more than samples.

    ``x`` (..., D) minus a constant b near its mean (which may depend on the context, not on x: it sets the noise), ``score`` (..., D) at x.
    Scaling x in all directions at once raises the entropy by D per e-fold; this is the share of it that the estimate sees. Below 1: it is
    blind to directions in which the law is thin, and a sampler trained with it collapses along them. 1 does not prove it right.
    """
    _check_shapes(x, score)
    return float(-(score * x).detach().sum(-1).mean() / x.shape[-1])


def _check_shapes(x: Tensor, score: Tensor) -> None:
    if x.shape != score.shape:
        raise ValueError(f"score must have the shape of x, {tuple(x.shape)}, got {tuple(score.shape)}.")

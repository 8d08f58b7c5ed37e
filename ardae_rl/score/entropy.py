"""Turn a score estimate into an entropy gradient, and see whether it can be one.

Identities: for x = g(eps), grad H = -E[score(x)^T dg/dtheta] (eq. 1 of [Lim2020], arXiv:2006.05164): no bijection, no density.
E[(x - b)^T score(x)] = -D for any constant b, where p is smooth and vanishes far out (Stein 1981, Ann. Statist. 9(6)).
"""

from torch import Tensor


def entropy_surrogate(x: Tensor, score: Tensor) -> Tensor:
    """Scalar whose gradient in the sampler's parameters is that of the entropy H; its value means nothing.

    ``x`` (..., D) reparameterised samples, ``score`` (..., D) an estimate of grad log p at them, taken as a constant.
    Maximise it to raise the entropy.
    """
    _check_shapes(x, score)
    return -(score.detach() * x).sum(-1).mean()


def stein_ratio(x: Tensor, score: Tensor) -> Tensor:
    """-E[x^T score] / D, a scalar, which is 1 for the true score of any smooth law: a check of an estimate that takes no more than samples.

    ``x`` (..., D): samples minus b, a number per context that does not depend on the sample; near their mean it makes for the least noise.
    ``score`` (..., D): the estimate at them. ValueError if the shapes differ.
    Scaling x in all directions at once raises the entropy by D per e-fold; this is the share of it that the estimate sees. Below 1 it is
    too weak on average, for instance blind to directions in which the law is thin; above 1 too strong. 1 does not prove it right.
    """
    _check_shapes(x, score)
    return -(score * x).detach().sum(-1).mean() / x.shape[-1]


def _check_shapes(x: Tensor, score: Tensor) -> None:
    if x.shape != score.shape:
        raise ValueError(f"score must have the shape of x, {tuple(x.shape)}, got {tuple(score.shape)}.")

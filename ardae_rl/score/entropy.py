"""Turn a score estimate into an entropy gradient.

Identity: for x = g(eps), grad H = -E[score(x)^T dg/dtheta] (eq. 1 of [Lim2020], arXiv:2006.05164): no bijection, no density.
"""

from torch import Tensor


def entropy_surrogate(x: Tensor, score: Tensor) -> Tensor:
    """Scalar whose gradient in the sampler's parameters is that of the entropy H; its value means nothing.

    ``x`` (..., D) reparameterised samples, ``score`` (..., D) an estimate of grad log p at them, taken as a constant.
    Maximise it to raise the entropy.
    """
    if x.shape != score.shape:
        raise ValueError(f"score must have the shape of x, {tuple(x.shape)}, got {tuple(score.shape)}.")
    return -(score.detach() * x).sum(-1).mean()

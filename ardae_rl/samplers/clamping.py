"""Jacobian clamping: keep an implicit sampler from collapsing to a point mass.

Identity: for a small xi, ||g(eps + xi v) - g(eps)||^2 / (xi^2 ||v||^2) is the squared stretch of g along the random direction v; it is
pushed up where it is below eta and left alone elsewhere.
Reference: [Lim2020] arXiv:2006.05164, section 6.3 and Appendix G (after Odena et al. 2018).
"""

from collections.abc import Callable

from torch import Tensor


def jacobian_stretch(sampler: Callable[[Tensor], Tensor], noise: Tensor, directions: Tensor, xi: float) -> Tensor:
    """Squared stretch along each direction, (B, P); ``noise`` (B, 1, E), ``directions`` (B, P, E), ``sampler`` (B, K, E) -> (B, K, D)."""
    moved = (sampler(noise + xi * directions) - sampler(noise)).square().sum(-1)
    return moved / (xi**2 * directions.square().sum(-1))


def clamping_loss(stretch: Tensor, eta: float) -> Tensor:
    """E[min(stretch - eta, 0)^2], a scalar."""
    return (stretch - eta).clamp(max=0).square().mean()


def clamping_weight(updates: Tensor, nu: float, weight_max: float) -> Tensor:
    """lambda_i = min(1 + i^nu / 1000, weight_max) at update i, a float32 scalar."""
    return (1 + updates.double().pow(nu) / 1000).clamp(max=weight_max).float()

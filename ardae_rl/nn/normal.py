"""The standard normal density."""

import math

from torch import Tensor


def log_standard_normal(x: Tensor) -> Tensor:
    """log N(x; 0, I) in nats, (...) for x (..., D)."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)

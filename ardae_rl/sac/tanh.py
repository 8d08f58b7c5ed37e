"""Change of variables through tanh, without the usual 1e-6.

Notation: u (..., D) the action before tanh, a = tanh u in (-1, 1).
Identity: log pi(a) = log pi(u) - sum log(1 - tanh^2 u), with log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2u)); its gradient in u is
-2 tanh u per coordinate.
"""

import math

from torch import Tensor
from torch.nn import functional


def log_det_tanh(u: Tensor) -> Tensor:
    """sum log(1 - tanh^2 u) over the last dimension, exact for any size of u."""
    return (2 * (math.log(2) - u - functional.softplus(-2 * u))).sum(-1)

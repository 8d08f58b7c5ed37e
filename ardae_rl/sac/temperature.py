"""The weight alpha of the entropy."""

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """alpha > 0 as exp(log_alpha). Fixed, it is a buffer; tuned, a parameter. Either way it is part of every checkpoint."""

    def __init__(self, alpha: float, *, learned: bool) -> None:
        super().__init__()
        log_alpha = torch.tensor(math.log(alpha) if alpha > 0 else -math.inf)
        if learned:
            self.log_alpha = nn.Parameter(log_alpha)
        else:
            self.register_buffer("log_alpha", log_alpha)

    def forward(self) -> Tensor:
        """alpha, a scalar without gradient."""
        return self.log_alpha.detach().exp()

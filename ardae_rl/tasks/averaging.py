"""Averages of weights over the steps of training, to measure in place of the last ones."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Parameters = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Exponential moving average without the bias towards its start: step n has weight (1 - decay) / (1 - decay^n).

    None where ``decay`` is None.
    """
    if decay is None:
        return None

    def update(averages: Parameters, current: Parameters, averaged_so_far: Tensor | int) -> None:
        count = int(averaged_so_far) + 1
        torch._foreach_lerp_(averages, current, (1 - decay) / (1 - decay**count))

    return AveragedModel(model, multi_avg_fn=update)

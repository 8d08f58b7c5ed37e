"""What tensors must be for a score to be estimated from them: the same checks, in the same words, for every estimator.

Notation: B contexts, K samples per context, D dimension; x (B, K, D).
``check_form`` looks at shapes, types and devices alone; ``check_values`` looks at numbers, which on a GPU waits for them.
"""

import torch
from torch import Tensor

LARGEST = 1e18  # of a number whose square single precision still holds, with room for a sum of them


def check_form(name: str, x: Tensor, device: torch.device | None = None) -> None:
    """Raises TypeError unless ``x`` is float32 or float64, ValueError if it is empty or not on ``device`` (None: on any)."""
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}: convert with .float().")
    if not x.numel():
        raise ValueError(f"{name} must hold at least one number, got shape {tuple(x.shape)}.")
    if device is not None and x.device != device:
        raise ValueError(f"{name} must be on the device of the estimator, {device}, got {x.device}: move one of them with .to().")


def check_values(samples: Tensor, context: Tensor | None = None) -> None:
    """Raises ValueError for ``samples`` (B, K, D) or a ``context`` (B, C) that are not finite, and for samples that are no distribution's.

    Those are too large for their squares, or all equal: a distribution without variance has no density, and so no score.
    """
    sizes = samples.detach().abs().amax((1, 2))
    equal = (samples == samples[:, :1]).all(-1).all(-1) if samples.shape[1] > 1 else torch.zeros_like(sizes, dtype=torch.bool)
    given = True if context is None else context.isfinite().all()
    if bool(((sizes <= LARGEST) & ~equal).all() & given):
        return
    if not given:
        raise ValueError(f"context must be finite, got NaN or infinity in context {_where(~context.isfinite().all(-1))}.")  # type: ignore[union-attr]
    broken = ~samples.isfinite().all(-1).all(-1)
    if broken.any():
        count = int((~samples.isfinite()).sum())
        raise ValueError(
            f"samples must be finite, got {count} NaN or infinite of {samples.numel()} numbers, in context {_where(broken)}. "
            "Look at the sampler that drew them."
        )
    if (sizes > LARGEST).any():
        raise ValueError(
            f"samples must be smaller than {LARGEST:g} in size, got {float(sizes.max()):.3g} in context {_where(sizes > LARGEST)}. "
            "Look at the sampler that drew them, or use other units."
        )
    raise ValueError(
        f"all samples are equal in context {_where(equal)}: a distribution without variance has no score. Check the sampler for collapse; "
        f"if it is only far from 0 for its width, subtract a constant before the samples become {samples.dtype}."
    )


def _where(flags: Tensor, shown: int = 8) -> str:
    """Numbers of the contexts, the first few of many."""
    numbers = flags.nonzero().flatten().tolist()
    return ", ".join(map(str, numbers[:shown])) + (f" and {len(numbers) - shown} more" if len(numbers) > shown else "")

"""What a call costs, counted rather than timed: the same numbers at every run, on any machine.

Notation: M samples, whatever else the call depends on.
``growth`` compares M and 2 M: 2 is linear, 4 quadratic, 8 cubic.
Not here: seconds, the memory of a GPU.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

Call = Callable[[], object]

# Operations for each entry that an operator returns, 1 unless it is here: the length of a product's sums, or what LAPACK's count comes to.
PER_ENTRY: dict[str, Callable[[Any], float]] = {
    "aten::mm": lambda args: args[0].shape[-1],
    "aten::bmm": lambda args: args[0].shape[-1],
    "aten::addmm": lambda args: args[1].shape[-1],
    "aten::baddbmm": lambda args: args[1].shape[-1],
    "aten::_cdist_forward": lambda args: args[0].shape[-1],
    "aten::linalg_cholesky_ex": lambda args: args[0].shape[-1] / 3,
    "aten::cholesky_solve": lambda args: 2 * args[1].shape[-1],
    "aten::_linalg_eigh": lambda args: 10 * args[0].shape[-1],
}


class Counted(TorchDispatchMode):
    """``operations`` of everything inside it, and ``largest``: entries of the largest tensor that any of it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.largest = 0.0, 0

    def __torch_dispatch__(self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        tensors = [each for each in (result if isinstance(result, tuple | list) else (result,)) if isinstance(each, Tensor)]
        self.largest = max([self.largest, *(tensor.numel() for tensor in tensors)])
        if not func.is_view:
            self.operations += PER_ENTRY.get(func.name().split(".")[0], lambda args: 1)(args) * sum(tensor.numel() for tensor in tensors)
        return result


def operations(call: Call) -> float:
    with Counted() as counted:
        call()
    return counted.operations


def largest_tensor(call: Call) -> int:
    with Counted() as counted:
        call()
    return counted.largest


def peak_bytes(call: Call) -> int:
    """Most that torch held on the CPU at one time on behalf of ``call``, its result and the work space of its solvers included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        peak = max(peak, held)
    return peak


def growth(measure: Callable[[Call], float], call: Callable[[int], Call], count: int) -> float:
    """How many times as much ``call(2 * count)`` takes as ``call(count)``."""
    small, large = (measure(call(each)) for each in (count, 2 * count))
    assert math.isfinite(large) and small > 0
    return large / small

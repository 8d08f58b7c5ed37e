"""``torch.compile`` for a function of a module that is copied, pickled and run where nothing can be compiled."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class CompiledFunction:
    """``function`` through ``torch.compile`` with ``options``; where it works without but not with it, warns once and does without.

    What was compiled stays behind when this is copied or pickled; a copy compiles anew. Memory running out is no sign of anything but
    that: it is raised, as is an error that the function makes uncompiled, too.
    """

    def __init__(self, function: Callable[..., Tensor], *args: Any, **options: Any) -> None:
        self.function, self.args, self.options, self.eager = function, args, options, False
        self._compiled: Callable[..., Tensor] | None = None

    def __call__(self, *arguments: object) -> Tensor:
        if self.eager:
            return self.function(*arguments)
        if self._compiled is None:
            self._compiled = torch.compile(self.function, *self.args, **self.options)
        try:
            return self._compiled(*arguments)
        except Exception as error:  # torch.compile raises many unrelated types
            if _is_out_of_memory(error):
                raise
            value = self.function(*arguments)
            logger.warning("torch.compile does not work here (%s: %s); going on without it.", type(error).__name__, str(error)[:200])
            self.eager = True
            return value

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": None}


def _is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, or of the machine, for which torch has no type of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)

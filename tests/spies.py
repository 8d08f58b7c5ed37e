"""Watching a function at work without changing what it does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest


class Call(NamedTuple):
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any


def calls_of(patch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Call]:
    """Every call of ``owner.name`` from here on."""
    calls: list[Call] = []
    function: Callable[..., Any] = getattr(owner, name)

    def spied(*arguments: Any, **options: Any) -> Any:
        calls.append(Call(arguments, options, function(*arguments, **options)))
        return calls[-1].result

    patch.setattr(owner, name, spied)
    return calls

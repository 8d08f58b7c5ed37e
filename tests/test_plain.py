"""Plain data that anyone may have changed: what a dataclass cannot be made of is named by its key."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from ardae_rl.plain import check_plain, rebuild


@dataclass(frozen=True)
class Part:
    width: int
    kind: Literal["a", "b"] = "a"
    scale: float | None = None


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part
    bounds: list[float] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    other: Part | None = None
    swift: bool = False


WHOLE = Whole("x", Part(3, "b", 0.5), [1, 2.5], {"k": [1]})


def test_what_a_dataclass_was_turned_into_passes_with_or_without_its_defaults() -> None:
    for value in (asdict(WHOLE), {"name": "x", "part": {"width": 3}}, {"name": "x", "part": {"width": 3}, "unknown": 1}):
        check_plain(Whole, value)
    assert rebuild(Whole, asdict(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name must be text, got 3"),
        ({"part": {}}, "part.width is missing; it must be a whole number"),
        ({"part": 3}, "part must be a section of keys, got 3"),
        ({"part": {"width": 3.0}}, "part.width must be a whole number, got 3.0"),
        ({"part": {"width": True}}, "part.width must be a whole number, got True"),
        ({"part": {"width": 3, "kind": "c"}}, "part.kind must be 'a' or 'b', got 'c'"),
        ({"part": {"width": 3, "scale": "c"}}, "part.scale must be a number or null, got 'c'"),
        ({"bounds": 1.5}, "bounds must be a list, got 1.5"),
        ({"bounds": [1, None]}, "bounds[1] must be a number, got None"),
        ({"options": [1]}, "options must be a section of keys, got [1]"),
        ({"swift": 1}, "swift must be true or false, got 1"),
        ({"other": {"width": "3"}}, "other.width must be a whole number, got '3'"),
        ({"other": 3}, "other must be a section of keys or null, got 3"),
    ],
)
def test_a_mistake_is_named_by_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_plain(Whole, asdict(WHOLE) | change)
    assert str(caught.value) == message

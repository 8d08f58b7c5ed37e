"""Settings declared once: what they may be is the same in Python and in plain data, and what is wrong is named by its key."""

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from ardae_rl.nn.settings import Range, Rule, Settings, build, misfits, setting


@dataclass(frozen=True, kw_only=True)
class Part(Settings):
    width: int = setting(text="Units", at_least=1)
    kind: Literal["a", "b"] = "a"
    scale: float | None = setting(None, "Scale", above=0, below=10)
    alpha: float | Literal["auto"] = setting(0.5, "Temperature", at_least=0)

    def rules(self) -> Iterator[Rule]:
        yield self.kind == "a" or self.width > 2, "width", "greater than 2 with kind b"


@dataclass(frozen=True, kw_only=True)
class Whole(Settings):
    name: str
    part: Part
    bounds: list[float] = setting(text="Bounds", factory=list, at_least=-1)
    seeds: int | list[int] = setting(1, "Seeds", at_least=0)
    options: dict[str, Any] = setting(text="Options", factory=dict)
    other: Part | None = None
    swift: bool = False

    def rules(self) -> Iterator[Rule]:
        yield self.other is None or self.other.width < self.part.width, "other.width", f"below part.width = {self.part.width}"
        yield len(self.bounds) < 5, "bounds", "fewer than 5", len(self.bounds)


WHOLE = Whole(name="x", part=Part(width=3, kind="b", scale=0.5), bounds=[1, 2.5], options={"k": [1]})
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"name": 3}, "name must be a text, got 3"),
    ({"part": {}}, "part.width is missing; it must be a whole number"),
    ({"part": 3}, "part must be a section of 'key: value' lines, got 3"),
    ({"part": {"width": 3.5}}, "part.width must be a whole number, got 3.5"),
    ({"part": {"width": True}}, "part.width must be a whole number, got True"),
    ({"part": {"width": 0}}, "part.width must be 1 or greater, got 0"),
    ({"part": {"width": 3, "kind": "c"}}, "part.kind must be 'a' or 'b', got 'c'"),
    ({"part": {"width": 3, "scale": "c"}}, "part.scale must be a number or null, got 'c'"),
    ({"part": {"width": 3, "scale": 0.0}}, "part.scale must be in (0, 10), got 0.0"),
    ({"part": {"width": 3, "scale": float("nan")}}, "part.scale must be a number or null, got nan"),
    ({"part": {"width": 3, "alpha": -1}}, "part.alpha must be 0 or greater, got -1"),
    ({"part": {"width": 3, "alpha": "none"}}, "part.alpha must be 'auto' or a number, got 'none'"),
    ({"part": {"width": 3, "wide": 1}}, "part.wide is no setting"),
    ({"bounds": 1.5}, "bounds must be a list of numbers, got 1.5"),
    ({"bounds": [1, None]}, "bounds.1 must be a number, got None"),
    ({"bounds": [1, -2]}, "bounds must be -1 or greater, got [1, -2]"),
    ({"seeds": [1, "two"]}, "seeds.1 must be a whole number, got 'two'"),
    ({"seeds": [1, -1]}, "seeds must be 0 or greater, got [1, -1]"),
    ({"options": [1]}, "options must be a section of 'key: value' lines, got [1]"),
    ({"swift": 1}, "swift must be true or false, got 1"),
    ({"other": {"width": "3"}}, "other.width must be a whole number, got '3'"),
    ({"other": 3}, "other must be a section of 'key: value' lines or null, got 3"),
]


def test_what_settings_were_turned_into_builds_them_again_with_or_without_their_defaults() -> None:
    assert not list(misfits(Whole, asdict(WHOLE)))
    assert build(Whole, asdict(WHOLE)) == WHOLE
    assert build(Whole, {"name": "x", "part": {"width": 3}}) == Whole(name="x", part=Part(width=3))


def test_keys_that_are_none_are_misfits_only_where_they_are_asked_for() -> None:
    data = asdict(WHOLE) | {"unknown": 1, "other": {"width": 1, "unknown": 2}}
    assert [str(misfit) for misfit in misfits(Whole, data)] == ["unknown is no setting", "other.unknown is no setting"]
    assert not list(misfits(Whole, data, strangers=False)) and build(Whole, data) == replace(WHOLE, other=Part(width=1))


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_in_plain_data_is_named_by_its_key(change: dict[str, Any], message: str) -> None:
    assert [str(misfit) for misfit in misfits(Whole, asdict(WHOLE) | change)] == [message]


@pytest.mark.parametrize(("change", "message"), [(change, message) for change, message in MISTAKES if not {"part"} & change.keys()])
def test_the_same_mistake_in_python_has_the_same_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(WHOLE, **change)
    assert str(caught.value) == message


def test_all_mistakes_come_at_once_and_rules_after_them() -> None:
    with pytest.raises(ValueError) as caught:
        Part(width=-1, kind="c", scale=10.0)  # type: ignore[arg-type]
    assert str(caught.value).splitlines() == [
        "width must be 1 or greater, got -1",
        "kind must be 'a' or 'b', got 'c'",
        "scale must be in (0, 10), got 10.0",
    ]
    with pytest.raises(ValueError, match=r"^width must be greater than 2 with kind b, got 2$"):
        Part(width=2, kind="b")


def test_rules_are_named_by_the_whole_path_and_say_the_value_they_are_about() -> None:
    with pytest.raises(ValueError) as caught:
        build(Whole, {"name": "x", "part": {"width": 1, "kind": "b"}, "other": {"width": 2, "kind": "b"}})
    assert str(caught.value).splitlines() == [
        "part.width must be greater than 2 with kind b, got 1",
        "other.width must be greater than 2 with kind b, got 2",
    ]
    with pytest.raises(ValueError, match=r"^other\.width must be below part\.width = 3, got 4$"):
        replace(WHOLE, other=Part(width=4))
    with pytest.raises(ValueError, match=r"^bounds must be fewer than 5, got 5$"):
        replace(WHOLE, bounds=[1.0] * 5)


def test_numbers_become_what_was_declared() -> None:
    """1e6 is an integer where one was asked for, 1 a float; numpy's numbers are Python's."""
    part = Part(width=1e6, scale=1, alpha=np.float32(0.5))  # type: ignore[arg-type]
    assert (part.width, type(part.width)) == (1_000_000, int)
    assert [type(number) for number in (part.scale, part.alpha)] == [float, float]
    assert type(Part(width=np.int64(3)).width) is int  # type: ignore[arg-type]
    assert [type(bound) for bound in replace(WHOLE, bounds=[1]).bounds] == [float]
    assert replace(WHOLE, seeds=[1.0, 2]).seeds == [1, 2]  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"width must be a whole number, got 1e\+300"):
        Part(width=1e300)  # type: ignore[arg-type]


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WHOLE.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("bounds", "words", "inside", "outside"),
    [
        ({"above": 0}, "greater than 0", [1e-9, 5], [0, -1]),
        ({"at_least": 2}, "2 or greater", [2, 3], [1.9]),
        ({"below": 1}, "less than 1", [0.9, -5], [1]),
        ({"at_most": 1}, "1 or less", [1], [1.1]),
        ({"at_least": 0, "at_most": 1}, "in [0, 1]", [0, 1], [-0.1, 1.1]),
        ({"above": 0, "at_most": 1}, "in (0, 1]", [0.1, 1], [0, 1.1]),
        ({"at_least": 0, "below": 1}, "in [0, 1)", [0, 0.9], [-0.1, 1]),
        ({"above": 0, "below": 1}, "in (0, 1)", [0.5], [0, 1]),
    ],
)
def test_ranges(bounds: dict[str, float], words: str, inside: list[float], outside: list[float]) -> None:
    bounded = Range(**bounds)
    assert str(bounded) == words
    assert all(number in bounded for number in inside)
    assert not any(number in bounded for number in [*outside, float("nan")])

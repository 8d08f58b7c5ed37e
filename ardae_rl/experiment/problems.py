"""What is wrong with an experiment, collected so that one attempt reports every mistake."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

MAX_LENGTH = 1000


@dataclass(frozen=True)
class Problem:
    """One mistake: where it was written (``file:line`` or an option), the dotted key it concerns ("" for none), and what to do."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        """One line of at most ``MAX_LENGTH`` characters; those a terminal would obey and not print are escaped."""
        text = ": ".join(part for part in (self.where, self.key, self.message) if part)
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:MAX_LENGTH])
        return text if len(text) < MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


class InvalidExperimentError(Exception):
    """An experiment that cannot start. ``problems`` holds every mistake found; nothing was written."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["InvalidExperimentError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def nearest(name: str, valid: Iterable[str]) -> str:
    """The repair to offer for an unknown ``name``: the closest valid one, or all of them."""
    names = list(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid names: {', '.join(names)}"

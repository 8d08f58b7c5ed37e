"""Write docs/settings.md, every key of an experiment file, from where the settings are declared: ``python scripts/reference.py``."""

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from ardae_rl.experiment.kinds import KINDS
from ardae_rl.experiment.schema import CONTROL_RUN, Experiment
from ardae_rl.nn.settings import alternatives, hints_of, section_of

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """\
# Every setting

Made by `python scripts/reference.py` from the declarations in the code, which also check every file.
[configuration.md](configuration.md) says how a file is read.

Notation: state s, noise ε, action before tanh u, action a = tanh u in (−1, 1)^D; d is 1 where an episode terminated (not: was truncated).
Section, table and appendix numbers are of [Lim et al. 2020](https://arxiv.org/abs/2006.05164).
"""
BASE = (
    "| `base` | text | none | Another file to start from: [configuration.md](configuration.md#how-a-file-is-read) |\n"
    "| `schema` | int | none | Only in a [record](configuration.md#records), to which no default applies: the version of the settings |"
)
TYPES = {int: "int", float: "float", bool: "bool", str: "text", type(None): "null"}


def page() -> str:
    """The whole page."""
    control = KINDS[CONTROL_RUN]
    parts = [HEAD, f"## `run: {CONTROL_RUN}`\n", *_sections(control, "")]
    for run in (run for run in KINDS if run != CONTROL_RUN):
        parts += [
            f"## `run: {run}`\n",
            "The top level is the same, but for these:\n",
            _own_of_tasks(run),
            *_sections(_config(run), "config"),
        ]
    return "\n".join(parts)


def _config(run: str) -> Any:
    return hints_of(KINDS[run])["config"]


def _own_of_tasks(run: str) -> str:
    """What the file of a task has in the place of an environment."""
    ours, theirs = hints_of(KINDS[run]), hints_of(KINDS[CONTROL_RUN])
    rows = [_row(each, ours["stop"], "") for each in dataclasses.fields(KINDS[run]) if each.name == "stop"]
    for section in ("stop", "checkpoint", "resources"):
        cls, known = section_of(ours[section]), hints_of(section_of(theirs[section]))
        rows += [_row(each, hints_of(cls)[each.name], f"{section}.") for each in dataclasses.fields(cls) if each.name not in known]
    return _table(rows)


def _sections(cls: type, path: str, *, of: str = "") -> Iterator[str]:
    """The table of a section, and those of the sections in it."""
    if path:
        yield f"### `{path}`{of}\n"
    if not issubclass(cls, Experiment):
        yield f"{inspect.cleandoc(cls.__doc__ or '').replace('``', '`')}\n"
    prefix = f"{path}." if path else ""
    rows = [_row(each, hints_of(cls)[each.name], "") for each in dataclasses.fields(cls)]
    yield _table(rows) + ("" if path else f"\n{BASE}") + "\n"
    for each in dataclasses.fields(cls):
        if section_of(hints_of(cls)[each.name]) is not None:
            yield from _sections(section_of(hints_of(cls)[each.name]), f"{prefix}{each.name}", of=of)


def _table(rows: list[str]) -> str:
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _row(each: "dataclasses.Field[Any]", hint: Any, prefix: str) -> str:
    text, bounds = each.metadata.get("text", ""), each.metadata.get("range")
    meaning = ". ".join(part for part in (text, f"{str(bounds)[0].upper()}{str(bounds)[1:]}" if bounds else "") if part)
    meaning = meaning.replace("|", "\\|")  # which ends a cell
    return f"| `{prefix}{each.name}` | {_in_words(hint)} | {_default(each, hint)} | {meaning} |"


def _default(each: "dataclasses.Field[Any]", hint: Any) -> str:
    if each.default is not dataclasses.MISSING:
        return f"`{yaml.safe_dump(each.default, default_flow_style=True).removesuffix('...').strip().removesuffix('...').strip()}`"
    if each.default_factory is dataclasses.MISSING:
        return "required"
    return "its own" if section_of(hint) is not None else f"`{yaml.safe_dump(each.default_factory(), default_flow_style=True).strip()}`"


def _in_words(hint: Any) -> str:
    """``float | None`` is "float or null", a choice its values."""
    parts = []
    for part in alternatives(hint):
        if get_origin(part) is Literal:
            parts += [f"`{choice}`" for choice in get_args(part)]
        elif get_origin(part) is list:
            parts.append(f"list of {_in_words(get_args(part)[0])}")
        else:
            parts.append(TYPES.get(part, "section"))
    return " or ".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")

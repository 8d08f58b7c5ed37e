"""Where the numbers of a report come from: each experiment's file and the record of its starts, copied beside it and summed up."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd


def provenance_table(experiments: Sequence[dict[str, Any]], copies: Sequence[Path | None]) -> pd.DataFrame:
    """Of each experiment's last start."""
    rows = []
    for experiment, path in zip(experiments, copies[1::2], strict=True):
        facts = _last_start(path)
        versions = facts.get("versions") or {}
        rows.append(
            {
                "experiment": experiment["name"],
                "date": facts.get("date", "-"),
                "commit": str(facts.get("git_commit") or "-")[:10] + (" (changed)" if facts.get("git_dirty") else ""),
                "command": facts.get("command", "-"),
                "machine": f"{facts.get('cpu', '-')}, {facts.get('cores', '-')} cores",
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
            }
        )
    return pd.DataFrame(rows)


def _last_start(path: Path | None) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1]) if path else {}
    except (ValueError, IndexError):
        facts = {}
    return facts if isinstance(facts, dict) else {}


def copied(source: Path, folder: Path) -> Path | None:
    """The copy of ``source`` in ``folder``, which may be its own; None where there is no such file."""
    if not source.is_file():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(shutil.SameFileError):
        shutil.copy(source, folder / source.name)
    return folder / source.name

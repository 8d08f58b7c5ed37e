"""What happened to the trials of an experiment, kept in its folder over all its starts: ``events.jsonl``, one JSON object a line.

Keys: ``time`` (UTC), ``trial``, ``event`` (``crashed``: starts again; ``failed``: does not; ``warning``), ``steps`` by then, ``cause``.
"""

import datetime
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ardae_rl.run.disk import append_whole
from ardae_rl.run.folder import RunFolder

EVENTS = "events.jsonl"
_RAISED_FROM = r"\n(?:The above exception was the direct cause of the following|During handling of the above) exception.*:\n"
CRASHED, FAILED, WARNING = "crashed", "failed", "warning"


class EventLog:
    """Adds to the events in ``folder``. What a disk that is full or away does not take now is written later: :meth:`flush`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._path, self._unwritten = folder, folder.path / EVENTS, b""

    def add(self, trial: str, event: str, *, steps: int, cause: str) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"time": now, "trial": trial, "event": event, "steps": steps, "cause": cause})
        self._unwritten += f"{line}\n".encode()
        self.flush()

    def flush(self) -> None:
        """Write what was not written yet, if the disk takes it now."""
        if not self._unwritten:
            return
        try:
            self._folder.check()
            append_whole(self._path, self._unwritten if _ends_a_line(self._path) else b"\n" + self._unwritten)
        except OSError:
            return
        self._unwritten = b""


def restarts(folder: Path) -> Counter[str]:
    """How often each trial in ``folder`` was started again after a crash."""
    return Counter(event["trial"] for event in read_events(folder) if event["event"] == CRASHED)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """What happened to the trials in ``folder``, the earliest first, without lines that a kill left half written."""
    path = folder / EVENTS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return [event for line in lines if (event := _parsed(line)) is not None]


def _ends_a_line(path: Path) -> bool:
    """False behind a line that a kill left half written."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    kinds = {"time": str, "trial": str, "event": str, "steps": int, "cause": str}
    is_whole = isinstance(event, dict) and all(isinstance(event.get(key), kind) for key, kind in kinds.items())
    return event if is_whole else None


def cause_of(error: str) -> str:
    """The line of a trial's error that names its cause: Ray puts an exception raised in the trial last, its own explanations first.

    Where that says nothing, as RLlib's bare RuntimeError, the last before it that does, which it was raised from.
    """
    lines = error.strip().splitlines() or ["no reason was given"]
    if "ray::" not in lines[0]:
        return lines[0]
    raised = [part.strip().splitlines()[-1] for part in re.split(_RAISED_FROM, error) if part.strip()]
    return next((line for line in reversed(raised) if ": " in line), lines[-1])

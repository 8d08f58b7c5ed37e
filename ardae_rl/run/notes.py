"""Warnings of trials on the console of their run: they happen in other processes, perhaps on other machines.

They travel through the store of names and values that every Ray cluster has, not through files: a full disk is what some of them are about.
"""

import logging
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from ardae_rl.run.ray_internals import put_text, take_texts

_NAMESPACE = "ardae_rl_notes"
_NUMBERS = count()  # clocks may stand still between two warnings


def pass_warnings_on(folder: Path) -> None:
    """From now on what this package warns of in this process is a note of the trial whose folder this is."""
    logger = logging.getLogger("ardae_rl")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _NoteHandler)]:  # of another trial in this process
        logger.removeHandler(handler)
    logger.addHandler(_NoteHandler(folder))


def collect_notes(experiment: Path) -> list[tuple[str, str]]:
    """(name of the trial, text) of each note there is by now on the trials in this folder, the earliest first, each once."""
    notes = sorted(take_texts(f"{experiment}/", namespace=_NAMESPACE), key=lambda note: Path(note[0]).name)
    return [(Path(key).parent.name, text) for key, text in notes]


class _NoteHandler(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """A warning must not raise while Ray's store is away: then it is in the trial's own log alone."""
        with suppress(Exception):
            put_text(f"{self._folder}/{time.time_ns():020}-{next(_NUMBERS):06}", record.getMessage(), namespace=_NAMESPACE)

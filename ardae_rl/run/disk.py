"""Folders and files that are complete or absent, and patience with a disk that is full or away for a moment.

Identity: written aside, flushed to disk, renamed: a name stands for something whole, whenever and however the writer is stopped.
Not here: what is written (``checkpoints.py``, ``records.py``, ``rllib/replay.py``).
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, *[60.0] * 720)  # half a day in all: waiting costs nothing, and failing costs the trial


def patiently(work: Callable[[], T], *, what: str = "writing", waits_s: Sequence[float] | None = None) -> T:
    """What ``work`` returns, called again after each wait (WAITS_S) while the disk fails it with OSError; the last error is raised.

    It warns that ``what`` failed at the first, second, fourth, eighth, ... time. ``work`` must undo what it did before it fails.
    """
    for failures, wait_s in enumerate(WAITS_S if waits_s is None else waits_s, 1):
        try:
            return work()
        except TimeoutError:  # to Python an OSError, too: an actor that does not answer
            raise
        except OSError as error:
            if failures.bit_count() == 1:
                logger.warning("%s failed (%s): trying again", what, error)
            time.sleep(wait_s)
    return work()


def write_whole(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write into a new hidden folder beside ``folder`` and give that its name once it is on disk; an older one gives way.

    If the disk or ``fill`` fails, ``folder`` is what it was. Its parent must exist: nothing is written where a storage path has gone.
    """
    partial, replaced = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    for left in (partial, replaced):  # by a process killed in here
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        fill(partial)
        for path in (*partial.rglob("*"), partial):
            sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        os.rename(folder, replaced)
    os.rename(partial, folder)
    sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def write_into(folder: Path, fill: Callable[[Path], object], *, last: str) -> None:
    """Let ``fill`` write into a hidden folder inside ``folder``, which may be new, and move all of it there once it is on disk.

    What had the same names gives way, other things stay. The file ``last`` goes first and comes last: while it is there, what belongs to it
    is whole. If the disk or ``fill`` fails, ``folder`` holds what it held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial, replaced = folder / ".partial", folder / ".replaced"
    for left in (partial, replaced):  # by a process killed in here
        shutil.rmtree(left, ignore_errors=True)
    try:
        write_whole(partial, fill)
        replaced.mkdir()
        (folder / last).unlink(missing_ok=True)
        for entry in sorted(partial.iterdir(), key=lambda entry: entry.name == last):
            target = folder / entry.name
            if target.exists():
                os.rename(target, replaced / entry.name)
            os.rename(entry, target)
        sync(folder)
    finally:
        for left in (partial, replaced):
            shutil.rmtree(left, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Make ``content`` what is in the file ``path``. Raises OSError if the disk fails; then, as after a crash, it holds what it held."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(content)
        sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def append_whole(path: Path, content: bytes) -> None:
    """Add ``content`` to the end of a file, on disk once it returns. Raises OSError if the disk fails; then none of it was added."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())  # a checkpoint written after it, and surely on disk, takes it for written
            if not size:
                sync(path.parent)  # its name, too
        except OSError:
            file.truncate(size)
            raise


def sync(path: Path) -> None:
    """Wait until a file's contents, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

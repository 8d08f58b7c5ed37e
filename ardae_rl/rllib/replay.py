"""Uniform experience replay in one block of memory, and checkpoints of it that rewrite only what changed.

Notation: C capacity, N transitions added over the buffer's life, n rows of one call, D = 2 obs_dim + action_dim + 2 floats of a row.
Identity: transition number i lives in row i mod C. So N alone fixes the size min(N, C), the write position N mod C, and, compared with
N at the last save, which rows changed since.
Checkpoint: a directory with ``manifest.json`` and ``chunk-00000.safetensors``, ... of CHUNK_ROWS rows each (the last one shorter), in ring
order. An unchanged chunk is a hard link to the previous checkpoint's file, and no file is modified once written: any checkpoint may be
deleted without harm to another. A crash leaves no half checkpoint.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from ardae_rl.run.disk import write_whole

FORMAT_VERSION = 1
CHUNK_ROWS = 16_384  # 2.8 MB per file for HalfCheetah, 47 MB for Humanoid; part of the format: changing it needs a new FORMAT_VERSION
MANIFEST = "manifest.json"
TENSOR = "rows"


class _File(NamedTuple):
    """A chunk file on disk. Whoever replaces or edits the file changes its identity, and it is no longer linked to."""

    path: Path
    identity: tuple[int, int, int, int]


class ReplayBuffer:
    """The last ``capacity`` of ``num_added`` transitions in a ring of float32 rows, drawn uniformly with a seeded generator of its own.

    Columns: ``obs`` (n, obs_dim), ``actions`` (n, action_dim), ``rewards`` (n,), ``new_obs`` (n, obs_dim), ``terminateds`` (n,).
    ``terminateds`` is 1 where the episode ended for good and 0 elsewhere: a truncated step is 0, its value is bootstrapped.
    Memory: ``nbytes``, of which only rows that ever held data are touched.
    Raises ValueError if a size is not positive or the seed is negative.
    """

    def __init__(self, *, capacity: int, obs_dim: int, action_dim: int, seed: int) -> None:
        for name, value, least in (("capacity", capacity, 1), ("obs_dim", obs_dim, 1), ("action_dim", action_dim, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} of a replay buffer must be {least} or greater, got {value!r}.")
        self.capacity, self._obs_dim, self._action_dim = capacity, obs_dim, action_dim
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self.num_added = 0
        self._widths = {"obs": (obs_dim,), "actions": (action_dim,), "rewards": (), "new_obs": (obs_dim,), "terminateds": ()}
        # One row per transition, not one array per column: a draw then touches one place in memory per transition instead of five, and a
        # chunk is written to disk without copying.
        self._rows = np.zeros((capacity, 2 * obs_dim + action_dim + 2), np.float32)
        self._columns = self._split(self._rows)
        # Reused between draws: mapping and zeroing fresh pages for it costs as much as the draw (HalfCheetah 0.33 ms instead of 0.10 ms).
        self._drawn = self._rows[:0]
        self._saved_files: list[_File] = []
        self._saved_num_added = 0

    def _split(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Views of the columns inside ``rows`` (n, D)."""
        columns, start = {}, 0
        for name, width in self._widths.items():
            stop = start + sum(width or (1,))
            columns[name] = rows[:, start:stop] if width else rows[:, start]
            start = stop
        return columns

    def __len__(self) -> int:
        """Transitions held now, at most ``capacity``."""
        return min(self.num_added, self.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole ring, whether filled or not: 4 capacity (2 obs_dim + action_dim + 2)."""
        return self._rows.nbytes

    def add(self, transitions: Mapping[str, np.ndarray]) -> None:
        """Append n >= 0 transitions in order, overwriting the oldest; of more than ``capacity``, the last ``capacity`` remain.

        Values are converted to float32. Raises ValueError on a missing or unknown column or a wrong shape, TypeError on values that are not
        real numbers or booleans; the buffer is then unchanged.
        """
        count = self._check_transitions(transitions)
        start = 0
        while start < count:
            row = (self.num_added + start) % self.capacity
            stop = min(count, start + self.capacity - row)
            for name, column in self._columns.items():
                column[row : row + stop - start] = transitions[name][start:stop]
            start = stop
        self.num_added += count

    def _check_transitions(self, transitions: Mapping[str, np.ndarray]) -> int:
        """The number n of transitions, once names, kinds and shapes are right."""
        if transitions.keys() != self._widths.keys():
            raise ValueError(
                f"transitions need exactly the columns {', '.join(self._widths)}; got {', '.join(transitions) or 'none'}. "
                f"Rename, add or drop columns accordingly."
            )
        arrays = {name: np.asarray(values) for name, values in transitions.items()}
        count = arrays["rewards"].size
        for name, width in self._widths.items():
            if arrays[name].dtype.kind not in "biuf":
                raise TypeError(f"column {name!r} must hold real numbers or booleans, got dtype {arrays[name].dtype}. Convert it first.")
            if arrays[name].shape != (count, *width):
                raise ValueError(
                    f"column {name!r} must have shape {(count, *width)} ({count} rewards, obs_dim = {self._obs_dim}, "
                    f"action_dim = {self._action_dim}), got {arrays[name].shape}. "
                    f"Pass one row per transition: spaces flattened, rewards and terminateds without a second axis."
                )
        return count

    def sample(self, count: int) -> dict[str, np.ndarray]:
        """Draw ``count`` >= 1 transitions uniformly with replacement: each column a new contiguous float32 array of ``count`` rows.

        Raises ValueError if the buffer is empty or ``count`` is not positive.
        """
        if count < 1:
            raise ValueError(f"the number of transitions to sample must be 1 or greater, got {count}.")
        if not len(self):
            raise ValueError("cannot sample from an empty replay buffer. Add transitions, or load a checkpoint, first.")
        if len(self._drawn) != count:
            self._drawn = np.empty((count, self._rows.shape[1]), np.float32)
        indices = self._rng.integers(len(self), size=count)
        # mode: numpy fills ``out`` without an intermediate copy only if it need not raise; the indices are in range by construction
        self._rows.take(indices, axis=0, out=self._drawn, mode="clip")
        return {name: column.copy() for name, column in self._split(self._drawn).items()}

    def observations(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` observations (count, obs_dim) drawn with the caller's generator: the buffer's own draws stay what they would be."""
        return self._columns["obs"][rng.integers(len(self), size=count)]

    def save(self, directory: Path) -> None:
        """Write the contents, counters and generator state to the new ``directory``, creating its parents.

        Chunks unchanged since the last ``remember`` or ``load`` are hard links to the files of that time, or written again where a
        link is impossible. Raises ValueError if ``directory`` exists, OSError if the disk fails; then nothing is left of it.
        """
        if os.path.lexists(directory):
            raise ValueError(f"cannot save the replay buffer: {directory} exists already. Choose a new directory, or delete that one.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(directory, self._write_checkpoint)

    def _write_checkpoint(self, partial: Path) -> None:
        for index, rows in enumerate(self._chunks()):
            path = partial / _chunk_name(index)
            if self._changed(index) or not _link(self._saved_files[index], path):
                path.write_bytes(to_safetensors({TENSOR: rows}))
        (partial / MANIFEST).write_text(json.dumps(self._manifest(), indent=2))

    def _chunks(self) -> Iterator[np.ndarray]:
        """Views of the filled rows, CHUNK_ROWS at a time."""
        for start in range(0, len(self), CHUNK_ROWS):
            yield self._rows[start : min(start + CHUNK_ROWS, len(self))]

    def _changed(self, index: int) -> bool:
        """Was any row of this chunk written since the last save or load?"""
        added = self.num_added - self._saved_num_added
        first = self._saved_num_added % self.capacity
        start, stop = index * CHUNK_ROWS, min((index + 1) * CHUNK_ROWS, self.capacity)
        # The rows written since are first ... first + added - 1, and what runs over the end of the ring once more from its start.
        return any(max(start, low) < min(stop, low + added) for low in (first, first - self.capacity))

    def _manifest(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "capacity": self.capacity,
            "obs_dim": self._obs_dim,
            "action_dim": self._action_dim,
            "chunk_rows": CHUNK_ROWS,
            "num_added": self.num_added,
            "rng_state": self._rng.bit_generator.state,
        }

    def remember(self, directory: Path) -> None:
        """From now on, unchanged chunks are linked to the files in ``directory``: saved or loaded just now, and there to stay.

        Not for ``save`` to do: what it wrote may be part of a checkpoint that fails yet and is removed, and the next attempt would then
        find nothing to link to.
        """
        paths = [(directory / _chunk_name(index)).resolve() for index, _ in enumerate(self._chunks())]
        self._saved_files = [_File(path, _identity(path)) for path in paths]
        self._saved_num_added = self.num_added

    def load(self, directory: Path) -> None:
        """Take over contents, counters and generator state from a directory written by :meth:`save`: the next draw is the one due then.

        Raises ValueError, leaving the buffer unchanged, if ``directory`` is damaged or of a buffer of other sizes.
        """
        manifest = _read_manifest(directory)
        self._check_settings(directory, manifest)
        num_added, bit_generator = _read_counters(directory, manifest)
        size = min(num_added, self.capacity)
        lengths = [min(CHUNK_ROWS, size - start) for start in range(0, size, CHUNK_ROWS)]
        paths = [directory / _chunk_name(index) for index in range(len(lengths))]
        for path, length in zip(paths, lengths, strict=True):
            _check_chunk(path, (length, self._rows.shape[1]))
        self.num_added, self._rng = num_added, np.random.Generator(bit_generator)
        for path, rows in zip(paths, self._chunks(), strict=True):
            with safe_open(path, framework="numpy") as file:
                rows[...] = file.get_tensor(TENSOR)
        self.remember(directory)

    def _check_settings(self, directory: Path, manifest: Mapping[str, Any]) -> None:
        ours = self._manifest()
        for name, fix in (
            ("format_version", "Load it with the version of ardae_rl that wrote it."),
            ("chunk_rows", "Load it with the version of ardae_rl that wrote it."),
            ("capacity", "Restore with the replay capacity the run was started with."),
            ("obs_dim", "Restore with the environment the run was started with."),
            ("action_dim", "Restore with the environment the run was started with."),
        ):
            if manifest.get(name) != ours[name]:
                raise ValueError(f"replay checkpoint {directory}: expected {name} {ours[name]!r}, got {manifest.get(name)!r}. {fix}")


def _chunk_name(index: int) -> str:
    return f"chunk-{index:05d}.safetensors"


def _identity(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _link(source: _File, target: Path) -> bool:
    """Hard-link ``target`` to ``source``; False, with no ``target``, where that is impossible or the source is not the file it was."""
    try:
        os.link(source.path, target)
    except OSError:
        return False
    if _identity(target) == source.identity:
        return True
    target.unlink()
    return False


def _damaged(path: Path, problem: str) -> ValueError:
    return ValueError(f"replay checkpoint file {path} {problem}. The checkpoint is incomplete or damaged: restore an earlier one.")


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{directory} is not a replay checkpoint: expected a directory holding {MANIFEST}. Check the path.") from None
    except ValueError as error:
        raise _damaged(path, f"is not valid JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise _damaged(path, f"must hold a JSON object, got {type(manifest).__name__}")
    return manifest


def _read_counters(directory: Path, manifest: Mapping[str, Any]) -> tuple[int, np.random.PCG64]:
    """``num_added`` and a generator in the state that was saved."""
    path, num_added = directory / MANIFEST, manifest.get("num_added")
    if not isinstance(num_added, int) or num_added < 0:
        raise _damaged(path, f"must hold num_added as an integer of 0 or greater, got {num_added!r}")
    bit_generator = np.random.PCG64()
    try:
        bit_generator.state = manifest["rng_state"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(path, f"must hold rng_state as a state of numpy's PCG64, got {manifest.get('rng_state')!r} ({error!r})") from None
    return num_added, bit_generator


def _check_chunk(path: Path, shape: tuple[int, int]) -> None:
    """Open the file, which checks that it is as long as its header says, and compare what it holds with what it must hold."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensor = file.get_slice(TENSOR)
            found = (tuple(tensor.get_shape()), tensor.get_dtype())
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except (OSError, SafetensorError) as error:
        raise _damaged(path, f"cannot be read ({error})") from None
    if found != (shape, "F32"):
        raise _damaged(path, f"must hold float32 (F32) {TENSOR!r} of shape {shape}, got {found[1]} of shape {found[0]}")

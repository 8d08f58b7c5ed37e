"""What can be known to fail before anything starts: the folder to write to, the experiment already in it."""

import fcntl
import json
import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.record import check_version
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.validation import shown

RECORD = "experiment.yaml"
PROVENANCE = "provenance.jsonl"
LOCK = ".lock"
STEERING = {  # what may change when a run goes on: how long, how often, how many at once; and further seeds
    "storage_path",
    "max_failures",
    "resources.max_concurrent_trials",
    "checkpoint.every_env_steps",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "config.report_every_env_steps",
    "config.report_every_steps",
    "stop.env_steps",
    "stop.evaluation_return_mean",
}
OUTPUT = "output.txt"  # of an experiment that runs as part of a sweep


def check_folder(experiment: Experiment, *, resume: bool, source: str, dry_run: bool = False) -> None:
    """Raise InvalidExperimentError where results cannot be written, or something would be overwritten or resumed by mistake.

    ``dry_run``: without asking whether another driver runs it, which leaves a trace.
    """
    folder = experiment.folder
    obstacle = _write_obstacle(folder)
    if obstacle:
        raise InvalidExperimentError([Problem(source, "storage_path", obstacle)])
    if not dry_run and os.access(folder / LOCK, os.R_OK | os.W_OK):
        with alone(folder):
            pass
    started = has_run(folder)
    if resume and not started:
        raise InvalidExperimentError([Problem("--resume", "", _nothing_to_resume(folder))])
    if started and not resume:
        advice = "add --resume to continue it, or start another with --set name=NAME or --storage-path DIR"
        raise InvalidExperimentError([Problem(source, "name", f"there is an experiment in {folder} already; {advice}")])
    if resume:
        _check_unchanged(experiment, folder)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other drivers, also on other machines, from running the experiment in ``folder``, until this process ends in whatever way.

    A file system without locks keeps nobody. Raises InvalidExperimentError if another driver is there.
    """
    with (folder / LOCK).open("ab+", buffering=0) as file:  # nothing left that a full disk could refuse at the end
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = f"{folder} is being run by {file.read().decode() or 'another process'}; stop that first, or wait for its end"
            raise InvalidExperimentError([Problem("storage_path", "", other)]) from None
        except OSError:
            pass
        with suppress(OSError):  # a full disk: the lock holds all the same
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


def has_run(folder: Path) -> bool:
    """Whether ``folder`` holds an experiment that got far enough to be resumed: by Tune's records, or by a checkpoint of a trial."""
    return knows_trials(folder) or any(folder.glob("*/checkpoint_[0-9]*"))


def knows_trials(folder: Path) -> bool:
    """Whether Tune's own records of an experiment are in ``folder``."""
    return (folder / "tuner.pkl").is_file() and any(folder.glob("experiment_state-*.json"))


def set_damaged_aside(folder: Path) -> list[str]:
    """Rename those of Tune's records that a full disk or a kill left half written to ``*.damaged``; the names they had.

    Tune writes them in place. What they say is dispensable: every trial continues from the last checkpoint in its folder.
    """
    damaged = [path for path in (*folder.glob("*.json"), *folder.glob("*.pkl")) if not _is_whole(path)]
    for path in damaged:
        os.replace(path, path.with_name(path.name + ".damaged"))
    return [path.name for path in damaged]


def _is_whole(path: Path) -> bool:
    content = path.read_bytes()
    if content.startswith(pickle.PROTO) or path.suffix == ".pkl":  # some of Tune's *.json are pickles
        return content.endswith(pickle.STOP)
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _write_obstacle(folder: Path) -> str | None:
    nearest = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))  # unlike Path.exists, never raises
    if not nearest.is_dir():
        return f"cannot write to {folder}: {nearest} is not a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"cannot write to {folder}: no permission to write in {nearest}; choose another with --storage-path DIR"
    return None


def _nothing_to_resume(folder: Path) -> str:
    others = sorted(child.name for child in folder.parent.glob("*") if has_run(child))
    there = f"; {folder.parent} holds: {', '.join(others)}" if others else ""
    return f"there is no experiment in {folder}{there}. Start it without --resume"


def _check_unchanged(experiment: Experiment, folder: Path) -> None:
    """Tune continues what it stored and would silently ignore whatever the file says differently by now."""
    record = folder / RECORD
    if not record.is_file():
        return
    try:
        stored = yaml.safe_load(record.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        stored = None
    if not isinstance(stored, dict):
        advice = "put it back from a copy, or delete it to continue without this check"
        raise InvalidExperimentError([Problem("--resume", "", f"{record}, which says what was started, is damaged; {advice}")])
    check_version(stored, f"--resume: {record}")
    before = _flat(stored)
    now = _flat(yaml.safe_load(to_yaml(experiment)))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key) and key not in STEERING]
    if set(_seeds(before.get("seeds"))) <= set(experiment.seed_list):
        changed = [key for key in changed if key != "seeds"]
    if changed:
        raise InvalidExperimentError(Problem("--resume", key, _difference(key, before, now, record)) for key in changed)


def _seeds(stored: Any) -> list[Any]:
    return list(range(stored)) if isinstance(stored, int) else list(stored or ())


def forget_trials(folder: Path) -> None:
    """Set aside what Tune knows of an experiment that goes on otherwise than it began: each trial continues from its last checkpoint."""
    for path in (*folder.glob("experiment_state-*.json"), *folder.glob("*.pkl")):
        os.replace(path, path.with_name(path.name + ".before"))


def _difference(key: str, before: dict[str, Any], now: dict[str, Any], record: Path) -> str:
    if key not in before:
        repair = "leave it out; or, if the run is older than this setting, write there what the code did that started it"
        return f"is {shown(now[key])} now and not in {record}; {repair}"
    difference = f"was {shown(before[key])} when {record.parent} was started and is {shown(now.get(key))} now"
    return f"{difference}; put it back with --set {key}=VALUE, or start another experiment with --set name=NAME"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not (isinstance(value, dict) and value):
        return {prefix: value}
    return {key: leaf for name, child in value.items() for key, leaf in _flat(child, f"{prefix}.{name}" if prefix else str(name)).items()}

"""A small sweep, what its records say, and the processes it is made of."""

import csv
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import psutil

from tests.experiment.process import Run

REPORT_EVERY, CHECKPOINT_EVERY, EVALUATE_EVERY, ENVS = 100, 200, 400, 4
MOST_LOST = CHECKPOINT_EVERY + REPORT_EVERY

EXPERIMENT = f"""\
name: tiny
run: SAC-AR-DAE
env: %s
seeds: %d
stop: {{env_steps: %d}}
config:
  sac:
    implicit: {{noise_dim: 2, width: 8}}
    critic: {{width: 8}}
    score: {{layers: 1, context_layers: 0, input_layers: 0, width: 8, samples_per_context: 2, importance_samples: 2}}
    jacobian_clamping: null
  replay: {{batch_size: 8, warmup_env_steps: 100, capacity: 20000, updates_per_env_step: 0.25}}
  env_runners: {{num_envs_per_env_runner: {ENVS}}}
  evaluation: {{every_env_steps: {EVALUATE_EVERY}, episodes: 1}}
  report_every_env_steps: {REPORT_EVERY}
checkpoint: {{every_env_steps: {CHECKPOINT_EVERY}}}
"""


def column(folder: Path, file: str, name: str) -> list[float]:
    with (folder / file).open(newline="") as lines:
        return [float(row[name] or "nan") for row in csv.DictReader(lines)]


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint_*"))


def wait_for_checkpoint(run: Run, folder: Path, limit_s: float) -> None:
    """Return once there is a newer one than now."""
    before = checkpoints(folder)[-1:]
    run.wait_until(lambda: checkpoints(folder)[-1:] > before, limit_s)


def shown(run: Run, seed: int) -> list[int]:
    """The env steps of every report of a trial, in the order they came."""
    return shown_in(run.output, seed)


def shown_in(output: str, seed: int) -> list[int]:
    found = re.findall(rf"^seed={seed}  ([\d,]+)/", output, re.MULTILINE)
    return [int(steps.replace(",", "")) for steps in found]


def wait_for_report(run: Run, limit_s: float, seed: int = 0) -> None:
    """Return after the next one."""
    before = len(shown(run, seed))
    run.wait_until(lambda: len(shown(run, seed)) > before, limit_s)


def lost_steps(reports: Sequence[int]) -> int:
    """Env steps that were made, reported and made again."""
    return max([before - (after - REPORT_EVERY) for before, after in pairwise(reports) if after <= before], default=0)


def assert_complete(folder: Path, env_steps: int, *, dropped: int = 0, left_out: int = 0) -> None:
    """Each report and evaluation is in the records once, from the first step to the last, and the replay buffer has seen them all.

    ``left_out``: evaluations without a finite return, which have no row.
    """
    steps = column(folder, "metrics.csv", "env_steps")
    assert all(0 < later - earlier <= REPORT_EVERY + ENVS for earlier, later in pairwise([0.0, *steps])), steps
    assert env_steps <= steps[-1] < env_steps + REPORT_EVERY
    evaluated = column(folder, "evaluations.csv", "env_steps")
    assert len(evaluated) == 1 + env_steps // EVALUATE_EVERY - left_out and evaluated == sorted(set(evaluated)), evaluated
    replayed = [held + lost for held, lost in zip(*(column(folder, "metrics.csv", n) for n in ("replay_size", "dropped_transitions")))]  # noqa: B905
    assert replayed == steps and column(folder, "metrics.csv", "dropped_transitions")[-1] == dropped


def family(run: Run) -> list[psutil.Process]:
    """Every process of a run: its driver, its own Ray, the trials with their runners and learners."""
    parent = psutil.Process(run.process.pid)
    return [parent, *parent.children(recursive=True)]


def named(processes: Sequence[psutil.Process], title: str) -> list[psutil.Process]:
    """Those that Ray calls ``title``."""
    return [process for process in processes if title in _title(process)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


def assert_gone(processes: Sequence[psutil.Process]) -> None:
    """Ray's agents look for their parent every few seconds, on a crowded machine every few tens of them."""
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive, [_title(process) for process in alive]

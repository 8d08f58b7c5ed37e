"""A small training run watched from outside: memory, open files and throughput over time, and what is left of it at the end.

The run is ``scripts/tune.py`` as a user starts it, with an env runner and a learner in processes of their own; SIGTERM ends it.
The limits are for the project's own processes; Ray's are watched beside them.
"""

import csv
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from matplotlib.figure import Figure

from benchmark.processes import TUNE, own_memory_mb, role_of, write_table

LOOK_PERIOD_S = 5.0
WARM_UP_SHARE = 0.25  # of the time: imports, the first calls, the replay buffer's first pages
STOP_LIMIT_S = 240.0
MEMORY_LIMIT_MB_PER_HOUR = 5.0
FILES_LIMIT_PER_HOUR = 5.0
THROUGHPUT_LIMIT = 0.9
OWN = {
    "ray::SACARDAETrial": "trial",
    "ray::_WrappedExecutable": "learner",  # what RLlib runs it in
    "ray::SeededEnvRunner": "env runner",
}
OF_RAY = {"raylet/raylet": "raylet", "gcs/gcs_server": "GCS", "dashboard/dashboard.py": "dashboard"}
ROLES = OWN | OF_RAY
EXPERIMENT = """\
name: soak
run: SAC-AR-DAE
env: Pendulum-v1
stop: {env_steps: 1000000000}
config:
  sac:
    implicit: {noise_dim: 2, width: 32}
    critic: {width: 32}
    score: {layers: 2, context_layers: 1, input_layers: 0, width: 32, samples_per_context: 4, importance_samples: 4}
  replay: {capacity: 20000, batch_size: 64, warmup_env_steps: 1000, updates_per_env_step: 0.25}
  env_runners: {num_env_runners: 1, num_cpus_per_env_runner: 0.25}
  learners: {num_learners: 1, num_cpus_per_learner: 0.25}
  evaluation: {every_env_steps: 4000, episodes: 2}
checkpoint: {every_env_steps: 4000}
"""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One process at one moment."""

    seconds: float
    role: str
    pid: int
    memory_mb: float
    open_files: int


@dataclass(frozen=True, kw_only=True)
class Soak:
    """``looks`` in the order of time; ``progress`` as (seconds of training, env steps); processes and temporary files that outlived it."""

    looks: list[Look]
    progress: list[tuple[float, float]]
    processes_left: list[str]
    files_left: list[str]

    def memory_slopes(self) -> dict[str, float]:
        """MB per hour of each role after the warm-up, by least squares."""
        return self._slopes("memory_mb")

    def file_slopes(self) -> dict[str, float]:
        """Open files per hour of each role after the warm-up."""
        return self._slopes("open_files")

    def throughput_ratio(self) -> float:
        """Env steps per second in the last quarter of the time over those in the second, the first after the warm-up."""
        seconds, steps = np.array(self.progress).T
        quarters = np.interp(np.linspace(seconds[0], seconds[-1], 5), seconds, steps)
        return float((quarters[4] - quarters[3]) / (quarters[2] - quarters[1]))

    def misses(self) -> list[str]:
        """Every limit that was not kept, in words; empty if the run is fit to go on for days."""
        own = {"driver", *OWN.values()}
        found = [f"no {role} was seen for long enough" for role in sorted(own - self.memory_slopes().keys())]
        for slopes, limit, unit in (
            (self.memory_slopes(), MEMORY_LIMIT_MB_PER_HOUR, "MB"),
            (self.file_slopes(), FILES_LIMIT_PER_HOUR, "open files"),
        ):
            found += [
                f"{role}: {slope:+.1f} {unit} per hour, limit {limit:g}" for role, slope in slopes.items() if role in own and slope > limit
            ]
        if self.throughput_ratio() < THROUGHPUT_LIMIT:
            found.append(f"env steps per second: {self.throughput_ratio():.2f} times those at first, limit {THROUGHPUT_LIMIT:g}")
        return found + [f"left behind, by this run or another program: {what}" for what in self.processes_left + self.files_left]

    def _slopes(self, quantity: str) -> dict[str, float]:
        curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for look in self.looks:
            if look.seconds > WARM_UP_SHARE * self.looks[-1].seconds:
                curves[look.role].append((look.seconds / 3600, getattr(look, quantity)))
        return {role: statistics.linear_regression(*zip(*curve, strict=True)).slope for role, curve in curves.items() if len(curve) > 2}


def run(folder: Path, *, minutes: float) -> Soak:
    """Train in ``folder``, which must not hold a run yet, for ``minutes`` from the first report on."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "soak.yaml"
    config.write_text(EXPERIMENT)
    command = [sys.executable, TUNE, str(config), "--storage-path", str(folder)]
    files = _temporary_files()
    with (folder / "output.txt").open("w") as output:
        driver = psutil.Popen(command, stdout=output, stderr=output, start_new_session=True)
    trial = folder / "soak" / "seed=0"
    try:
        looks, family = _watch(driver, trial / "metrics.csv", minutes * 60)
        driver.send_signal(signal.SIGTERM)
        psutil.wait_procs([driver], timeout=STOP_LIMIT_S)
        deaf = [f"the driver, {STOP_LIMIT_S:g} s after SIGTERM"] if driver.poll() is None else []
    finally:
        if driver.poll() is None:
            driver.kill()
    _, left = psutil.wait_procs(family, timeout=30)
    return Soak(
        looks=looks,
        progress=_progress(trial / "metrics.csv"),
        processes_left=deaf + [" ".join(process.cmdline()) for process in left],
        files_left=sorted(str(path) for path in _temporary_files() - files),
    )


def _temporary_files() -> set[Path]:
    """Shared memory and temporary files, except Ray's folder of logs, which it keeps on purpose."""
    temporary = Path(tempfile.gettempdir())
    found = {path for folder in (temporary, Path("/dev/shm")) if folder.is_dir() for path in folder.iterdir()}
    return found - {temporary / "ray"}


def _watch(driver: psutil.Popen, records: Path, seconds: float) -> tuple[list[Look], list[psutil.Process]]:
    looks: list[Look] = []
    family: dict[int, psutil.Process] = {}
    started: float | None = None
    while started is None or time.monotonic() - started < seconds:
        if driver.poll() is not None:
            raise RuntimeError(f"the run ended early, with exit code {driver.returncode}; see {records.parents[2] / 'output.txt'}")
        started = started or (time.monotonic() if records.exists() else None)
        processes = [psutil.Process(driver.pid), *driver.children(recursive=True)]
        family |= {process.pid: process for process in processes}
        if started is not None:
            looks += _look(processes, driver.pid, time.monotonic() - started)
        time.sleep(LOOK_PERIOD_S)
    return looks, list(family.values())


def _look(processes: Sequence[psutil.Process], driver: int, seconds: float) -> list[Look]:
    looks = []
    for process in processes:
        try:
            role = "driver" if process.pid == driver else role_of(process, ROLES)
            if role:
                size, files = own_memory_mb(process), process.num_fds()
                looks.append(Look(seconds=seconds, role=role, pid=process.pid, memory_mb=size, open_files=files))
        except psutil.Error:  # it ended meanwhile
            continue
    return looks


def _progress(records: Path) -> list[tuple[float, float]]:
    with records.open(newline="") as file:
        return [(float(row["seconds"]), float(row["env_steps"])) for row in csv.DictReader(file)]


def save(soak: Soak, folder: Path) -> None:
    """``soak.csv``, a row per process and look, and ``soak.png``."""
    write_table(folder / "soak.csv", soak.looks)
    figure(soak).savefig(folder / "soak.png", dpi=120)


def figure(soak: Soak) -> Figure:
    """Memory and open files by role, env steps per second, over minutes."""
    drawn = Figure(figsize=(7, 8), layout="constrained")
    memory, files, speed = drawn.subplots(3, sharex=True)
    for role in dict.fromkeys(look.role for look in soak.looks):
        looks = [look for look in soak.looks if look.role == role]
        minutes = [look.seconds / 60 for look in looks]
        memory.plot(minutes, [look.memory_mb for look in looks], label=role)
        files.plot(minutes, [look.open_files for look in looks], label=role)
    seconds, steps = np.array(soak.progress).T
    speed.plot(seconds[1:] / 60, np.diff(steps) / np.diff(seconds))
    for axes, title in ((memory, "memory, MB"), (files, "open files"), (speed, "env steps/s")):
        axes.set_ylabel(title)
        axes.set_ylim(bottom=0)
    memory.legend(ncols=3)
    speed.set_xlabel("minutes")
    return drawn

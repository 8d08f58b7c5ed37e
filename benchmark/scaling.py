"""What trials cost besides their own work, against how many run at once: CPU time of the driver and of Ray's own processes, and memory.

The trials do next to nothing. Their processes are real ones, on a cluster of four Ray nodes on this machine, with as many logical CPUs as
trials. CPU time, unlike wall time, says the same on two cores as on sixty-four.
"""

import math
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from matplotlib.figure import Figure

from ardae_rl.experiment.cluster import keep_to_this_machine
from benchmark.processes import TUNE, own_memory_mb, role_of, write_table

NODES = 4
LOOK_PERIOD_S = 1.0
STEPS_PER_REPORT = 20
ROLES = {
    "ray::ResourceTrainable": "trial",  # before and after it can say its name
    "ray::TaskTrial": "trial",
    "gcs_server": "head",
    "dashboard/dashboard.py": "head",
    "ray-dashboard-": "head",
    "raylet/raylet": "nodes",
    "DashboardAgent": "nodes",
    "RuntimeEnvAgent": "nodes",
}
EXPERIMENT = """\
name: scaling
run: score_error
seeds: {trials}
config: {{network: {{layers: 1, width: 8}}, steps: {steps}, report_every_steps: {every}, evaluate_every_steps: {steps}}}
"""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """``trials`` at once, ``reports`` of each; ``alive``: processes of trials at one moment, at most. CPU seconds over the whole sweep, of
    the driver, the head's processes (GCS, dashboard) and the nodes' (raylets, agents); memory at its largest, ``trial_mb`` the mean of one
    trial's process.
    """

    trials: int
    reports: int
    alive: int
    seconds: float
    driver_cpu_s: float
    head_cpu_s: float
    nodes_cpu_s: float
    driver_mb: float
    head_mb: float
    trial_mb: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """CPU seconds by least squares: one sweep, one trial more, one report more."""

    sweep_s: float
    trial_s: float
    report_s: float


def run(folder: Path, plan: Sequence[tuple[int, int]]) -> list[Sweep]:
    """A sweep for each (trials, reports of a trial), with records in ``folder``. Raises RuntimeError for one that does not finish."""
    folder.mkdir(parents=True, exist_ok=True)
    keep_to_this_machine()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # one for all: Ray keeps the first that it reads
    return [_sweep(folder / f"trials={trials}_reports={reports}", trials, reports) for trials, reports in plan]


def _sweep(folder: Path, trials: int, reports: int) -> Sweep:
    folder.mkdir()
    config = folder / "scaling.yaml"
    config.write_text(EXPERIMENT.format(trials=trials, steps=reports * STEPS_PER_REPORT, every=STEPS_PER_REPORT))
    with _cluster(trials) as address, (folder / "output.txt").open("w") as output:
        started = time.monotonic()
        command = [sys.executable, TUNE, str(config), "--address", address, "--storage-path", str(folder)]
        driver = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            cpu, memory, alive = _watch(driver)
        finally:
            if driver.poll() is None:
                driver.terminate()
                driver.wait()
        seconds = time.monotonic() - started
    if driver.returncode:
        raise RuntimeError(f"{trials} trials at once did not finish (exit code {driver.returncode}): see {folder}/output.txt")
    largest = {role: max(memory.get(role, [math.nan])) for role in ("driver", "head", "trial")}
    return Sweep(
        trials=trials,
        reports=reports,
        alive=alive,
        seconds=seconds,
        driver_cpu_s=cpu["driver"],
        head_cpu_s=cpu["head"],
        nodes_cpu_s=cpu["nodes"],
        driver_mb=largest["driver"],
        head_mb=largest["head"],
        trial_mb=largest["trial"],
    )


@contextmanager
def _cluster(trials: int) -> Iterator[str]:
    """The address of four nodes of this machine, with a CPU for each trial and one to spare for each node."""
    from ray.cluster_utils import Cluster

    cpus = math.ceil(trials / NODES) + 1
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": True, "dashboard_port": port})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=cpus)
        yield cluster.address
    finally:
        cluster.shutdown()


def _watch(driver: psutil.Popen) -> tuple[dict[str, float], dict[str, list[float]], int]:
    """CPU seconds used by each role while the driver runs, its memory in MB at every look (added up, of trials the mean), and how many
    processes of trials there were at most."""
    before: dict[int, float] = {}
    used: dict[tuple[str, int], float] = {}
    memory: dict[str, list[float]] = {}
    alive = 0
    while driver.poll() is None:
        sizes: dict[str, list[float]] = {}
        for process in psutil.Process().children(recursive=True):  # the driver among them
            try:
                role = "driver" if process.pid == driver.pid else role_of(process, ROLES)
                if role:
                    times = process.cpu_times()
                    total = times.user + times.system
                    first = before.setdefault(process.pid, 0.0 if role == "driver" else total)  # the others were there before
                    used[role, process.pid] = total - first
                    sizes.setdefault(role, []).append(own_memory_mb(process))
            except psutil.Error:  # it ended meanwhile
                continue
        alive = max(alive, len(sizes.get("trial", [])))
        for role, found in sizes.items():
            memory.setdefault(role, []).append(statistics.fmean(found) if role == "trial" else sum(found))
        time.sleep(LOOK_PERIOD_S)
    cpu = {role: sum(value for (owner, _), value in used.items() if owner == role) for role in ("driver", "head", "nodes")}
    return cpu, memory, alive


def costs(sweeps: Sequence[Sweep], role: str) -> Costs:
    """Of ``driver``, ``head`` or ``nodes``. Needs three sweeps or more, not all of equally many reports per trial."""
    counts = np.array([[1.0, sweep.trials, sweep.trials * sweep.reports] for sweep in sweeps])
    seconds = np.array([getattr(sweep, f"{role}_cpu_s") for sweep in sweeps])
    solution, _, rank, _ = np.linalg.lstsq(counts, seconds, rcond=None)
    if rank < 3:
        raise ValueError(
            "costs of a sweep, a trial and a report need three sweeps or more that differ in trials and in reports of a trial."
        )
    return Costs(sweep_s=float(solution[0]), trial_s=float(solution[1]), report_s=float(solution[2]))


def save(sweeps: Sequence[Sweep], folder: Path) -> None:
    """``scaling.csv``, a row per sweep, and ``scaling.png``."""
    write_table(folder / "scaling.csv", sweeps)
    figure(sweeps).savefig(folder / "scaling.png", dpi=120)


def figure(sweeps: Sequence[Sweep]) -> Figure:
    """CPU seconds by role, and memory, against trials at once; a line for each number of reports."""
    drawn = Figure(figsize=(9, 4), layout="constrained")
    cpu, memory = drawn.subplots(1, 2)
    for reports in sorted({sweep.reports for sweep in sweeps}):
        chosen = [sweep for sweep in sweeps if sweep.reports == reports]
        trials = [sweep.trials for sweep in chosen]
        for role, style in (("driver", "-o"), ("head", "--s"), ("nodes", ":^")):
            cpu.plot(trials, [getattr(sweep, f"{role}_cpu_s") for sweep in chosen], style, label=f"{role}, {reports} reports")
        for role, style in (("driver", "-o"), ("head", "--s"), ("trial", ":^")):
            memory.plot(trials, [getattr(sweep, f"{role}_mb") for sweep in chosen], style, label=f"{role}, {reports} reports")
    for axes, title in ((cpu, "CPU seconds of a sweep"), (memory, "memory, MB")):
        axes.set(xlabel="trials at once", ylabel=title, ylim=(0, None))
        axes.legend(fontsize="small")
    return drawn

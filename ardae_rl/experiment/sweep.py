"""Several experiments as one sweep: one cluster for all, a driver process for each, statistics over seeds while they run.

The trials of all experiments wait for room on the same cluster, so seeds, methods and environments run side by side. As many drivers are
alive as trials have room: each has at least one trial to run, and more could start nothing.
"""

import math
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ardae_rl.experiment.cluster import check_resources, cluster, cluster_nodes, footprints
from ardae_rl.experiment.display import LiveDisplay
from ardae_rl.experiment.options import RunOptions, handled_signals
from ardae_rl.experiment.plan import concurrent_trials, trial_assignments, trial_name
from ardae_rl.experiment.preflight import OUTPUT, check_folder, has_run
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment
from ardae_rl.experiment.summary import Evaluation, read_evaluations
from ardae_rl.run.process import end_with_parent

LOOK_PERIOD_S = 2.0


@dataclass(frozen=True)
class Population:
    """The seeds of one grid point so far: how many of ``total`` have got to the evaluation at ``steps``, and their ``values`` there.

    ``steps`` is that of the latest evaluation that every seed with any has made; 0 before the first.
    """

    name: str
    total: int
    steps: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


def populations(experiment: Experiment) -> list[Population]:
    """One per grid point, from the records its trials have written by now. Raises OSError while the disk cannot read them."""
    groups: dict[str, list[list[Evaluation]]] = {}
    for assignment in trial_assignments(experiment):
        point = trial_name({path: value for path, value in assignment.items() if path != "seed"})
        groups.setdefault(point, []).append(read_evaluations(experiment.folder / trial_name(assignment), experiment.reporting))
    return [_population(f"{experiment.name} {point}".strip(), curves) for point, curves in groups.items()]


def _population(name: str, curves: Sequence[Sequence[Evaluation]]) -> Population:
    begun = [curve for curve in curves if curve]
    if not begun:
        return Population(name, len(curves), 0, ())
    shared = min(map(len, begun)) - 1
    return Population(name, len(curves), begun[0][shared].steps, tuple(curve[shared].value for curve in begun))


@dataclass
class Driver:
    """One experiment, the command that runs it, and its process once started."""

    experiment: Experiment
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> str:
        if self.process is None:
            return "waiting"
        code = self.process.poll()
        return "running" if code is None else "finished" if code == 0 else "failed" if code == 1 else f"ended with code {code}"

    @property
    def output(self) -> Path:
        return self.experiment.folder / OUTPUT

    def start(self, address: str) -> None:
        """In a session of its own: signals reach it through the sweep alone, once each; and should the sweep be killed, it stops, too.

        Raises OSError, nothing having started, while the disk does not take its output.
        """
        self.experiment.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as file:
            command = [*self.command, "--address", address]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, preexec_fn=end_with_parent)

    def stop(self, signum: int) -> None:
        """Pass a signal on, if there is still someone to hear it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signum)


def check(experiments: Mapping[Path, Experiment], *, resume: bool, here: bool = True, dry_run: bool = False) -> None:
    """Find out what is known to fail in any of the files before anything starts. Raises InvalidExperimentError with every mistake."""
    problems: list[Problem] = []
    places: dict[Path, Path] = {}
    for source, experiment in experiments.items():
        first = places.setdefault(experiment.folder, source)
        if first != source:
            problems.append(Problem(str(source), "name", f"{experiment.name!r} is the name in {first}, too; they would share a folder"))
        try:
            experiment.check(str(source), here=here)
            check_folder(experiment, resume=resume and has_run(experiment.folder), source=str(source), dry_run=dry_run)
        except InvalidExperimentError as error:
            problems += error.problems
    if problems:
        raise InvalidExperimentError(problems)


def run(drivers: Sequence[Driver], options: RunOptions) -> int:
    """Run all of them, showing the statistics of their seeds. The exit code is that of :func:`.launch.run`."""
    with cluster(options.address) as dashboard, _forwarded(drivers) as received:
        import ray

        for driver in drivers:
            check_resources(driver.experiment, options)
        asked = [footprint for driver in drivers for footprint in footprints(driver.experiment)]

        def room() -> int:
            return max(1, concurrent_trials(asked, cluster_nodes(), None))

        options.say("Sweep", f"{len(drivers)} experiments, {len(asked)} trials, {room()} at a time")
        options.say("Dashboard", dashboard)
        for storage in dict.fromkeys(driver.experiment.storage_folder for driver in drivers):
            options.say("Results", str(storage))
        _drive(drivers, ray.get_runtime_context().gcs_address, room, received, options.console)
    for driver in drivers:
        options.say(driver.experiment.name, f" {driver.status}; its output: {driver.output}")
    return options.stopped(received[0]) if received else int(any(driver.status != "finished" for driver in drivers))


def _drive(drivers: Sequence[Driver], address: str, room: Callable[[], int], received: Sequence[int], console: Console) -> None:
    """Keep as many drivers alive as trials have ``room`` until all have ended, or, once a signal was received, those that were started."""
    with _Show(console) as show:
        while True:
            waiting = [driver for driver in drivers if driver.process is None]
            free = room() - _alive(drivers) if waiting else 0  # a cluster may have grown, or lost a machine
            for driver in waiting:
                if received or free <= 0:
                    break
                try:
                    driver.start(address)
                except OSError as error:
                    show.trouble(driver, f"cannot be started ({error})")
                    continue
                free -= 1
                for signum in received:  # while it was starting, when no handler could know of it
                    driver.stop(signum)
            show(drivers)
            if not _alive(drivers) and (received or not waiting):
                return
            time.sleep(LOOK_PERIOD_S)


def _alive(drivers: Sequence[Driver]) -> int:
    return sum(driver.status == "running" for driver in drivers)


@contextmanager
def _forwarded(drivers: Sequence[Driver]) -> Iterator[list[int]]:
    """Ctrl-C or SIGTERM goes on to every driver, which then stops as it would on its own. Yields the signals received so far."""

    def stop(signum: int) -> None:
        for driver in drivers:
            driver.stop(signum)

    with handled_signals(lambda received: stop(received[-1])) as received:
        try:
            yield received
        finally:
            stop(signal.SIGTERM)


class _Show(LiveDisplay):
    """A live table on a terminal; elsewhere a line whenever the numbers of a population change."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._shown: dict[str, str] = {}

    def __call__(self, drivers: Sequence[Driver]) -> None:
        rows = [(driver, population) for driver in drivers for population in self._populations(driver)]
        if self._live:
            self._live.update(_table(rows), refresh=True)
            return
        for driver, population in rows:
            self._show(population.name, "  ".join(_cells(driver, population)))

    def _show(self, about: str, line: str) -> None:
        """Unless it is what was said last."""
        if self._shown.get(about) != line:
            self._shown[about] = line
            self.note(line)

    def trouble(self, driver: Driver, what: str) -> None:
        """A line, once, about a disk that fails ``driver``."""
        self._show(f"{driver.experiment.name}: {what}", f"{driver.experiment.name}: {what}: trying again")

    def _populations(self, driver: Driver) -> list[Population]:
        try:
            return populations(driver.experiment)
        except OSError as error:
            self.trouble(driver, f"its records cannot be read ({error})")
            return []


def _table(rows: Sequence[tuple[Driver, Population]]) -> Table:
    table = Table("experiment", "status", "steps", "seeds", "evaluation, mean over seeds", "range")
    for driver, population in rows:
        table.add_row(*_cells(driver, population))
    return table


def _cells(driver: Driver, population: Population) -> tuple[str, ...]:
    number = driver.experiment.reporting.number
    low, high = (choose(population.values, default=math.nan) for choose in (min, max))
    return (
        population.name,
        driver.status,
        f"{population.steps:,} {driver.experiment.reporting.unit}",
        f"{len(population.values)}/{population.total} seeds",
        f"{number(population.mean)} ± {number(population.std)} (std)",
        f"[{number(low)}, {number(high)}]",
    )

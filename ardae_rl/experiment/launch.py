"""Run an experiment on Ray Tune, from starting or joining a cluster to the closing table."""

import dataclasses
import json
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ardae_rl.experiment.access import cluster_to_join, make_token
from ardae_rl.experiment.display import Display, Row
from ardae_rl.experiment.events import cause_of, restarts
from ardae_rl.experiment.plan import (
    Footprint,
    Resources,
    assignment_of,
    concurrent_trials,
    param_space,
    shortfall,
    total_steps,
    trial_assignments,
    trial_name,
)
from ardae_rl.experiment.preflight import PROVENANCE, RECORD, alone, knows_trials, set_damaged_aside
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.summary import CURVE_FILE, TrialSummary, closing_table, read_evaluations
from ardae_rl.run.disk import append_whole, replace_file
from ardae_rl.run.provenance import provenance

if TYPE_CHECKING:
    from ray import tune

CONNECT_TIMEOUT_S = 10.0
ONE_REQUEST_S = 5.0
MAX_NAMES = 10
SOCKET_FOLDER_BYTES = 30  # the path of a socket may have 107 in all, of which Ray takes 76 and its dashboard, below a folder of ours, 50

_FOR_RAY = {
    "RAY_task_events_max_num_task_in_gcs": "10000",  # of 100,000: Ray's head process grew by 130 MB an hour (docs/faults.md)
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def run(experiment: Experiment, *, resume: bool, address: str | None, may_grow: bool, command: str, console: Console) -> int:
    """Train every trial and print how it went. ``command`` is what the user would type to continue after an interruption.

    ``may_grow``: the cluster starts machines on demand, so a trial that has no room today waits.

    Returns the exit code: 0 if every trial finished, 1 if one failed, 128 + the signal if the run was interrupted.

    Raises:
        InvalidExperimentError: no cluster at ``address``, or one on which a trial can never start, or no room for the record of the run,
            or another driver that runs it. Nothing that was there has changed.
    """
    with cluster(address) as dashboard:
        check_resources(experiment, may_grow=may_grow, console=console)
        with _recorded(experiment):
            _announce(experiment, dashboard, resume, console)
            return _train(experiment, resume, command, console)


@contextmanager
def cluster(address: str | None) -> Iterator[str | None]:
    """A Ray cluster to work on: the one at ``address`` or RAY_ADDRESS, else a new one on this machine. Yields the dashboard's address."""
    for name, value in _FOR_RAY.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # until there is a file to log to; what goes wrong is raised as well
    joined = cluster_address(address)
    if not joined:
        make_token()
    with nullcontext() if joined else _own_temporary_files():
        try:
            _knock(joined)
            context = ray.init(address=joined or "local", configure_logging=False, log_to_driver=False)
        except Exception as error:  # Ray raises many kinds, of a node that is slow to start a bare Exception
            raise InvalidExperimentError([_no_cluster(joined, error)]) from error
        try:
            yield context.dashboard_url
        finally:
            ray.shutdown()


@contextmanager
def _own_temporary_files() -> Iterator[None]:
    """A folder for the temporary files of all processes, removed with what they leave: Ray's dashboard never cleans up its ``pymp-*``.

    Ray's logs and sockets, and what torch compiled, stay where they always are, but for sockets where TMPDIR is too long a path for any:
    Ray would not start there, or go without its dashboard after a minute.
    """
    short = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) <= SOCKET_FOLDER_BYTES else "/tmp"
    places = {
        "RAY_TMPDIR": short,
        "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"),
    }
    before = {name: os.environ.get(name) for name in ("TMPDIR", *places)}
    with tempfile.TemporaryDirectory(prefix="ardae-rl-", dir=short, ignore_cleanup_errors=True) as folder:
        os.environ |= {**places, **{name: value for name, value in before.items() if value is not None}, "TMPDIR": folder}
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _no_cluster(address: str | None, error: Exception) -> Problem:
    cause = " ".join(str(error).split())[:300].rstrip(".")
    if address:
        advice = "is it running, and RAY_AUTH_MODE=token set if it asks for a token? Leave the address out to start one on this machine"
        return Problem(f"--address {address}", "", f"no Ray cluster can be joined there ({cause}); {advice}")
    if "AF_UNIX" in cause:
        return Problem("RAY_TMPDIR", "", f"Ray cannot be started on this machine: {cause}; set RAY_TMPDIR to a shorter path, such as /tmp")
    advice = (
        "try again when the machine is less busy; where the home directory cannot be written to, set RAY_AUTH_TOKEN to a token of yours"
    )
    return Problem("Ray", "", f"cannot be started on this machine: {cause}; {advice}")


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: ``address``, else RAY_ADDRESS, else None. Raises InvalidExperimentError for a Ray Client address."""
    joined = cluster_to_join(address)
    if joined and joined.startswith("ray://"):
        advice = "submit this command with 'ray job submit' or give the cluster's GCS address, HOST:6379"
        raise InvalidExperimentError([Problem(f"--address {joined}", "", f"a Ray Client connection cannot follow a run; {advice}")])
    return joined


def _knock(address: str | None) -> None:
    """Raise OSError at once where Ray would spend minutes on retries: nothing listens at HOST:PORT."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def footprints(experiment: Experiment) -> list[Footprint]:
    """What each trial reserves, in the order of :func:`.plan.trial_assignments`."""
    trainable, asked = experiment.trainable(), []
    for point in experiment.grid_points():
        request = trainable.default_resource_request(trial_config(experiment, point))
        asked += [Footprint(tuple(dict(bundle) for bundle in request.bundles))] * len(experiment.seed_list)
    return asked


def trial_config(experiment: Experiment, point: Mapping[str, Any]) -> dict[str, Any]:
    """What Tune hands to a trial of one grid point (with the first seed)."""
    return {**experiment.subject, "settings": dataclasses.asdict(experiment.settings(point)), "seed": experiment.seed_list[0]}


def cluster_nodes() -> list[dict[str, float]]:
    """What each machine of the cluster has, taken or not. Call inside :func:`cluster`."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def local_nodes() -> list[dict[str, float]]:
    """What a cluster started on this machine would have."""
    import torch

    from ardae_rl.run.ray_internals import cpus_of_this_machine

    return [{"CPU": cpus_of_this_machine(), "GPU": float(torch.cuda.device_count())}]


def check_resources(experiment: Experiment, *, may_grow: bool, console: Console) -> None:
    """Refuse trials that the cluster as it is can never hold; one that may grow only has to be told what they wait for."""
    reason = obstacle(experiment, cluster_nodes())
    if reason and may_grow:
        say(console, "Note", f"a trial can start only once the cluster has grown: {reason}")
    elif reason:
        advice = f"{experiment.resource_advice}, use a larger cluster with --address, or add --autoscaling if this one grows on demand"
        raise InvalidExperimentError([Problem("resources", "", f"a trial can never start: {reason}; {advice}")])


def obstacle(experiment: Experiment, nodes: Sequence[Resources]) -> str | None:
    """Why some trial can never start on ``nodes``, or None."""
    reasons = (shortfall(footprint, nodes) for footprint in footprints(experiment)[:: len(experiment.seed_list)])
    return next(filter(None, reasons), None)


@contextmanager
def _recorded(experiment: Experiment) -> Iterator[None]:
    """Write what is run, and by which versions, into its folder, and hold that. Raises InvalidExperimentError where that cannot be."""
    record, content = experiment.folder / RECORD, to_yaml(experiment).encode()
    with ExitStack() as held:
        try:
            experiment.folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(experiment.folder))
            if not record.is_file() or record.read_bytes() != content:
                replace_file(record, content)
            append_whole(experiment.folder / PROVENANCE, f"{json.dumps(provenance())}\n".encode())  # a resumed run may meet other versions
            _log_to(experiment.folder / "driver.log")
        except OSError as error:
            advice = "make room, or see that the disk is there, and give the same command again"
            message = f"cannot write to {experiment.folder}: {error}; {advice}"
            raise InvalidExperimentError([Problem("storage_path", "", message)]) from error
        yield


def _log_to(path: Path) -> None:
    """Send what Ray and Python's warnings would print over the progress to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # what a full disk does not take is lost, not printed over the progress
    for name in ("ray", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def _announce(experiment: Experiment, dashboard: str | None, resume: bool, console: Console) -> None:
    names = [trial_name(assignment) for assignment in trial_assignments(experiment)]
    at_once = concurrent_trials(footprints(experiment), cluster_nodes(), experiment.resources.max_concurrent_trials)
    lines = {
        "Experiment": f"{experiment.name}: {experiment.title}" + (", resumed" if resume else ""),
        "Trials": f"{len(names)}, {at_once} at a time: {_listed(names)}",
        "Results": str(experiment.folder),
        "Dashboard": where_it_is(dashboard),
        "TensorBoard": f"tensorboard --logdir {experiment.folder}",
    }
    for label, text in lines.items():
        say(console, label, text)


def _listed(names: list[str]) -> str:
    hidden = len(names) - MAX_NAMES
    return ", ".join(names) if hidden <= 0 else f"{', '.join(names[:MAX_NAMES])}, ... ({hidden} more)"


def where_it_is(dashboard: str | None) -> str:
    """The address of Ray's dashboard as one reads it, or why there is none."""
    return f"http://{dashboard}" if dashboard else "did not start; dashboard.log among Ray's logs says why (docs/monitoring.md)"


def say(console: Console, label: str, text: str) -> None:
    """One line of the output: a label and what it is about."""
    console.print(f"{label + ':':<13}{text}", soft_wrap=True, highlight=False, markup=False)


def _train(experiment: Experiment, resume: bool, command: str, console: Console) -> int:
    from ardae_rl.experiment.watch import watcher
    from ardae_rl.run.ray_internals import forget_read_reports

    with Display(console, experiment.reporting) as display:
        display.expect(Row(name=name, total_steps=steps) for name, steps in total_steps(experiment).items())
        watcher().attach(experiment, display)
        forget_read_reports()
        tuner = _restored(experiment, display) if resume else _fresh(experiment)
        try:
            with _graceful_stop() as received:
                results = tuner.fit()
        except Exception as error:  # Tune itself gave up, as it does when the machine runs out of memory
            logging.getLogger("ray").exception("the run ended early")
            display.note(_ended_early(experiment, error, command))
            return 1
    _close(results, experiment, console, interrupted=bool(received))
    if received:
        say(console, "Stopped", f"continue with\n  {command}")
        return 128 + received[0]
    return int(any(result.error for result in results))


def _ended_early(experiment: Experiment, error: Exception, command: str) -> str:
    cause = str(error).strip().partition("\n")[0]
    return f"The run ended early: {cause}\n  full error: {experiment.folder / 'driver.log'}\n  continue with: {command}"


def _fresh(experiment: Experiment) -> "tune.Tuner":
    from ray import tune

    from ardae_rl.experiment.watch import watcher

    return tune.Tuner(
        experiment.trainable(),
        param_space=param_space(experiment),
        tune_config=tune.TuneConfig(
            max_concurrent_trials=experiment.resources.max_concurrent_trials,
            trial_name_creator=_NameTrial(list(experiment.grid_search)),
            trial_dirname_creator=_NameTrial(list(experiment.grid_search)),
            reuse_actors=experiment.reuses_processes,
        ),
        run_config=tune.RunConfig(
            name=experiment.name,
            storage_path=str(experiment.storage_folder),
            stop=experiment.stop_criteria(),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=experiment.checkpoint.keep, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=experiment.max_failures),
            callbacks=[watcher()],
            verbose=0,
        ),
    )


class _NameTrial:
    """Names a Tune trial, and its folder, by what is particular to it."""

    def __init__(self, grid_paths: list[str]) -> None:
        self._grid_paths = grid_paths

    def __call__(self, trial: Any) -> str:
        return trial_name(assignment_of(trial.config, self._grid_paths))


def _restored(experiment: Experiment, display: Display) -> "tune.Tuner":
    """The run as Tune recorded it. Where that is lost it starts anew, and each trial continues from the last checkpoint in its folder."""
    from ray import tune

    damaged = set_damaged_aside(experiment.folder)
    if damaged:
        display.note(f"Half written when the run was stopped, and set aside: {', '.join(damaged)}")
    if damaged or not knows_trials(experiment.folder):  # without one of its records Tune might start its trials twice
        return _fresh(experiment)
    return tune.Tuner.restore(str(experiment.folder), trainable=experiment.trainable(), resume_unfinished=True, resume_errored=True)


@contextmanager
def _graceful_stop() -> Iterator[list[int]]:
    """Ctrl-C or SIGTERM asks the watcher to stop; Ctrl-C again raises KeyboardInterrupt. Yields the signals received so far.

    One request may arrive several times: ``ray job stop`` signals every process of a sweep, and the sweep passes its signal on.
    """
    from ardae_rl.experiment.watch import watcher

    received: list[int] = []
    first = 0.0

    def handle(signum: int, frame: object) -> None:
        nonlocal first
        received.append(signum)
        if len(received) == 1:
            first = time.monotonic()
            watcher().request_stop()
        elif signum == signal.SIGINT and time.monotonic() - first > ONE_REQUEST_S:
            raise KeyboardInterrupt

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _summarise(result: Any, experiment: Experiment, assignment: Mapping[str, Any], *, interrupted: bool) -> TrialSummary:
    metrics = result.metrics or {}
    unfinished = interrupted and not metrics.get("done")
    return TrialSummary(
        assignment=assignment,
        status="failed" if result.error else "unfinished" if unfinished else "finished",
        steps=metrics.get(experiment.reporting.steps, 0),
        seconds=metrics.get("seconds", 0.0),
        evaluations=read_evaluations(Path(result.path), experiment.reporting),
        folder=Path(result.path),
        failure=cause_of(str(result.error)) if result.error else None,
        restarts=restarts(experiment.folder)[Path(result.path).name],
    )


def _close(results: Iterable[Any], experiment: Experiment, console: Console, *, interrupted: bool) -> None:
    """The closing table; a line in its place while the disk cannot read what it is made of: the run is over, whatever it shows."""
    assignments = {trial_name(assignment): assignment for assignment in trial_assignments(experiment)}
    try:
        trials = [_summarise(result, experiment, assignments[Path(result.path).name], interrupted=interrupted) for result in results]
    except (OSError, ValueError) as error:
        say(console, "Note", f"no closing table, {experiment.folder} cannot be read: {error}")
        return
    console.print(closing_table(trials, experiment.reporting))
    say(console, "Curves", f"{experiment.folder}/*/{CURVE_FILE}")
    say(console, "Checkpoints", f"{experiment.folder}/*/checkpoint_*")
    say(console, "TensorBoard", f"tensorboard --logdir {experiment.folder}")
    for trial in trials:
        if trial.failure:
            say(console, f"{trial.name} failed", f" {trial.failure}\n  full error: {trial.folder / 'error.txt'}")

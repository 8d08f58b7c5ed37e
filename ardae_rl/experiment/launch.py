"""Run an experiment on Ray Tune, from starting or joining a cluster to the closing table."""

import json
import logging
import shlex
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from ardae_rl.experiment.cluster import check_resources, cluster, cluster_nodes, footprints
from ardae_rl.experiment.display import Display, Row
from ardae_rl.experiment.events import cause_of, restarts
from ardae_rl.experiment.options import RunOptions, handled_signals
from ardae_rl.experiment.plan import assignment_of, concurrent_trials, param_space, total_steps, trial_assignments, trial_name
from ardae_rl.experiment.preflight import PROVENANCE, RECORD, alone, forget_trials, knows_trials, set_damaged_aside
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.summary import CURVE_FILE, TrialSummary, closing_table, read_evaluations
from ardae_rl.experiment.watch import watcher
from ardae_rl.run.disk import append_whole, replace_file
from ardae_rl.run.provenance import provenance
from ardae_rl.run.ray_internals import forget_read_reports

ONE_REQUEST_S = 5.0
MAX_NAMES = 10


def run(experiment: Experiment, options: RunOptions) -> int:
    """Train every trial and print how it went: the exit code, 0 if all finished, 1 if one failed, 128 + the signal that interrupted it.

    Raises InvalidExperimentError, nothing that was there having changed, where it cannot start.
    """
    with cluster(options.address) as dashboard:
        check_resources(experiment, options)
        with _recorded(experiment):
            _announce(experiment, dashboard, options)
            return _train(experiment, options)


@contextmanager
def _recorded(experiment: Experiment) -> Iterator[None]:
    """Write what is run, and by which versions, into its folder, and hold that. Raises InvalidExperimentError where that cannot be."""
    record, content = experiment.folder / RECORD, to_yaml(experiment).encode()
    with ExitStack() as held:
        try:
            experiment.folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(experiment.folder))
            if not record.is_file() or record.read_bytes() != content:
                forget_trials(experiment.folder)
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


def _announce(experiment: Experiment, dashboard: str, options: RunOptions) -> None:
    names = [trial_name(assignment) for assignment in trial_assignments(experiment)]
    at_once = concurrent_trials(footprints(experiment), cluster_nodes(), experiment.resources.max_concurrent_trials)
    lines = {
        "Experiment": f"{experiment.name}: {experiment.title}" + (", resumed" if options.resume else ""),
        "Trials": f"{len(names)}, {at_once} at a time: {_listed(names)}",
        "Results": str(experiment.folder),
        "Dashboard": dashboard,
        "TensorBoard": f"tensorboard --logdir {shlex.quote(str(experiment.folder))}",
    }
    for label, text in lines.items():
        options.say(label, text)


def _listed(names: list[str]) -> str:
    hidden = len(names) - MAX_NAMES
    return ", ".join(names) if hidden <= 0 else f"{', '.join(names[:MAX_NAMES])}, ... ({hidden} more)"


def _train(experiment: Experiment, options: RunOptions) -> int:
    with Display(options.console, experiment.reporting) as display:
        display.expect(Row(name=name, total_steps=steps) for name, steps in total_steps(experiment).items())
        watcher().attach(experiment, display)
        forget_read_reports()
        tuner = _restored(experiment, display) if options.resume else _fresh(experiment)
        try:
            with _graceful_stop() as received:
                results = tuner.fit()
        except Exception as error:  # Tune itself gave up, as it does when the machine runs out of memory
            logging.getLogger("ray").exception("the run ended early")
            display.note(_ended_early(experiment, error, options.command))
            return 1
    _close(results, experiment, options)
    return options.stopped(received[0]) if received else int(any(result.error for result in results))


def _ended_early(experiment: Experiment, error: Exception, command: str) -> str:
    cause = str(error).strip().partition("\n")[0]
    return f"The run ended early: {cause}\n  full error: {experiment.folder / 'driver.log'}\n  continue with: {command}"


def _fresh(experiment: Experiment) -> tune.Tuner:
    naming = partial(_name, list(experiment.grid_search))
    return tune.Tuner(
        experiment.trainable(),
        param_space=param_space(experiment),
        tune_config=tune.TuneConfig(
            max_concurrent_trials=experiment.resources.max_concurrent_trials,
            trial_name_creator=naming,
            trial_dirname_creator=naming,
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


def _name(grid_paths: list[str], trial: Any) -> str:
    """Of a Tune trial, and of its folder."""
    return trial_name(assignment_of(trial.config, grid_paths))


def _restored(experiment: Experiment, display: Display) -> tune.Tuner:
    """The run as Tune recorded it. Where that is lost it starts anew, and each trial continues from the last checkpoint in its folder."""
    damaged = set_damaged_aside(experiment.folder)
    if damaged:
        display.note(f"Half written when the run was stopped, and set aside: {', '.join(damaged)}")
    if damaged or not knows_trials(experiment.folder):  # without one of its records Tune might start its trials twice
        return _fresh(experiment)
    return tune.Tuner.restore(str(experiment.folder), trainable=experiment.trainable(), resume_unfinished=True, resume_errored=True)


def _graceful_stop() -> AbstractContextManager[list[int]]:
    """Ctrl-C or SIGTERM asks the watcher to stop; Ctrl-C again raises KeyboardInterrupt. Yields the signals received so far.

    One request may arrive several times: ``ray job stop`` signals every process of a sweep, and the sweep passes its signal on.
    """
    first = 0.0

    def handle(received: list[int]) -> None:
        nonlocal first
        if len(received) == 1:
            first = time.monotonic()
            watcher().request_stop()
        elif received[-1] == signal.SIGINT and time.monotonic() - first > ONE_REQUEST_S:
            raise KeyboardInterrupt

    return handled_signals(handle)


def _summarise(result: Any, experiment: Experiment, assignment: Mapping[str, Any]) -> TrialSummary:
    """At the last report: what a trial recorded after it is made again."""
    metrics = result.metrics or {}
    steps = metrics.get(experiment.reporting.steps, 0)
    return TrialSummary(
        assignment=assignment,
        status="failed" if result.error else "finished" if experiment.has_ended(assignment, metrics) else "unfinished",
        steps=steps,
        seconds=metrics.get("seconds", 0.0),
        evaluations=[each for each in read_evaluations(Path(result.path), experiment.reporting) if each.steps <= steps],
        folder=Path(result.path),
        failure=cause_of(str(result.error)) if result.error else None,
        restarts=restarts(experiment.folder)[Path(result.path).name],
    )


def _close(results: Iterable[Any], experiment: Experiment, options: RunOptions) -> None:
    """The closing table; a line in its place while the disk cannot read what it is made of: the run is over, whatever it shows."""
    assignments = {trial_name(assignment): assignment for assignment in trial_assignments(experiment)}
    try:
        trials = [_summarise(result, experiment, assignments[Path(result.path).name]) for result in results]
    except (OSError, ValueError) as error:
        options.say("Note", f"no closing table, {experiment.folder} cannot be read: {error}")
        return
    options.console.print(closing_table(trials, experiment.reporting))
    options.say("Curves", f"{experiment.folder}/*/{CURVE_FILE}")
    options.say("Checkpoints", f"{experiment.folder}/*/checkpoint_*")
    options.say("TensorBoard", f"tensorboard --logdir {shlex.quote(str(experiment.folder))}")
    for trial in trials:
        if trial.failure:
            options.say(f"{trial.name} failed", f" {trial.failure}\n  full error: {trial.folder / 'error.txt'}")

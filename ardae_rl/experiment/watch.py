"""The link between Tune's loop and the user: progress out, checkpoints when due, Ctrl-C in.

Nothing but this callback decides when a trial writes a checkpoint: it marks the result that Tune is about to process, wherever in a
cluster the trial runs.
"""

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from ardae_rl.experiment.cluster import cluster_nodes, obstacle
from ardae_rl.experiment.display import Display, Row
from ardae_rl.experiment.events import CRASHED, FAILED, WARNING, EventLog, cause_of
from ardae_rl.experiment.plan import total_steps
from ardae_rl.experiment.schema import Experiment
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.notes import collect_notes

STOP_TIMEOUT_S = 180.0
NOTES_PERIOD_S = 2.0
IDLE_S = 60.0
CHECKPOINT_AFTER_S = 1800.0  # an interval in steps may be days of a slow trial
CRASHES_IN_PLACE = 10  # lost machines are a matter of luck, a mistake in the env comes every time


class Watcher(Callback):
    """One per process, from :func:`watcher`; :meth:`attach` it before the run. A signal handler may call :meth:`request_stop`."""

    def __init__(self) -> None:
        self.stop_requested = self._has_shown_past = False
        self._awaited: set[str] | None = None
        self._saved: dict[str, float] = {}
        self._crashes_in_place: Counter[str] = Counter()
        self._deadline = self._collected = 0.0
        self._end_loop: Any = None

    def __reduce__(self) -> tuple[Callable[[], "Watcher"], tuple[()]]:
        # Tune stores its callbacks with the experiment; a restored one must talk to the process that resumed it.
        return watcher, ()

    def attach(self, experiment: Experiment, display: Display) -> None:
        self._experiment, self._display, self._reporting = experiment, display, experiment.reporting
        self._total_steps = total_steps(experiment)
        self._events = EventLog(RunFolder(experiment.folder, experiment.folder))
        self._idle_since, self._has_told = time.monotonic(), False
        self._end_loop = None

    def request_stop(self) -> None:
        """Have every running trial write a checkpoint, then end Tune's loop; trials stay resumable."""
        self.stop_requested = True

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Tune has its own use for SIGUSR1, to end its loop at once; from now on the signal asks for a graceful stop, as SIGTERM does."""
        if self._end_loop is None:
            self._end_loop = signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGTERM))

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object) -> None:
        self._saved.setdefault(trial.trial_id, time.monotonic())
        if self.stop_requested or self._is_due(trial, result):
            result[SHOULD_CHECKPOINT] = True
        self._display.show(self._row(trial, result))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._limit_restarts(trial)

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._saved[trial.trial_id] = time.monotonic()
        self._crashes_in_place[trial.trial_id] = 0
        self._limit_restarts(trial)
        if self._awaited is not None:
            self._awaited.discard(trial.trial_id)

    def _limit_restarts(self, trial: Trial) -> None:
        """Where restarts have no limit, let Tune give up a trial at its CRASHES_IN_PLACE-th crash without a checkpoint in between."""
        if self._experiment.max_failures < 0:
            trial.max_failures = trial.num_failures if self._is_stuck(trial) else self._experiment.max_failures

    def _is_stuck(self, trial: Trial) -> bool:
        return self._experiment.max_failures < 0 and self._crashes_in_place[trial.trial_id] >= CRASHES_IN_PLACE - 1

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._crashes_in_place[trial.trial_id] += 1
        start = "its last checkpoint" if trial.has_checkpoint() else "the beginning"
        used = f"{trial.num_failures} of {trial.max_failures} restarts used" if trial.max_failures >= 0 else f"restart {trial.num_failures}"
        self._display.note(f"{trial}: crashed ({used}); continuing from {start}")
        self._add_event(trial, CRASHED)
        self._limit_restarts(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        gave_up = f", as {CRASHES_IN_PLACE} times now without a checkpoint in between" if self._is_stuck(trial) else ""
        self._display.note(f"{trial}: failed{gave_up}; see {trial.path}/error.txt")
        self._add_event(trial, FAILED)

    def _add_event(self, trial: Trial, event: str) -> None:
        self._events.add(str(trial), event, steps=trial.last_result.get(self._reporting.steps, 0), cause=cause_of(_last_error(trial)))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        if not self._has_shown_past:
            self._has_shown_past = True
            self._display.expect(self._row(trial, trial.last_result) for trial in trials if self._reporting.steps in trial.last_result)
        self._display.refresh((str(trial), trial.status) for trial in trials)
        self._pass_notes_on({str(trial): trial.last_result.get(self._reporting.steps, 0) for trial in trials})
        self._tell_what_is_missing(trials)
        if self.stop_requested:
            self._stop_when_saved({trial.trial_id for trial in trials if trial.status == Trial.RUNNING})

    def _pass_notes_on(self, steps: Mapping[str, int]) -> None:
        now = time.monotonic()
        if now - self._collected >= NOTES_PERIOD_S:
            self._collected = now
            self._events.flush()
            for trial, text in collect_notes(self._experiment.folder):
                self._display.note(f"{trial}: {text}")
                self._events.add(trial, WARNING, steps=steps.get(trial, 0), cause=text)

    def _tell_what_is_missing(self, trials: list[Trial]) -> None:
        """Once for each time that nothing runs for IDLE_S, and on the machines there are nothing can: those that could were lost."""
        now = time.monotonic()
        if any(trial.status == Trial.RUNNING for trial in trials):
            self._idle_since, self._has_told = now, False
        waiting = [trial for trial in trials if trial.status == Trial.PENDING]
        if not waiting or self._has_told or now - self._idle_since < IDLE_S:
            return
        self._idle_since = now
        reason = obstacle(self._experiment, cluster_nodes())
        if reason:
            self._has_told = True
            text = f"nothing has run for {IDLE_S:g} s, and a trial cannot start: {reason}"
            self._display.note(f"{waiting[0]}: {text}")
            self._events.add(str(waiting[0]), WARNING, steps=waiting[0].last_result.get(self._reporting.steps, 0), cause=text)

    def _is_due(self, trial: Trial, result: dict[str, Any]) -> bool:
        every = self._experiment.checkpoint_every
        before = trial.last_result.get(self._reporting.steps, 0)
        waited = time.monotonic() - self._saved[trial.trial_id]
        return bool(result[self._reporting.steps] // every > before // every) or waited >= CHECKPOINT_AFTER_S

    def _stop_when_saved(self, running: set[str]) -> None:
        if self._awaited is None:
            self._awaited, self._deadline = set(running), time.monotonic() + STOP_TIMEOUT_S
            count = f"{len(running)} running trial{'s' * (len(running) != 1)}"
            self._display.note(
                f"Stopping: waiting for a checkpoint of {count}. "
                "Ctrl-C again, in a few seconds, stops at once and keeps the checkpoints there are."
            )
        self._awaited &= running
        if not self._awaited or time.monotonic() > self._deadline:
            assert callable(self._end_loop)
            self._end_loop(signal.SIGUSR1, None)  # Tune's handler: it stores the state of the experiment with the trials as unfinished

    def _row(self, trial: Trial, result: dict[str, Any]) -> Row:
        return Row(
            name=str(trial),
            total_steps=self._total_steps[str(trial)],
            status=trial.status,
            steps=result[self._reporting.steps],
            watched={heading: result.get(metric, math.nan) for heading, metric in self._reporting.watched.items()},
            steps_per_s=result[self._reporting.steps_per_s],
        )


def _last_error(trial: Trial) -> str:
    """What Tune has just noted of it, below a line of its own for each failure."""
    try:
        noted = Path(trial.error_file or "").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return noted.rpartition("Failure # ")[2].partition("\n")[2]


@cache
def watcher() -> Watcher:
    """This process's watcher."""
    return Watcher()

"""``TaskTrial``: any task as a recorded trial under Tune.

A resumed run equals an uninterrupted one bit for bit (on the CPU, with the same number of threads).
"""

import io
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ardae_rl.nn.settings import build
from ardae_rl.run.disk import replace_file
from ardae_rl.run.event_file import EventFile, png
from ardae_rl.run.process import prepare_training_process, return_freed_memory
from ardae_rl.run.trial import RecordedTrial
from ardae_rl.tasks.registry import TASKS
from ardae_rl.tasks.task import Metrics, Task, TaskSettings

CHECKPOINT_FILE = "task.pt"
EVALUATION_PREFIX = "evaluation/"
_MAX_SECONDS_PER_REPORT = 20.0  # a checkpoint, and an end, can come at reports only
SKIPPED_STEPS = "skipped_steps"  # a task that leaves out steps whose loss is not finite reports so how many in all


class TaskTrial(RecordedTrial):
    """Tune's config: ``{"run": name of the task, "settings": asdict(its settings), "seed": int}``.

    A row of ``metrics.csv`` comes every ``report_every_steps`` steps and says ``steps``, the ``seconds`` they took over all restarts,
    ``steps_per_s`` since the last row and the mean of each training metric since then. A report to Tune, with the latest evaluation as
    ``evaluation/<metric>``, comes with each row, and where the next one is more than 20 s away, of what there is so far.
    """

    steps_column = "steps"
    _run = "none yet"  # Ray asks for __repr__ even where setup failed
    _settings: TaskSettings
    _task: Task

    def setup(self, config: dict[str, Any]) -> None:
        prepare_training_process()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process: a sweep of short trials does not pay for importing torch in each."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._run = config["run"]
        kind = TASKS[self._run]
        self._settings = build(kind.settings, config["settings"])
        self._task = kind.task()(self._settings, seed=config["seed"], device=self._claim_device())
        self._steps, self._seconds = 0, 0.0
        self._since_row: dict[str, Any] = {"seconds": 0.0, "metrics": []}
        self._report: dict[str, float] = {}
        self._evaluation: dict[str, float] = {}
        method = str(getattr(self._settings, kind.method_field)) if kind.method_field else self._run
        self.open_records(seed=config["seed"], env=self._run, method=method)

    @property
    def steps_done(self) -> int:
        return self._steps

    def _claim_device(self) -> str:
        """Use no more threads than the CPUs this trial was given; "cuda" if it was given a GPU."""
        given = self.trial_resources.required_resources if self.trial_resources else {}
        if "CPU" in given:
            torch.set_num_threads(max(1, int(given["CPU"])))
        return "cuda" if given.get("GPU") else "cpu"

    def step(self) -> dict[str, Any]:
        self.catch_up()
        if self._steps < self._settings.steps:
            self._report = self._train()
        return {**self._report, "done": self._steps >= self._settings.steps}

    def _train(self) -> dict[str, float]:
        """Train until the next row is due, evaluating when due, or for as long as the driver can be kept waiting."""
        every, since, started = self._settings.report_every_steps, self._since_row, time.monotonic()
        row_at = min((self._steps // every + 1) * every, self._settings.steps)
        self._step(since)
        while self._steps < row_at and time.monotonic() - started < _MAX_SECONDS_PER_REPORT:
            self._step(since)
        report = {
            "steps": self._steps,
            "seconds": self._seconds,
            "steps_per_s": len(since["metrics"]) / max(since["seconds"], 1e-9),
            **_means(since["metrics"]),
        }
        if self._steps == row_at:
            self.record_metrics(report)
            self._since_row = {"seconds": 0.0, "metrics": []}
        if self._steps == self._settings.steps:
            self._draw()
            return_freed_memory()
        self._publish(report)
        return {**report, **self._evaluation}

    def _step(self, since_row: dict[str, Any]) -> None:
        started = time.perf_counter()
        since_row["metrics"].append(self._task.step())
        seconds = time.perf_counter() - started  # of training alone: evaluating more often makes no method slower
        since_row["seconds"] += seconds
        self._seconds += seconds
        self._steps += 1
        if self._steps % self._settings.evaluate_every_steps == 0 or self._steps == self._settings.steps:
            self._evaluate()
            return_freed_memory()

    def __repr__(self) -> str:
        """What Ray's dashboard and logs call this process, which may serve several trials one after the other."""
        return f"TaskTrial({self._run})"

    def _publish(self, report: Metrics) -> None:
        self.monitor.publish(
            {
                "running": float(self._steps < self._settings.steps),
                "steps": report["steps"],
                "steps_per_s": report["steps_per_s"],
                "evaluation": self._evaluation.get(f"{EVALUATION_PREFIX}{self._task.headline}"),
                "score_loss": report.get("score_loss"),
                "non_finite_skips": report.get(SKIPPED_STEPS),
            }
        )

    def _evaluate(self) -> None:
        metrics = {name: float(value) for name, value in self._task.evaluate().items()}
        if not metrics:
            return
        if self._task.headline not in metrics:
            raise ValueError(f"evaluate() must measure the task's headline {self._task.headline!r}, got {', '.join(metrics)}")
        self._evaluation = {f"{EVALUATION_PREFIX}{name}": value for name, value in metrics.items()}
        self.record_evaluations([{"steps": self._steps, "seconds": self._seconds, **metrics}])

    def _draw(self) -> None:
        """The task's figures as PNG files, and for TensorBoard."""
        pictures = {name: png(figure) for name, figure in self._task.figures().items()}
        if pictures:
            EventFile(self.folder, "figures").add(self._steps, pictures=pictures)
        for name, content in pictures.items():
            path = self.folder.path / "figures" / f"{name}.png"
            self.folder.patiently(partial(replace_file, path, content))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        progress = {"steps": self._steps, "seconds": self._seconds, "since_row": self._since_row}
        shown = {"report": self._report, "evaluation": self._evaluation}
        content = io.BytesIO()  # torch's own writing of files turns the disk's errors into others
        torch.save({"task": self._task.state_dict(), "random": _random_state(), **progress, **shown}, content)
        (Path(checkpoint_dir) / CHECKPOINT_FILE).write_bytes(content.getbuffer())

    def load_from(self, folder: Path) -> None:
        state = torch.load(folder / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
        self._task.load_state_dict(state["task"])
        _set_random_state(state["random"])
        self._steps, self._seconds, self._since_row = state["steps"], state["seconds"], state["since_row"]
        self._report, self._evaluation = state["report"], state["evaluation"]
        self.monitor.resume({"non_finite_skips": self._report.get(SKIPPED_STEPS)})
        self.cut_records()


def _means(history: list[Metrics]) -> Metrics:
    """The mean of each metric over the steps that reported it; of steps skipped, a count that runs on, the last."""
    columns: dict[str, list[float]] = {}
    for metrics in history:
        for name, value in metrics.items():
            columns.setdefault(name, []).append(value)
    return {name: float(values[-1] if name == SKIPPED_STEPS else sum(values) / len(values)) for name, values in columns.items()}


def _random_state() -> dict[str, Any]:
    """Of torch's own generators: the CPU's, and one per GPU if any is in use."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])

"""What every trial under Tune does besides training: records, numbers to watch, checkpoints, going on from an earlier attempt."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ray import get_runtime_context
from ray.tune.result import TIMESTEPS_TOTAL

from ardae_rl.run.checkpoints import WholeCheckpoints
from ardae_rl.run.monitoring import Monitor
from ardae_rl.run.records import RecordFile


class RecordedTrial(WholeCheckpoints):
    """A trial with ``metrics.csv``, of these columns (none: those of the first row), and ``evaluations.csv``.

    A subclass calls :meth:`open_records` in ``setup``, :meth:`catch_up` before the first step, and :meth:`cut_records` in ``load_from``.
    """

    steps_column: ClassVar[str]
    metrics_columns: ClassVar[Sequence[str]] = ()

    @property
    @abstractmethod
    def steps_done(self) -> int:
        """Training steps so far."""

    def open_records(self, *, seed: int, env: str, method: str) -> None:
        self.open_folder()
        self._seed = seed
        self._metrics_file = RecordFile(self.folder, "metrics.csv", self.metrics_columns, steps=self.steps_column)
        self._evaluation_file = RecordFile(self.folder, "evaluations.csv", steps=self.steps_column)
        self.monitor = Monitor(experiment=self.folder.path.parent.name, trial=self.folder.path.name, env=env, method=method)

    def catch_up(self) -> bool:
        """Before the first step, go on from the checkpoints of an attempt that Tune knows nothing of; whether that made any steps.

        An attempt that crashed before its first checkpoint may have left rows: they go.
        """
        if self.steps_done == 0:
            self.take_over()
            self.cut_records()
            return self.steps_done > 0
        return False

    def record_metrics(self, row: Mapping[str, Any]) -> None:
        self._metrics_file.append([{"seed": self._seed, **row}])

    def record_evaluations(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._evaluation_file.append([{"seed": self._seed, **row} for row in rows])

    def cut_records(self) -> None:
        """Drop the rows of steps that are made again."""
        for file in (self._metrics_file, self._evaluation_file):
            file.cut_after(self.steps_done or -1)  # nothing that was recorded before the first step stays either: it is made again

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tune's own, the steps TensorBoard draws over, and Ray's name for the machine: several nodes can have one address."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
        return filled | {TIMESTEPS_TOTAL: self.steps_done, "node_id": get_runtime_context().get_node_id()}

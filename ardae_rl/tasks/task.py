"""What an experiment that is not reinforcement learning looks like to the rest of the package.

A task is built from its settings, a seed and a device, and then stepped. It imports no Ray: it runs in a notebook or a test as it does
under Ray Tune (``trainable.py``).
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Metrics = dict[str, float]


class TaskSettings(Protocol):
    """A frozen dataclass, validated on construction: the ``config:`` section of the task's YAML files.

    It may have a method ``check()`` that raises OSError or ValueError where something outside of it is amiss, such as a file of data; it
    is called before anything starts.
    """

    @property
    def steps(self) -> int:
        """Training steps of the whole run."""
        ...

    @property
    def report_every_steps(self) -> int: ...

    @property
    def evaluate_every_steps(self) -> int: ...

    def smoke(self) -> "TaskSettings":
        """The same experiment in a few seconds."""
        ...


class Task(Protocol):
    """``headline`` names the evaluation metric that the closing table shows; lower is better."""

    headline: str

    def __init__(self, settings: Any, *, seed: int, device: str) -> None: ...

    def step(self) -> Metrics:
        """One training step; what to watch while it trains, under the same names every time."""
        ...

    def evaluate(self) -> Metrics:
        """What the experiment is about, measured now, the ``headline`` among it; empty where the truth is not known.

        The same names every time. Draws from its own generator: evaluating more or less often changes no result.
        """
        ...

    def figures(self) -> "dict[str, Figure]":
        """Pictures of the present state, by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on: tensors (the live ones, not copies) and plain numbers.

        Generators of the task's own included; torch's global ones are saved by whoever runs it, as ``TaskTrial`` does.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

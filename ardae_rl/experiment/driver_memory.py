"""What the driver keeps in memory of reports that it has read."""

from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.tune.execution import tune_controller


def forget_read_reports() -> None:
    """Have Ray Tune's driver drop a report once it is read, instead of when its trial ends.

    The actor manager of Ray 2.60 notes the future of every task of a trial and takes none off its list until the trial ends. A future
    keeps its report in the driver's memory, so that memory grows with every report of a run that lasts for days.
    """
    tune_controller.RayActorManager = _ActorManager


class _ActorManager(RayActorManager):
    def _schedule_tracked_actor_task(self, tracked_actor_task: Any, *arguments: Any, **named: Any) -> Any:
        noted = self._tracked_actors_to_task_futures[tracked_actor_task._tracked_actor]
        noted &= self._actor_task_events.get_futures()  # those that nothing waits for any more have been read
        return super()._schedule_tracked_actor_task(tracked_actor_task, *arguments, **named)

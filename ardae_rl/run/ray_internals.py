"""All that is borrowed from names Ray keeps to itself, which its next version may take away: tests/run/test_ray_internals.py would tell.

What needs RLlib imports it only when called: a task has no use for it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow.fs import LocalFileSystem
from ray import tune
from ray._common.utils import get_system_memory
from ray._private import utils as ray_utils
from ray.air.execution._internal import RayActorManager
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_initialized, _internal_kv_list, _internal_kv_put
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import _VALIDATE_STORAGE_MARKER_FILENAME
from ray.tune.execution import tune_controller
from ray.tune.result import TRAINING_ITERATION

STORAGE_MARKER = _VALIDATE_STORAGE_MARKER_FILENAME  # the file by which Tune's driver marks the folder of an experiment


def local_storage(trial: tune.Trainable) -> Any:
    """Where Tune keeps a trial (``trial_fs_path``, ``experiment_fs_path``), if that is a file system of this machine; else None."""
    storage = trial._storage
    return storage if storage is not None and isinstance(storage.storage_filesystem, LocalFileSystem) else None


def next_checkpoint(trial: tune.Trainable) -> Path:
    """The folder of the checkpoint after the last, which is then the last."""
    trial._storage._update_checkpoint_index({})
    return Path(trial._storage.checkpoint_fs_path)


def number_checkpoints_from(trial: tune.Trainable, last: Path) -> None:
    """Have the next one numbered after ``last``."""
    trial._storage.current_checkpoint_index = int(last.name.rpartition("_")[2])


def saved_checkpoint(trial: tune.Trainable, folder: Path) -> Any:
    """What Tune expects of ``Trainable.save``."""
    checkpoint = tune.Checkpoint(str(folder), trial._storage.storage_filesystem)
    return _TrainingResult(checkpoint=checkpoint, metrics=dict(trial._last_result or {}))


def known_checkpoint(saved: Any) -> Path | None:
    """The folder of a checkpoint as Tune hands it to ``Trainable.restore``; None where that is something else."""
    return Path(saved.checkpoint.path) if isinstance(saved, _TrainingResult) else None


def count_iterations_from(trial: tune.Trainable, saved: Any) -> None:
    trial._iteration = saved.metrics.get(TRAINING_ITERATION, 0)


def put_text(key: str, text: str, *, namespace: str) -> None:
    """Into the store of names and values that every cluster has; nowhere, where this process is in none."""
    if _internal_kv_initialized():
        _internal_kv_put(key, text, namespace=namespace)


def take_texts(prefix: str, *, namespace: str) -> Iterator[tuple[str, str]]:
    """Each key that begins with ``prefix``, with its text, which is then gone."""
    for key in _internal_kv_list(prefix, namespace=namespace):
        text = _internal_kv_get(key, namespace=namespace)
        _internal_kv_del(key, namespace=namespace)
        yield key.decode(), text.decode()


def forget_read_reports() -> None:
    """Have Tune's driver drop a report once it is read, instead of when its trial ends: a run of days would fill its memory.

    Its actor manager notes the future of every task of a trial, which keeps the report, and takes none off its list.
    """
    tune_controller.RayActorManager = _ActorManager


class _ActorManager(RayActorManager):
    def _schedule_tracked_actor_task(self, tracked_actor_task: Any, *arguments: Any, **named: Any) -> Any:
        noted = self._tracked_actors_to_task_futures[tracked_actor_task._tracked_actor]
        noted &= self._actor_task_events.get_futures()  # those that nothing waits for any more have been read
        return super()._schedule_tracked_actor_task(tracked_actor_task, *arguments, **named)


@contextmanager
def apart_from_signals() -> Iterator[None]:
    """Processes of Ray's that are started in here are in groups of their own: a signal to this process's group is not for them.

    Ray calls the function in each between fork and exec, to have it end with this process.
    """
    ending = ray_utils.set_kill_on_parent_death_linux

    def apart() -> None:
        os.setpgid(0, 0)
        ending()

    ray_utils.set_kill_on_parent_death_linux = apart
    try:
        yield
    finally:
        ray_utils.set_kill_on_parent_death_linux = ending


def cpus_of_this_machine() -> float:
    """Those that this process may use: a container, or a batch system, may leave it less than the machine has."""
    from ray._private.utils import get_num_cpus

    return float(min(get_num_cpus(override_docker_cpu_warning=True), len(os.sched_getaffinity(0))))


def memory_of_this_machine() -> int:
    """Bytes, as Ray counts them: a container may have less than the machine."""
    return int(get_system_memory())


def bundles_of(config: Any) -> list[dict[str, float]]:
    """What an algorithm of this AlgorithmConfig reserves: its own process, its env runners, its learners."""
    from ray.rllib.algorithms.utils import _get_env_runner_bundles, _get_learner_bundles, _get_main_process_bundle

    return [_get_main_process_bundle(config), *_get_env_runner_bundles(config), *_get_learner_bundles(config)]


def runner_actor(group: Any, index: int) -> Any:
    """The actor of one env runner of an EnvRunnerGroup."""
    return group._worker_manager.actors()[index]


def seed_next_reset(runner: Any, seeds: Sequence[int]) -> None:
    """The seed of each sub-environment of a SingleAgentEnvRunner when all are next reset at once."""
    runner._seed = list(seeds)


def forget_age_of_weights(holder: Any) -> None:
    """Have an env runner or a learner take the next weights it is given, even if they are older than its own."""
    holder._weights_seq_no = 0


def begin_anew(runner: Any) -> None:
    """Have a SingleAgentEnvRunner reset every sub-environment before its next step."""
    runner._needs_initial_reset = True


def chunks_for_metrics(runner: Any) -> Iterator[list[Any]]:
    """Of each episode that a SingleAgentEnvRunner is at, the chunks so far that it keeps for its metrics."""
    yield from runner._ongoing_episodes_for_metrics.values()


class TellsOfNewEpisodes:
    """In front of SingleAgentEnvRunner: one whose :meth:`on_new_episode` is told of each, whoever else gave RLlib callbacks."""

    def on_new_episode(self, env_index: int, episode: Any) -> None: ...

    def _new_episode(self, env_index: int, episodes: Any = None) -> None:
        super()._new_episode(env_index, episodes)  # type: ignore[misc]
        self.on_new_episode(env_index, (self._ongoing_episodes if episodes is None else episodes)[env_index])  # type: ignore[attr-defined]


def class_of_actor(kind: type) -> type:
    """The class that was made an actor, of the one that Ray derived from it on the spot; any other is itself."""
    return getattr(kind, "__ray_actor_class__", kind)

"""``SACARDAE``: SAC, with or without AR-DAE, as an RLlib Algorithm.

The data path: env runners -> episode chunks -> replay (a ring of arrays) -> K mini-batches per ``learner_group.update`` call ->
weights back to the env runners. No step back, no episode objects in the replay buffer, no learner connectors.
"""

import logging
import math
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import cloudpickle
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, LEARNER_RESULTS
from ray.tune import PlacementGroupFactory

from ardae_rl.rllib.config import SACARDAEConfig
from ardae_rl.rllib.env_runner import ENVIRONMENT, SeededEnvRunner, evaluate_returns
from ardae_rl.rllib.replay import ReplayBuffer
from ardae_rl.rllib.sampling import Sampling
from ardae_rl.run.process import prepare_training_process
from ardae_rl.run.ray_internals import bundles_of, class_of_actor
from ardae_rl.sac.diagnostics import WATCHED_STATES, sample_actions, watch_policy
from ardae_rl.sac.update import METRIC_NAMES, NonFiniteError

logger = logging.getLogger(__name__)
_MAX_UPDATES_PER_CALL = 32  # bounds the memory of one learner call, whatever the number of environments
_MAX_SECONDS_PER_ITERATION = 20.0  # a progress report, and a chance to stop, comes at least this often
_MAX_SECONDS_TO_SYNC = 10.0  # until the weights before these have arrived: RLlib leaves out new ones where they are still on their way
_REPLAY_SEED = 7  # tells the replay buffer's random stream from those of the env runners
PROGRESS = "ardae_rl_progress"
_PROGRESS_ATTRIBUTES = (
    "env_steps",
    "num_updates",
    "evaluations",
    "updates_start_at",
    "seconds",
    "dropped_transitions",
)
REPLAY_DIRECTORY = "replay"


class SACARDAE(Algorithm):
    """Trains one policy; see :class:`SACARDAEConfig`.

    ``env_steps`` environment steps sampled, ``num_updates`` learner updates done, ``evaluations`` one record per evaluation so far,
    ``dropped_transitions`` steps that never reached the replay buffer because something in them was NaN or infinite; ``seconds`` of
    sampling, learning and evaluating; ``updates_start_at`` the env steps and updates from which ``updates_per_env_step`` counts;
    ``watched`` what the last report averaged over states, one value each.
    """

    config: SACARDAEConfig

    @classmethod
    def get_default_config(cls) -> SACARDAEConfig:
        return SACARDAEConfig()

    @classmethod
    def default_resource_request(cls, config: SACARDAEConfig) -> PlacementGroupFactory:  # type: ignore[override]
        """What one algorithm reserves (RLlib's version only understands plain dicts)."""
        return PlacementGroupFactory(bundles=bundles_of(config), strategy=config.placement_strategy)

    def setup(self, config: SACARDAEConfig) -> None:
        prepare_training_process()
        super().setup(config)
        spaces = self.env_runner.get_spaces()[DEFAULT_MODULE_ID]
        self.replay = ReplayBuffer(
            capacity=self.config.replay.capacity,
            obs_dim=spaces[0].shape[0],
            action_dim=spaces[1].shape[0],
            seed=np.random.SeedSequence((self.config.seed or 0, _REPLAY_SEED)).generate_state(1)[0],
        )
        self.num_updates = 0
        self.evaluations: list[dict[str, Any]] = []
        self.env_steps = 0
        self.updates_start_at = (self.config.replay.warmup_env_steps, 0)
        self.seconds = 0.0
        self.watched: dict[str, np.ndarray] = {}
        self._warmed_up = False
        self._sampling = Sampling(self.env_runner_group, timeout_s=self.config.sample_timeout_s)
        self.dropped_transitions = 0
        self._dropped_in_a_row: Counter[tuple[int, int]] = Counter()
        self._episode_return_mean = math.nan

    def training_step(self) -> None:
        """Sample, learn, evaluate when due, until the next report is due."""
        started = time.monotonic()
        every = self.config.report_every_env_steps
        target = (self.env_steps // every + 1) * every
        while self.env_steps < target and time.monotonic() - started < _MAX_SECONDS_PER_ITERATION:
            before = self.env_steps
            self._sample()
            if self.env_steps == before:  # every env runner is down: wait for Ray to restart one
                self.restore_env_runners(self.env_runner_group)
                time.sleep(self.config.delay_between_env_runner_restarts_s)
            self._learn()
            self._evaluate_if_due(before)
        self.seconds += time.monotonic() - started

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """As RLlib's. A runner that comes back does not repeat the episodes it once began with."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            reseed = partial(_reseed, salt=self.env_steps)
            env_runner_group.foreach_env_runner(reseed, remote_worker_ids=restored, local_env_runner=False)
        return restored

    def _sample(self) -> None:
        self._set_exploration()
        episodes, results = self._sampling.collect(ahead=self._warmed_up)
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        if episodes:
            self._keep(episodes)

    def _keep(self, episodes: list[SingleAgentEpisode]) -> None:
        """Replay the transitions without NaN or infinity: a single other one would spoil every mini-batch it is drawn into, for ever."""
        columns = transitions_of(episodes)
        finite = np.logical_and.reduce([np.isfinite(column).reshape(len(column), -1).all(1) for column in columns.values()])
        dropped = len(finite) - int(finite.sum())
        self.replay.add(columns if dropped == 0 else {name: column[finite] for name, column in columns.items()})
        self.env_steps += len(finite)
        self.dropped_transitions += dropped
        self._check_environments(episodes, finite)

    def _check_environments(self, episodes: list[SingleAgentEpisode], finite: np.ndarray) -> None:
        """Raise NonFiniteError once one environment made ``max_non_finite`` steps in a row that were dropped: others may well be sound."""
        start = 0
        for chunk in episodes:
            kept, environment = finite[start : start + len(chunk)], chunk.custom_data[ENVIRONMENT]
            start += len(chunk)
            self._dropped_in_a_row[environment] = (
                int(kept[::-1].argmax()) if kept.any() else self._dropped_in_a_row[environment] + len(kept)
            )
            if self._dropped_in_a_row[environment] >= self.config.sac.max_non_finite:
                raise NonFiniteError(
                    f"the last {self._dropped_in_a_row[environment]} steps of environment {environment[1]} of env runner {environment[0]} "
                    f"were all NaN or infinite in observation, action or reward (max_non_finite is {self.config.sac.max_non_finite}). "
                    f"Look for what makes {self.config.env} fail and not end."
                )

    def _set_exploration(self) -> None:
        """Uniform until the warm-up is over. Sent every round until then: a runner that was replaced meanwhile must hear of it, too."""
        if self._warmed_up:
            return
        uniform = self.env_steps < self.config.replay.warmup_env_steps
        self.env_runner_group.foreach_env_runner(
            lambda runner: setattr(runner.module, "explores_uniformly", uniform), timeout_seconds=_MAX_SECONDS_TO_SYNC
        )
        self._warmed_up = not uniform

    def _learn(self) -> None:
        """Catch up with ``updates_per_env_step`` updates for every step since the warm-up, then publish the policy."""
        steps_at_start, updates_at_start = self.updates_start_at
        ratio = self.config.replay.updates_per_env_step
        due = math.floor((self.env_steps - steps_at_start) * ratio) - (self.num_updates - updates_at_start)
        if due <= 0 or not len(self.replay):
            return
        while due > 0:
            count = min(due, _MAX_UPDATES_PER_CALL)
            results = self.learner_group.update(batch=self._mini_batches(count))
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
            self.num_updates += count
            due -= count
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=_MAX_SECONDS_TO_SYNC
        )

    def _mini_batches(self, count: int) -> MultiAgentBatch:
        """``count`` mini-batches in one batch, laid out learner by learner: RLlib gives each learner a contiguous part."""
        learners, batch_size = max(self.config.num_learners, 1), self.config.replay.batch_size
        columns = self.replay.sample(count * batch_size)
        if learners > 1:
            columns = {name: _learner_by_learner(column, count, learners) for name, column in columns.items()}
        return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=count * batch_size)

    def _evaluate_if_due(self, env_steps_before: int) -> None:
        every = self.config.evaluation_protocol.every_env_steps
        if self.env_steps // every == env_steps_before // every:
            return
        self.eval_env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)
        protocol = self.config.evaluation_protocol
        returns = evaluate_returns(self.eval_env_runner, protocol.episodes, max_episode_steps=protocol.max_episode_steps)
        finite = [value for value in returns if math.isfinite(value)]
        if len(finite) < len(returns):
            lost = len(returns) - len(finite)
            logger.warning("%d of %d evaluation episodes returned NaN or infinity: left out", lost, len(returns))
        if finite:
            self.evaluations.append({"env_steps": self.env_steps, "num_updates": self.num_updates, "returns": finite})

    def step(self) -> dict[str, Any]:
        steps, updates, seconds = self.env_steps, self.num_updates, self.seconds
        results = super().step()
        elapsed = max(self.seconds - seconds, 1e-9)
        rates = {"env_steps_per_s": (self.env_steps - steps) / elapsed, "updates_per_s": (self.num_updates - updates) / elapsed}
        return results | {"progress": self._progress(results) | rates}

    def _progress(self, results: dict[str, Any]) -> dict[str, Any]:
        """The numbers to watch, flat. Returns are the latest known, NaN before the first; learner metrics are the last call's."""
        learning_steps = self.env_steps - self.updates_start_at[0]
        updates = self.num_updates - self.updates_start_at[1]
        means = [float(np.mean(record["returns"])) for record in self.evaluations]
        learner = results.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
        self.watched = self._watched_policy()
        self._episode_return_mean = float(results.get(ENV_RUNNER_RESULTS, {}).get(EPISODE_RETURN_MEAN, self._episode_return_mean))
        return {
            "env_steps": self.env_steps,
            "updates": self.num_updates,
            "updates_per_env_step": updates / learning_steps if learning_steps > 0 else 0.0,
            "seconds": self.seconds,
            "replay_size": len(self.replay),
            "dropped_transitions": self.dropped_transitions,
            "episode_return_mean": self._episode_return_mean,
            "evaluation_return_mean": means[-1] if means else math.nan,
            "evaluation_return_max": max(means, default=math.nan),
            **{name: float(values.mean()) for name, values in self.watched.items()},
            **{f"learner/{name}": float(learner[name]) for name in sorted(METRIC_NAMES & learner.keys())},
        }

    def _watched_policy(self) -> dict[str, np.ndarray]:
        """:func:`ardae_rl.sac.diagnostics.watch_policy` on replayed states; with noise of its own, so that looking changes nothing."""
        if not len(self.replay):
            return {}
        measured = watch_policy(self.get_module().policy, *self._replayed(WATCHED_STATES))
        return {f"policy/{name}": values.numpy() for name, values in measured.items()}

    def sampled_actions(self, states: int, samples: int) -> np.ndarray:
        """``samples`` actions of the policy, in [-1, 1], in each of so many replayed states: (states, samples, D).

        Raises ValueError before there are any.
        """
        return sample_actions(self.get_module().policy, *self._replayed(states), samples=samples).numpy()

    def _replayed(self, states: int) -> tuple[torch.Tensor, torch.Generator]:
        """Observations (states, C) and a generator for noise: others at every step, the same ones at the same, so that looking repeats."""
        obs = torch.from_numpy(self.replay.observations(states, np.random.default_rng(self.env_steps)))
        return obs, torch.Generator().manual_seed(self.env_steps)

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """RLlib's checkpoint plus the replay buffer inside ``path``. Raises ValueError if ``path`` holds a replay already.

        The replay goes first: without RLlib's files, written last, nothing takes the folder for a checkpoint.
        """
        folder = Path(path or tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        self.replay.save(folder / REPLAY_DIRECTORY)
        saved = super().save_to_path(folder, **kwargs)
        _name_classes(folder)
        return saved

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        super().restore_from_path(path, *args, **kwargs)
        if kwargs.get("component"):
            return  # a part of a checkpoint, such as a module's weights, not its training state
        self._warmed_up = False
        self._sampling.discard()
        # Evaluation first: each seeds torch's global stream, which a local training runner goes on with.
        for group in (self.eval_env_runner_group, self.env_runner_group):
            group.foreach_env_runner(partial(_reseed, salt=self.env_steps))
        replay = Path(path) / REPLAY_DIRECTORY
        if replay.is_dir():
            self.replay.load(replay)
        else:
            warmup = self.config.replay.warmup_env_steps
            self.updates_start_at = (self.env_steps + warmup, self.num_updates)
            logger.warning("the checkpoint at %s holds no replay buffer: collecting %d steps before the next update.", path, warmup)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().get_state(*args, **kwargs) | {PROGRESS: {name: getattr(self, name) for name in _PROGRESS_ATTRIBUTES}}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for name, value in state[PROGRESS].items():
            setattr(self, name.removeprefix("_"), value)  # older checkpoints have some with an underscore


def _name_classes(checkpoint: Path) -> None:
    """Have a checkpoint name its classes, and nothing inside them.

    An actor is of a class that Ray derives from ours on the spot. It has no name to be pickled by, so RLlib pickles it piece by piece,
    with every method of ours that Ray wraps, and only a version with the very same methods, private ones too, could open the checkpoint.
    """
    for path in checkpoint.rglob(Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME):
        facts = cloudpickle.loads(path.read_bytes())
        path.write_bytes(cloudpickle.dumps({**facts, "class": class_of_actor(facts["class"])}))


def _reseed(runner: SeededEnvRunner, *, salt: int) -> None:
    runner.reseed(salt)


def transitions_of(episodes: list[SingleAgentEpisode]) -> dict[str, np.ndarray]:
    """Columns of all steps in these episode chunks. A truncated chunk's last step is not terminated, so it bootstraps."""
    chunks = [episode for episode in episodes if len(episode)]
    terminateds = [np.zeros(len(chunk), np.float32) for chunk in chunks]
    for flags, chunk in zip(terminateds, chunks, strict=True):
        flags[-1] = chunk.is_terminated
    observations = [np.asarray(chunk.get_observations(), np.float32) for chunk in chunks]
    return {
        Columns.OBS: np.concatenate([obs[:-1] for obs in observations]),
        Columns.NEXT_OBS: np.concatenate([obs[1:] for obs in observations]),
        Columns.ACTIONS: np.concatenate([np.asarray(chunk.get_actions(), np.float32) for chunk in chunks]),
        Columns.REWARDS: np.concatenate([np.asarray(chunk.get_rewards(), np.float32) for chunk in chunks]),
        Columns.TERMINATEDS: np.concatenate(terminateds),
    }


def _learner_by_learner(column: np.ndarray, mini_batches: int, learners: int) -> np.ndarray:
    """(K, L, rows, ...) -> (L, K, rows, ...), flattened."""
    shaped = column.reshape(mini_batches, learners, -1, *column.shape[1:])
    return np.ascontiguousarray(shaped.swapaxes(0, 1)).reshape(column.shape)

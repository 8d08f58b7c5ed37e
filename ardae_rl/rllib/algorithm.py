"""``SACARDAE``: SAC, with or without AR-DAE, as an RLlib Algorithm, and its config.

The data path: env runners -> episode chunks -> replay (a ring of arrays) -> K mini-batches per ``learner_group.update`` call ->
weights back to the env runners. No step back, no episode objects in the replay buffer, no learner connectors.
"""

import logging
import math
import time
from dataclasses import asdict, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, LEARNER_RESULTS
from ray.tune import PlacementGroupFactory
from ray.tune.result import TRAINING_ITERATION

from ardae_rl.rllib.checkpoint import (
    POLICY,
    PROGRESS,
    REPLAY_DIRECTORY,
    checkpoint_here,
    described,
    read_state,
    write_checkpoint,
    write_for_rllib,
    write_state,
)
from ardae_rl.rllib.diagnostics import watched_policy
from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.rllib.evaluation import evaluate_returns, mean_return
from ardae_rl.rllib.learner import SACARDAETorchLearner
from ardae_rl.rllib.module import SACARDAERLModule
from ardae_rl.rllib.replay import ReplayBuffer
from ardae_rl.rllib.sampling import Sampling
from ardae_rl.rllib.settings import MAX_SEED, EnvRunnerSettings, EvaluationSettings, ReplaySettings, TrainingSettings
from ardae_rl.rllib.spaces import beyond_memory
from ardae_rl.rllib.transitions import Environments, finite_rows, learner_by_learner, transitions_of
from ardae_rl.run.process import prepare_training_process
from ardae_rl.run.ray_internals import bundles_of, forget_age_of_weights
from ardae_rl.sac import SACConfig
from ardae_rl.sac.update import METRIC_NAMES, OF_TURNS, SKIPPED

logger = logging.getLogger(__name__)
_MAX_UPDATES_PER_CALL = 32  # bounds the memory of one learner call, whatever the number of environments
_MAX_SECONDS_PER_CALL = 10.0  # nothing hears of a stop meanwhile
_MAX_SECONDS_PER_ITERATION = 20.0  # a progress report, and a chance to stop, comes at least this often
_MAX_SECONDS_TO_SYNC = 10.0  # until the weights before these have arrived: RLlib leaves out new ones where they are still on their way
_REPLAY_SEED = 7  # tells the replay buffer's random stream from those of the env runners
_PROGRESS_ATTRIBUTES = ("env_steps", "num_updates", "evaluations", "evaluated_at", "updates_start_at", "seconds", "dropped_transitions")
_CONNECTORS = (COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR)
_NEVER = 1_000_000_000  # RLlib builds evaluation env runners only if given an interval; SACARDAE evaluates on its own clock


class SACARDAEConfig(AlgorithmConfig):
    """SAC-AR-DAE, plain SAC with ``policy="gaussian"`` and SAC-NF with ``policy="flow"``, on RLlib's new API stack.

    >>> from ardae_rl.rllib import SACARDAEConfig
    >>> config = (
    ...     SACARDAEConfig()
    ...     .environment("Pendulum-v1")
    ...     .training(policy="implicit", alpha=0.2, batch_size=128, warmup_env_steps=1000)
    ...     .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    ... )
    >>> config.sac.alpha, config.replay.batch_size
    (0.2, 128)
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SACARDAE)
        self.sac = SACConfig()
        self.replay = ReplaySettings()
        self.evaluation_protocol = EvaluationSettings()
        self.report_every_env_steps = 1000
        self.env_runner_cls = SeededEnvRunner
        self.num_envs_per_env_runner = 8
        self.rollout_fragment_length = 1
        self.evaluation_interval = _NEVER
        self.delay_between_env_runner_restarts_s = 1.0
        self.min_time_s_per_iteration = None

    def training(
        self,
        *,
        sac: SACConfig | None = None,
        replay: ReplaySettings | None = None,
        evaluation: EvaluationSettings | None = None,
        report_every_env_steps: int | None = None,
        **values: Any,
    ) -> "SACARDAEConfig":
        """Set whole settings objects, or single fields of :class:`SACConfig`, ``ReplaySettings`` and ``EvaluationSettings`` by name.

        Raises TypeError for a name that none of them has, ValueError for a value that is not what its setting must be.
        """
        given = {"sac": sac, "replay": replay, "evaluation": evaluation, "report_every_env_steps": report_every_env_steps}
        whole = self._settings(**{name: value for name, value in given.items() if value is not None})
        self.sac, values = _replaced(whole.sac, values)
        self.replay, values = _replaced(whole.replay, values)
        self.evaluation_protocol, values = _replaced(whole.evaluation, values)
        if values:
            raise TypeError(f"SACARDAEConfig.training() has no setting named {', '.join(map(repr, values))}.")
        self.report_every_env_steps = whole.report_every_env_steps
        return self

    def _settings(self, **values: Any) -> TrainingSettings:
        """Those of this config that a YAML file has, too. Raises ValueError where they are not what they must be."""
        own = {"replay": self.replay, "evaluation": self.evaluation_protocol, "report_every_env_steps": self.report_every_env_steps}
        return TrainingSettings(**{"sac": self.sac, **own, **values})

    @classmethod
    def from_settings(cls, env: str, settings: TrainingSettings, *, seed: int | None = None) -> "SACARDAEConfig":
        """The config of one trial of a YAML file."""
        learners = asdict(settings.learners)
        main_cpus = 1 if settings.learners.num_learners else learners.pop("num_cpus_per_learner")
        return (
            cls()
            .environment(env, env_config=dict(settings.env_config))
            .debugging(seed=seed, log_level="ERROR")
            .training(**{name: getattr(settings, name) for name in ("sac", "replay", "evaluation", "report_every_env_steps")})
            .env_runners(**asdict(settings.env_runners))
            .learners(**learners)
            .resources(num_cpus_for_main_process=main_cpus)
        )

    def validate(self) -> None:
        """Raises ValueError where settings are not what they must be, alone or beside each other."""
        runners = {each.name: getattr(self, each.name) for each in fields(EnvRunnerSettings)}
        learners = {"num_learners": self.num_learners}
        self._settings(env_runners=runners, learners=learners, env_config=dict(self.env_config))
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be in [0, {MAX_SEED}], got {self.seed}")
        self.train_batch_size_per_learner = self.replay.batch_size // max(self.num_learners, 1)
        self.evaluation(
            evaluation_interval=_NEVER,
            evaluation_num_env_runners=0,
            evaluation_config={"num_envs_per_env_runner": self.evaluation_protocol.episodes, "explore": False},
        )
        super().validate()

    def get_default_learner_class(self) -> type:
        return SACARDAETorchLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=SACARDAERLModule, model_config={"sac": self.sac})


class SACARDAE(Algorithm):
    """Trains one policy; see :class:`SACARDAEConfig`."""

    config: SACARDAEConfig

    @classmethod
    def get_default_config(cls) -> SACARDAEConfig:
        return SACARDAEConfig()

    @classmethod
    def default_resource_request(cls, config: SACARDAEConfig) -> PlacementGroupFactory:
        """What one algorithm reserves (RLlib's version only understands plain dicts)."""
        return PlacementGroupFactory(bundles=bundles_of(config), strategy=config.placement_strategy)

    def setup(self, config: SACARDAEConfig) -> None:
        prepare_training_process()
        if config.num_env_runners:  # RLlib only logs the error of one that cannot be made in a process of its own
            alone = config.copy(copy_frozen=False).env_runners(num_env_runners=0, num_envs_per_env_runner=1)
            SeededEnvRunner(config=alone, worker_index=0).stop()
        super().setup(config)
        spaces = self.env_runner.get_spaces()[DEFAULT_MODULE_ID]
        if excess := beyond_memory(spaces[0], spaces[1], self.config.replay.capacity):
            raise ValueError(f"replay.capacity {excess}")
        self.replay = ReplayBuffer(
            capacity=self.config.replay.capacity,
            obs_dim=spaces[0].shape[0],
            action_dim=spaces[1].shape[0],
            seed=np.random.SeedSequence((self.config.seed or 0, _REPLAY_SEED)).generate_state(1)[0],
        )
        self.env_steps = self.num_updates = 0  # sampled, done
        self.dropped_transitions = 0  # steps that never reached the replay buffer: something in them was NaN or infinite
        self.evaluations: list[dict[str, Any]] = []  # one record each
        self.evaluated_at = -1  # env steps
        self.end_env_steps = math.inf  # where training will end, for those who know
        self.updates_start_at = (self.config.replay.warmup_env_steps, 0)  # env steps and updates from which the ratio of them counts
        self.seconds = 0.0  # of sampling, learning and evaluating
        self.watched: dict[str, np.ndarray] = {}  # what the last report averaged over states, one value each
        self._warmed_up = False
        self._sampling = Sampling(self.env_runner_group, timeout_s=self.config.sample_timeout_s)
        self._environments = Environments(self.config.env, self.config.sac.max_non_finite)
        self._episode_return_mean = math.nan
        self._update_s = math.inf  # of one update in the last call; none yet
        self._learned: dict[str, tuple[float, int]] = {}  # metrics of the updates since the last report, added up, and how many

    def training_step(self) -> None:
        """Sample, learn, evaluate when due, until the next report is due; after 20 s what is left is for the next call."""
        started = time.monotonic()
        every, deadline = self.config.report_every_env_steps, started + _MAX_SECONDS_PER_ITERATION
        target = (self.env_steps // every + 1) * every
        if self._is_evaluation_due():
            self._evaluate()
        while (self.env_steps < target and time.monotonic() < deadline) or (self._due() and self._has_time(deadline)):
            before = self.env_steps
            if not self._due():
                self._sample()
                if self.env_steps == before:  # every env runner is down: wait for Ray to restart one
                    self.restore_env_runners(self.env_runner_group)
                    time.sleep(self.config.delay_between_env_runner_restarts_s)
            self._learn(deadline)
            if self._is_evaluation_due():
                self._evaluate()
        self.seconds += time.monotonic() - started

    def _has_time(self, deadline: float) -> bool:
        """At the end training does not go on later: what is left is done now."""
        return time.monotonic() < deadline or self.env_steps >= self.end_env_steps

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """As RLlib's. A runner that comes back does not repeat the episodes it once began with."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            reseed = partial(SeededEnvRunner.reseed, salt=self.env_steps)
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
        finite = finite_rows(columns)
        self.replay.add(columns if finite.all() else {name: column[finite] for name, column in columns.items()})
        self.env_steps += len(finite)
        self.dropped_transitions += len(finite) - int(finite.sum())
        self._environments.check(episodes, finite)

    def _set_exploration(self) -> None:
        """Uniform until the warm-up is over. Sent every round until then: a runner that was replaced meanwhile must hear of it, too."""
        if self._warmed_up:
            return
        uniform = self.env_steps < self.config.replay.warmup_env_steps
        self.env_runner_group.foreach_env_runner(
            lambda runner: setattr(runner.module, "explores_uniformly", uniform), timeout_seconds=_MAX_SECONDS_TO_SYNC
        )
        self._warmed_up = not uniform

    def _due(self) -> int:
        """Updates to be made for the steps since the warm-up, of which there are ``updates_per_env_step`` each."""
        steps_at_start, updates_at_start = self.updates_start_at
        owed = math.floor((self.env_steps - steps_at_start) * self.config.replay.updates_per_env_step)
        return max(0, owed - (self.num_updates - updates_at_start)) if len(self.replay) else 0

    def _learn(self, deadline: float) -> None:
        """Make the updates that are due, or those until ``deadline``, then publish the policy."""
        if not self._due():
            return
        while (due := self._due()) and self._has_time(deadline):
            count = min(due, _MAX_UPDATES_PER_CALL, max(1, int(_MAX_SECONDS_PER_CALL / self._update_s)))
            started = time.monotonic()
            self._update(count)
            self._update_s = (time.monotonic() - started) / count
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=_MAX_SECONDS_TO_SYNC
        )

    def _update(self, count: int) -> None:
        """In one call of the learners, whose size changes no number: metrics are added up for the next report.

        Of a delayed policy's each call has the mean over its turns; where there was none RLlib has NaN.
        """
        results = self.learner_group.update(batch=self._mini_batches(count))
        delay = self.config.sac.policy_delay
        turns = len(range(-self.num_updates % delay, count, delay))
        for name in METRIC_NAMES & results[0][DEFAULT_MODULE_ID].keys():
            mean = float(np.mean([float(result[DEFAULT_MODULE_ID][name]) for result in results]))
            total, weight = (0.0, 0) if name == SKIPPED else self._learned.get(name, (0.0, 0))  # skipped: a count that runs on
            made = turns if name in OF_TURNS else count
            if made:
                self._learned[name] = total + made * mean, weight + made
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.num_updates += count

    def _mini_batches(self, count: int) -> MultiAgentBatch:
        """``count`` mini-batches in one batch, laid out learner by learner: RLlib gives each learner a contiguous part."""
        learners, batch_size = max(self.config.num_learners, 1), self.config.replay.batch_size
        drawn = self.replay.sample(count * batch_size)
        columns = {name: learner_by_learner(column, count, learners) for name, column in drawn.items()}
        return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=count * batch_size)

    def _is_evaluation_due(self) -> bool:
        """At the beginning, at each multiple of ``every_env_steps`` once its updates were made, and at the end."""
        if self._due():
            return False
        last, every = self.evaluated_at, self.config.evaluation_protocol.every_env_steps
        return last < self.env_steps and (self.env_steps // every > last // every or self.env_steps >= self.end_env_steps)

    def _evaluate(self) -> None:
        self.evaluated_at = self.env_steps
        self.eval_env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)
        if self.env_runner:  # what its filters have learned of observations
            known = self.env_runner.get_state(not_components=[COMPONENT_RL_MODULE])
            self.eval_env_runner.set_state({name: known[name] for name in _CONNECTORS})
        protocol = self.config.evaluation_protocol
        returns = evaluate_returns(self.eval_env_runner, protocol.episodes, max_episode_steps=protocol.max_episode_steps)
        failed = sum(not math.isfinite(value) for value in returns)
        if failed:
            logger.warning("%d of %d evaluation episodes have no finite return: the evaluation has no mean", failed, len(returns))
        self.evaluations.append({"env_steps": self.env_steps, "num_updates": self.num_updates, "returns": returns})
        if self._mean_returns()[-1] == max(filter(math.isfinite, self._mean_returns()), default=math.nan):
            self.keep_best_policy()

    def _mean_returns(self) -> list[float]:
        """Of every evaluation; NaN where an episode failed."""
        return [mean_return(record["returns"]) for record in self.evaluations]

    def keep_best_policy(self) -> None:
        """Called when an evaluation is the best so far, while its policy is in the evaluation's runner: a trial writes it down."""

    def step(self) -> dict[str, Any]:
        steps, updates, seconds = self.env_steps, self.num_updates, self.seconds
        results = super().step()
        elapsed = max(self.seconds - seconds, 1e-9)
        rates = {"env_steps_per_s": (self.env_steps - steps) / elapsed, "updates_per_s": (self.num_updates - updates) / elapsed}
        return results | {"progress": self._progress(results) | rates}

    def _progress(self, results: dict[str, Any]) -> dict[str, Any]:
        """The numbers to watch, flat. Returns are the latest known, NaN before the first; a learner's metrics are means since the last."""
        learning_steps = self.env_steps - self.updates_start_at[0]
        updates = self.num_updates - self.updates_start_at[1]
        means = self._mean_returns()
        learner, self._learned = {name: total / weight for name, (total, weight) in self._learned.items()}, {}
        self.watched = watched_policy(self.get_module().policy, self.replay, seed=self.env_steps)
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
            "evaluation_return_max": max(filter(math.isfinite, means), default=math.nan),
            **{name: float(values.mean()) for name, values in self.watched.items()},
            **{f"learner/{name}": learner[name] for name in sorted(learner)},
        }

    def save_to_path(
        self, path: Any = None, *, state: dict[str, Any] | None = None, filesystem: Any = None, use_msgpack: bool = False
    ) -> str:
        """RLlib's, and the replay buffer: what ``checkpoint.py`` says, whole or not at all; a checkpoint that is there gives way.

        This process alone writes, what it has got from the learners and read back. Raises what a learner raised, or OSError, and
        ValueError for ``use_msgpack``.
        """
        if use_msgpack:
            raise ValueError("use_msgpack must be False: a checkpoint of SACARDAE is pickled.")
        state = state or self.get_state()
        return write_checkpoint(path, filesystem, partial(self._fill, state=state))

    def _fill(self, folder: Path, *, state: dict[str, Any]) -> None:
        self.replay.save(folder / REPLAY_DIRECTORY)
        super().save_to_path(folder, state={TRAINING_ITERATION: self.training_iteration})
        write_for_rllib(folder, self._modules, state)
        write_state(folder, state)

    @cached_property
    def _modules(self) -> MultiRLModule:
        """Networks such as the learners have, to be written in RLlib's way."""
        with torch.random.fork_rng(devices=[]):
            return self.config.get_multi_rl_module_spec(spaces=self.env_runner.get_spaces(), inference_only=False).build()

    def restore_from_path(self, path: Any, *, component: str | None = None, filesystem: Any = None, **kwargs: Any) -> None:
        """RLlib's. Raises, nothing having changed, FileNotFoundError or ValueError where there is no whole checkpoint."""
        if component:  # a part of a checkpoint, such as a module's weights, not its training state
            super().restore_from_path(path, component=component, filesystem=filesystem, **kwargs)
            self._hand_weights_out()
            return
        with checkpoint_here(path, filesystem) as folder:
            state, replay = read_state(folder), folder / REPLAY_DIRECTORY
            has_replay = replay.is_dir()
            if has_replay:
                self.replay.load(replay)
            self.set_state(state)
        self._warmed_up = False
        self._learned = {}
        self._sampling.discard()
        # Evaluation first: each seeds torch's global stream, which a local training runner goes on with.
        for group in (self.eval_env_runner_group, self.env_runner_group):
            group.foreach_env_runner(partial(SeededEnvRunner.reseed, salt=self.env_steps))
        if not has_replay:
            warmup = self.config.replay.warmup_env_steps
            self.updates_start_at = (self.env_steps + warmup, self.num_updates)
            logger.warning("the checkpoint at %s holds no replay buffer: collecting %d steps before the next update.", path, warmup)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        progress = {name: getattr(self, name) for name in _PROGRESS_ATTRIBUTES}
        policy = described(self.config, self.get_module(), self.env_steps)
        return super().get_state(*args, **kwargs) | {PROGRESS: progress, POLICY: policy}

    def set_state(self, state: dict[str, Any]) -> None:
        """RLlib's, and every learner, and every runner, takes the weights, older ones than its own, too. Raises what a learner raised."""
        super().set_state({name: part for name, part in state.items() if name != COMPONENT_LEARNER_GROUP})
        if COMPONENT_LEARNER_GROUP in state:
            self._hand_to_learners(state[COMPONENT_LEARNER_GROUP][COMPONENT_LEARNER])
            self._hand_weights_out()
        for name, value in state.get(PROGRESS, {}).items():
            setattr(self, name, value)

    def _hand_to_learners(self, state: dict[str, Any]) -> None:
        shared = ray.put(state)
        results = list(self.learner_group.foreach_learner(lambda learner: learner.set_state(ray.get(shared))))
        for result in results:
            if not result.ok:
                raise result.get()
        if len(results) < self.config.num_learners:
            raise RuntimeError(f"{len(results)} of {self.config.num_learners} learners took over the state that was to be restored.")

    def _hand_weights_out(self) -> None:
        """The learners', to every runner, whatever it holds."""
        for group in (self.eval_env_runner_group, self.env_runner_group):
            group.foreach_env_runner(forget_age_of_weights)
            group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=_MAX_SECONDS_TO_SYNC)


def _replaced(settings: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``settings`` with those of ``values`` that are its fields, and the values left over."""
    names = {field.name for field in fields(settings)}
    known = {name: value for name, value in values.items() if name in names}
    return replace(settings, **known), {name: value for name, value in values.items() if name not in names}

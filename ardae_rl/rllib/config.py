"""``SACARDAEConfig``: the AlgorithmConfig of :class:`ardae_rl.rllib.algorithm.SACARDAE`."""

from dataclasses import fields, replace
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.rllib.learner import SACARDAETorchLearner
from ardae_rl.rllib.module import SACARDAERLModule
from ardae_rl.rllib.settings import EvaluationSettings, ReplaySettings, TrainingSettings
from ardae_rl.sac import SACConfig

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
        from ardae_rl.rllib.algorithm import SACARDAE

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

    def training(  # type: ignore[override]
        self,
        *,
        sac: SACConfig | None = None,
        replay: ReplaySettings | None = None,
        evaluation: EvaluationSettings | None = None,
        report_every_env_steps: int | None = None,
        **values: Any,
    ) -> "SACARDAEConfig":
        """Set whole settings objects, or single fields of :class:`SACConfig`, ``ReplaySettings`` and ``EvaluationSettings`` by name.

        Raises TypeError for a name that none of them has.
        """
        self.sac, values = _replaced(sac or self.sac, values)
        self.replay, values = _replaced(replay or self.replay, values)
        self.evaluation_protocol, values = _replaced(evaluation or self.evaluation_protocol, values)
        if values:
            raise TypeError(f"SACARDAEConfig.training() has no setting named {', '.join(map(repr, values))}.")
        self.report_every_env_steps = report_every_env_steps or self.report_every_env_steps
        return self

    @classmethod
    def from_settings(cls, env: str, settings: TrainingSettings, *, seed: int | None = None) -> "SACARDAEConfig":
        """The config of one trial of a YAML file."""
        runners, learners = settings.env_runners, settings.learners
        return (
            cls()
            .environment(env, env_config=dict(settings.env_config))
            .debugging(seed=seed, log_level="ERROR")
            .training(
                sac=settings.sac,
                replay=settings.replay,
                evaluation=settings.evaluation,
                report_every_env_steps=settings.report_every_env_steps,
            )
            .env_runners(
                num_env_runners=runners.num_env_runners,
                num_envs_per_env_runner=runners.num_envs_per_env_runner,
                num_cpus_per_env_runner=runners.num_cpus_per_env_runner,
            )
            .learners(
                num_learners=learners.num_learners,
                num_gpus_per_learner=learners.num_gpus_per_learner,
                num_cpus_per_learner=learners.num_cpus_per_learner if learners.num_learners else NotProvided,
            )
            .resources(num_cpus_for_main_process=learners.num_cpus_per_learner if not learners.num_learners else 1)
        )

    def validate(self) -> None:
        """Raises ValueError where settings contradict each other."""
        learners = max(self.num_learners, 1)
        if self.replay.batch_size % learners:
            raise ValueError(f"batch_size must be divisible by num_learners = {learners}, got {self.replay.batch_size}.")
        self.train_batch_size_per_learner = self.replay.batch_size // learners
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

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {"sac": self.sac}


def _replaced(settings: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``settings`` with those of ``values`` that are its fields, and the values left over."""
    names = {field.name for field in fields(settings)}
    known = {name: value for name, value in values.items() if name in names}
    return replace(settings, **known), {name: value for name, value in values.items() if name not in names}

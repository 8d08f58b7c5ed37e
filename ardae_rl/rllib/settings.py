"""What the Ray side of training needs to know beyond :class:`ardae_rl.sac.SACConfig`: plain frozen data, importable without Ray."""

from dataclasses import dataclass, field

from ardae_rl.sac.config import SACConfig, _check, _non_negative, _positive


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """A uniform replay buffer and how often the learner draws from it.

    ``updates_per_env_step`` (the update-to-data ratio) holds for any number of env runners, to within one update: it is enforced
    from counters, counting from the end of the uniform-random warm-up.
    """

    capacity: int = 1_000_000
    batch_size: int = 256
    warmup_env_steps: int = 10_000
    updates_per_env_step: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "capacity", "batch_size", "updates_per_env_step")
        _non_negative(self, "warmup_env_steps")
        _check(self.capacity >= self.batch_size, "capacity", f"at least batch_size = {self.batch_size}", self.capacity)


@dataclass(frozen=True, kw_only=True)
class EnvRunnerSettings:
    """Rollout workers. ``num_env_runners: 0`` steps the environments in the trial's own process (fastest on few cores)."""

    num_env_runners: int = 0
    num_envs_per_env_runner: int = 8
    num_cpus_per_env_runner: float = 1.0

    def __post_init__(self) -> None:
        _non_negative(self, "num_env_runners", "num_cpus_per_env_runner")
        _positive(self, "num_envs_per_env_runner")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Every ``every_env_steps`` environment steps, ``episodes`` episodes with the policy's noise set to 0.

    An episode in an environment without a time limit of its own might never end: there its return is that of the first
    ``max_episode_steps`` steps.
    """

    every_env_steps: int = 10_000
    episodes: int = 10
    max_episode_steps: int = 1000

    def __post_init__(self) -> None:
        _positive(self, "every_env_steps", "episodes", "max_episode_steps")


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """Learner processes. 0: in the trial's own process; n: each mini-batch is split over n actors and gradients are averaged."""

    num_learners: int = 0
    num_gpus_per_learner: float = 0.0
    num_cpus_per_learner: float = 1.0

    def __post_init__(self) -> None:
        _non_negative(self, "num_learners", "num_gpus_per_learner", "num_cpus_per_learner")
        _check(
            self.num_learners <= 1 or self.num_gpus_per_learner in (0, 1),
            "num_gpus_per_learner",
            "0 or 1 with more than one learner (NCCL cannot share a GPU)",
            self.num_gpus_per_learner,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The whole ``config:`` section of a YAML file of the continuous-control study."""

    sac: SACConfig = field(default_factory=SACConfig)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    env_runners: EnvRunnerSettings = field(default_factory=EnvRunnerSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    learners: LearnerSettings = field(default_factory=LearnerSettings)
    env_config: dict[str, object] = field(default_factory=dict)
    report_every_env_steps: int = 1000

    def __post_init__(self) -> None:
        _positive(self, "report_every_env_steps")
        _check(
            self.learners.num_learners <= 1 or self.replay.batch_size % self.learners.num_learners == 0,
            "replay.batch_size",
            f"divisible by learners.num_learners = {self.learners.num_learners}",
            self.replay.batch_size,
        )

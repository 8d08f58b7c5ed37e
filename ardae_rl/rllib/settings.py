"""What the Ray side of training needs to know beyond :class:`ardae_rl.sac.SACConfig`: plain frozen data, importable without Ray."""

from collections.abc import Iterator
from dataclasses import dataclass

from ardae_rl.nn.settings import Rule, Settings, setting
from ardae_rl.sac.config import SACConfig

MAX_SEED = 4_000_000_000  # numpy takes 32 bits, and RLlib adds a million for evaluation, and the index of the runner


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(Settings):
    """A uniform replay buffer and how often the learner draws from it."""

    capacity: int = setting(
        1_000_000,
        "Transitions kept; the oldest are overwritten. At least `batch_size`. Each takes 4 (2 C + D + 2) bytes, C numbers in an "
        "observation, D in an action",
        at_least=1,
    )
    batch_size: int = setting(256, "Transitions of a mini-batch, drawn uniformly; divisible by `learners.num_learners`", at_least=1)
    warmup_env_steps: int = setting(
        10_000, "Environment steps with uniformly random actions before the first update. (Table 7: 5000 for HalfCheetah)", at_least=0
    )
    updates_per_env_step: float = setting(
        1.0, "Update-to-data ratio after the warm-up, for any number of environments, to within one update", above=0
    )

    def rules(self) -> Iterator[Rule]:
        yield self.capacity >= self.batch_size, "capacity", f"at least batch_size = {self.batch_size}"


@dataclass(frozen=True, kw_only=True)
class EnvRunnerSettings(Settings):
    """Rollout workers."""

    num_env_runners: int = setting(
        0, "Processes that step environments; 0: the trial's own process does, the fastest on few cores", at_least=0
    )
    num_envs_per_env_runner: int = setting(
        8,
        "Copies of the environment in each of them. All make one step with the same policy before the updates for these steps",
        at_least=1,
    )
    num_cpus_per_env_runner: float = setting(1.0, "CPUs that each of them reserves; a fraction shares one", above=0)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """Evaluation episodes, with the policy's noise set to 0."""

    every_env_steps: int = setting(
        10_000, "A row of `evaluations.csv` at the beginning, at each multiple of so many environment steps, and at the end", at_least=1
    )
    episodes: int = setting(10, "Episodes of each, side by side in as many copies of the environment", at_least=1)
    max_episode_steps: int = setting(1000, "Steps of an episode that count, in an environment without a time limit of its own", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LearnerSettings(Settings):
    """Who computes the updates."""

    num_learners: int = setting(
        0,
        "Processes that compute updates; 0: the trial's own process. With n > 1 each has a part of every mini-batch, and gradients are "
        "averaged",
        at_least=0,
    )
    num_gpus_per_learner: float = setting(
        0.0, "GPUs of each (without one, of the trial's process); a fraction shares one. With more than one learner 0 or 1", at_least=0
    )
    num_cpus_per_learner: float = setting(
        1.0, "CPUs of each, likewise. With 0 learners this is how many torch threads a trial has", above=0
    )

    def rules(self) -> Iterator[Rule]:
        whole = self.num_learners <= 1 or self.num_gpus_per_learner in (0, 1)
        yield whole, "num_gpus_per_learner", "0 or 1 with more than one learner (NCCL cannot share a GPU)"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """The whole ``config:`` section of a YAML file of the continuous-control study."""

    sac: SACConfig = setting(text="One update: policy, critic, score, temperature, learning rates", factory=SACConfig)
    replay: ReplaySettings = setting(text="Replay buffer, mini-batches, update-to-data ratio", factory=ReplaySettings)
    env_runners: EnvRunnerSettings = setting(text="Who steps the environments", factory=EnvRunnerSettings)
    evaluation: EvaluationSettings = setting(text="Evaluation episodes", factory=EvaluationSettings)
    learners: LearnerSettings = setting(text="Who computes the updates", factory=LearnerSettings)
    env_config: dict[str, object] = setting(
        text="Keyword arguments of `gymnasium.make`: those of the environment, and Gymnasium's own, such as `max_episode_steps: 500`",
        factory=dict,
    )
    report_every_env_steps: int = setting(
        1000,
        "A report, one row of `metrics.csv` ([metrics.md](metrics.md)), at each multiple of this; slow trials report every 20 s",
        at_least=1,
    )

    def rules(self) -> Iterator[Rule]:
        shared = self.learners.num_learners <= 1 or self.replay.batch_size % self.learners.num_learners == 0
        yield shared, "replay.batch_size", f"divisible by learners.num_learners = {self.learners.num_learners}"
        mode = self.env_config.get("render_mode")
        yield mode != "human", "env_config.render_mode", "another than human, which opens a window for every copy of the environment", mode

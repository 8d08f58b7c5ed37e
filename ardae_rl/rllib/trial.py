"""``SACARDAETrial``: :class:`SACARDAE` as a recorded trial under Tune."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import PlacementGroupFactory

from ardae_rl.nn.settings import build
from ardae_rl.rllib.algorithm import SACARDAE, SACARDAEConfig
from ardae_rl.rllib.checkpoint import REPLAY_DIRECTORY, described, policy_of
from ardae_rl.rllib.diagnostics import action_figure, replayed_actions
from ardae_rl.rllib.evaluation import evaluation_row
from ardae_rl.rllib.settings import TrainingSettings
from ardae_rl.run.event_file import EventFile, png
from ardae_rl.run.trial import RecordedTrial
from ardae_rl.sac.export import save_policy
from ardae_rl.sac.update import METRIC_NAMES

BEST_POLICY = "best_policy.safetensors"  # in the trial's folder: that of the best evaluation

METRICS_COLUMNS = (
    "seed",
    "env_steps",
    "updates",
    "updates_per_env_step",
    "seconds",
    "env_steps_per_s",
    "updates_per_s",
    "replay_size",
    "dropped_transitions",
    "episode_return_mean",
    "evaluation_return_mean",
    "evaluation_return_max",
    "policy/action_std",
    "policy/jacobian_singular_value_min",
    *(f"learner/{name}" for name in sorted(METRIC_NAMES)),
)
_PUBLISHED = {  # by Monitor: its names, and those of a progress report
    "steps": "env_steps",
    "steps_per_s": "env_steps_per_s",
    "updates_per_s": "updates_per_s",
    "episode_return": "episode_return_mean",
    "evaluation": "evaluation_return_mean",
    **{name: f"learner/{name}" for name in ("score_loss", "importance_ess", "entropy", "critic_loss", "q_mean")},
    "non_finite_skips": "learner/non_finite_skipped",
}


class SACARDAETrial(RecordedTrial, SACARDAE):
    """Tune's config: ``{"env": id, "settings": asdict(TrainingSettings), "seed": int}``, and where known ``"env_steps"``, the last."""

    steps_column, metrics_columns = "env_steps", METRICS_COLUMNS

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        self.trial_config = {name: value for name, value in config.items() if not name.startswith("__")}
        super().__init__(config=_algorithm_config(config), **kwargs)

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        return SACARDAE.default_resource_request(_algorithm_config(config))

    def setup(self, config: SACARDAEConfig) -> None:
        super().setup(config)
        self.end_env_steps = self.trial_config.get("env_steps", math.inf)
        self.open_records(seed=self.trial_config["seed"], env=str(config.env), method=config.sac.policy)
        self._histograms = EventFile(self.folder, "histograms")

    @property
    def steps_done(self) -> int:
        return self.env_steps

    def step(self) -> dict[str, Any]:
        if self.catch_up():  # that may have been the end, which only Tune knows: report before doing more
            return self._progress({}) | {"env_steps_per_s": 0.0, "updates_per_s": 0.0}
        steps_before, evaluations_before = self.env_steps, len(self.evaluations)
        progress = super().step()["progress"]
        if self.env_steps > steps_before:  # else every env runner is down
            self.record_metrics(progress)
        self._publish(progress)
        self._show_evaluations(self.evaluations[evaluations_before:])
        return progress

    def _show_evaluations(self, new: list[dict[str, Any]]) -> None:
        self.record_evaluations([evaluation_row(record) for record in new])
        for record in new:
            returns = np.asarray(record["returns"])
            self._histograms.add(record["env_steps"], histograms={"evaluation_returns": returns[np.isfinite(returns)]})
        if new and len(self.replay):
            actions = replayed_actions(self.get_module().policy, self.replay, seed=self.env_steps)
            self._histograms.add(self.env_steps, histograms=self.watched, pictures={"actions": png(action_figure(actions))})

    def _publish(self, progress: dict[str, Any]) -> None:
        fill = progress["replay_size"] / self.config.replay.capacity
        values = {name: progress.get(column) for name, column in _PUBLISHED.items()}
        self.monitor.publish(values | {"replay_fill": fill, "running": 1.0})  # to the last: the process ends with the trial

    def keep_best_policy(self) -> None:
        module = self.eval_env_runner.module
        best = policy_of(described(self.config, module, self.env_steps), module.get_state())
        self.folder.patiently(lambda: save_policy(best, self.folder.path / BEST_POLICY))

    def __repr__(self) -> str:
        """What Ray's dashboard and logs call this process."""
        folder = getattr(self, "folder", None)  # Ray asks even where setup failed
        return f"{type(self).__name__}({folder.path.parent.name}/{folder.path.name})" if folder else super().__repr__()

    def save(self, checkpoint_dir: str | None = None) -> Any:
        saved = super().save(checkpoint_dir)
        if checkpoint_dir is None and self.stores_locally():
            self.replay.remember(Path(saved.checkpoint.path) / REPLAY_DIRECTORY)
        return saved

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.save_to_path(checkpoint_dir)

    def load_from(self, folder: Path) -> None:
        self.restore_from_path(folder)
        if not self.env_steps:
            self.evaluations, self.evaluated_at = [], -1
        self.cut_records()

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """So that RLlib's ``from_checkpoint`` opens a checkpoint that Tune wrote."""
        return (self.trial_config,), {}

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Without RLlib's whole config on every line of result.json."""
        return super().get_auto_filled_metrics(*args, **kwargs) | {"config": self.trial_config}


def _algorithm_config(config: dict[str, Any]) -> SACARDAEConfig:
    return SACARDAEConfig.from_settings(config["env"], build(TrainingSettings, config["settings"]), seed=config["seed"])

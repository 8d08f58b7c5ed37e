"""Every setting of the four tasks that is not the estimator's (``tests/test_score_settings.py``) changes what a few steps lead to.

What a change leads to is said elsewhere; here no setting may be lost on its way.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.energy.config import ScoreSettings as EnergyScore
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.maxent.config import FlowSettings, MaxEntSettings, SamplerSettings
from ardae_rl.tasks.maxent.config import ScoreSettings as MaxEntScore
from ardae_rl.tasks.maxent.task import MaxEntTask
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.config import ScoreSettings as ErrorScore
from ardae_rl.tasks.score_error.task import ScoreErrorTask
from ardae_rl.tasks.task import Task
from ardae_rl.tasks.vae.config import EvaluationSettings, VAESettings
from ardae_rl.tasks.vae.config import NetworkSettings as VAENetworks
from ardae_rl.tasks.vae.config import ScoreSettings as VAEScore
from ardae_rl.tasks.vae.data import Images
from ardae_rl.tasks.vae.task import VAETask
from tests.settings_net import changed, fingerprint, leaves

Cases = Mapping[str, tuple[dict[str, Any], Any]]
BY_THE_RUNNER = {"report_every_steps", "evaluate_every_steps"}  # tests/tasks/test_trainable.py


@dataclass(frozen=True)
class Kind:
    """``cases``: by field the settings beside it and another value; ``measured``: fields that an evaluation shows and training does not.

    ``others``: fields, or the settings they belong to, that are tested elsewhere.
    """

    task: Callable[..., Task]
    settings: Any
    cases: Cases
    measured: set[str]
    others: set[str]


ENERGY = Kind(
    EnergyTask,
    EnergySettings(
        **{"width": 8, "layers": 1, "batch_size": 8, "steps": 4, "emd_samples": 100, "final_emd_samples": 100},  # type: ignore[arg-type]
        score=EnergyScore(width=8, layers=1, sigmas_per_sample=1, fits_per_step=1),
    ),
    cases={
        "target": ({}, "potential_2"),
        "method": ({}, "hierarchical_ardae"),
        "entropy": ({}, "adversarial"),
        "noise_dim": ({}, 5),
        "latent_dim": ({"method": "hierarchical_auxiliary"}, 3),
        "layers": ({}, 2),
        "width": ({}, 12),
        "batch_size": ({}, 12),
        "lr": ({}, 2e-3),
        "lr_halvings": ({}, 4),
        "beta1": ({"score.lr": 1e-30}, 0.9),
        "ema_decay": ({"ema_decay": 0.9}, 0.5),
        "alpha_start": ({}, 0.5),
        "anneal": ({}, 0.9),
        "steps": ({}, 8),
        "emd_samples": ({}, 120),
        "final_emd_samples": ({}, 120),
    },
    measured={"emd_samples", "final_emd_samples"},
    others={"score"},
)

IAF = {"method": "iaf"}
LINE = {"dim": 1, "problem": "laplace"}
MAXENT = Kind(
    MaxEntTask,
    MaxEntSettings(
        **{"dim": 2, "repeats": 2, "batch_size": 8, "steps": 4, "emd_samples": 100, "penalty_ramp": 0.5},  # type: ignore[arg-type]
        **{"sampler": SamplerSettings(width=8, layers=1), "flow": FlowSettings(width=8, layers=1)},  # type: ignore[arg-type]
        score=MaxEntScore(width=8, layers=1, samples_per_context=8, fits_per_step=1),
    ),
    cases={
        "problem": (LINE, "exponential"),
        "method": ({}, "iaf"),
        "entropy": (IAF, "ardae"),
        "dim": ({}, 3),
        "repeats": ({}, 3),
        "sampler.noise_dim": ({}, 11),
        "sampler.layers": ({}, 2),
        "sampler.width": ({}, 12),
        "flow.transforms": (IAF, 2),
        "flow.layers": (IAF, 2),
        "flow.width": (IAF, 12),
        "batch_size": ({}, 12),
        "constraint_estimate": ({}, "batch"),
        "penalty_start": ({}, 0.1),
        "penalty_end": ({}, 20.0),
        "penalty_ramp": ({}, 0.25),
        "multiplier_rate": ({}, 0.5),
        "lr": ({}, 1e-2),
        "steps": ({}, 5),
        "emd_samples": ({}, 120),
    },
    measured={"emd_samples"},
    others={"score"},
)

CONDITIONAL = {"law": "gaussian_4d", "contexts": 3}
SCORE_ERROR = Kind(
    ScoreErrorTask,
    ScoreErrorSettings(law="ring", score=ErrorScore(width=8, layers=1), samples_per_context=8, steps=4),
    cases={
        "law": ({}, "banana"),
        "estimator": ({}, "score_matching"),
        "sigmas": ({"estimator": "residual_dae"}, [0.3]),
        "contexts": (CONDITIONAL, 4),
        "samples_per_context": ({}, 12),
        "steps": ({}, 5),
        "lr": ({}, 2e-3),
        "halve_lr_every": ({}, 1),
        "ema_decay": ({"ema_decay": 0.9}, 0.5),
        "drift": (CONDITIONAL, 0.1),
        "fits_per_update": (CONDITIONAL | {"drift": 0.1}, 2),
    },
    measured=set(),
    others={"score"},
)

MNIST = {"data": "dbmnist", "batch_size": 2}
GAUSSIAN = {"posterior": "gaussian"}
VAE = Kind(
    VAETask,
    VAESettings(
        **{"latent_dim": 2, "noise_dim": 3, "batch_size": 4, "steps": 4},  # type: ignore[arg-type]
        network=VAENetworks(width=8),
        score=VAEScore(width=8, layers=1, context_layers=0, whitener_width=8, samples_per_context=4),
        evaluation=EvaluationSettings(samples=10, images=20, test_samples=10, test_images=20),
    ),
    cases={
        "data": ({}, "toy"),
        "posterior": ({}, "ivi_avb"),
        "latent_dim": ({}, 3),
        "noise_dim": ({}, 4),
        "network.architecture": (MNIST, "conv"),
        "network.width": ({}, 12),
        "network.encoder_layers": ({}, 2),
        "network.head_layers": ({}, 2),
        "network.equal_depth": (GAUSSIAN, True),
        "network.decoder_layers": ({}, 2),
        "network.activation": ({}, "relu"),
        "network.log_variance_floor": (GAUSSIAN, 1.0),
        "network.log_variance_ceiling": (GAUSSIAN, None),
        "network.initialisation": ({}, "released"),
        "evaluation.samples": ({}, 20),
        "evaluation.images": ({}, 30),
        "evaluation.test_samples": ({}, 20),
        "evaluation.test_images": ({}, 30),
        "batch_size": ({}, 6),
        "lr": ({}, 2e-3),
        "beta1": ({"score.lr": 1e-30}, 0.9),
        "beta_start": ({"anneal_steps": 10}, 0.5),
        "anneal_steps": ({}, 10),
        "average_decay": ({"average_decay": 0.9}, 0.5),
        "average_from_step": ({"average_decay": 0.5}, 2),
        "train_on_validation": ({}, True),
        "steps": ({}, 5),
    },
    measured={"evaluation.samples", "evaluation.images", "evaluation.test_samples", "evaluation.test_images", "steps"},
    others={"score", "data_folder"},
)

KINDS = {"energy": ENERGY, "maxent": MAXENT, "score_error": SCORE_ERROR, "vae": VAE}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations of few samples, and a data set the size of MNIST."""
    grey = torch.rand(30, 784, generator=torch.Generator().manual_seed(0))
    load = VAETask.__init__.__globals__["load_data"]
    monkeypatch.setattr(
        "ardae_rl.tasks.vae.task.load_data",
        lambda settings, device: (
            Images(grey, grey, grey, dynamic=True, device=device) if settings.data == "dbmnist" else load(settings, device)
        ),
    )
    monkeypatch.setattr("ardae_rl.tasks.energy.task.EVALUATION_SAMPLES", 800)
    monkeypatch.setattr("ardae_rl.tasks.energy.metrics.SLICED_SAMPLES", 200)
    for name in ("MOMENT_SAMPLES", "ENTROPY_SAMPLES", "CHUNK"):
        monkeypatch.setattr(f"ardae_rl.tasks.maxent.task.{name}", 500)


def outcome(kind: Kind, changes: dict[str, Any], *, measured: bool) -> str:
    """Of four steps: what was reported, all that a checkpoint holds, and where asked for an evaluation."""
    task = kind.task(changed(kind.settings, changes), seed=0)
    metrics = [task.step() for _ in range(4)]
    return fingerprint([metrics, task.state_dict(), task.evaluate() if measured else {}])


@pytest.mark.parametrize("name", KINDS)
def test_no_setting_is_without_a_case(name: str) -> None:
    kind = KINDS[name]
    covered = {field for field in leaves(kind.settings) if field.partition(".")[0] in kind.others}
    assert set(kind.cases) | covered | BY_THE_RUNNER == leaves(kind.settings)
    assert kind.others <= {field.name for field in dataclasses.fields(kind.settings)} and kind.measured <= set(kind.cases)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, kind in KINDS.items() for field in kind.cases])
def test_a_setting_changes_the_outcome(name: str, field: str) -> None:
    kind = KINDS[name]
    (base, value), measured = kind.cases[field], field in kind.measured
    before, after = (outcome(kind, changes, measured=measured) for changes in (base, base | {field: value}))
    assert before != after


@pytest.mark.parametrize("name", KINDS)
def test_the_same_settings_have_the_same_outcome(name: str) -> None:
    kind = KINDS[name]
    assert outcome(kind, {}, measured=True) == outcome(kind, {}, measured=True)


@pytest.mark.parametrize("name", ["energy", "score_error", "vae"])
def test_another_seed_has_other_draws_and_other_evaluations(name: str) -> None:
    """From the very same weights."""
    one, other = (KINDS[name].task(KINDS[name].settings, seed=seed) for seed in (0, 1))
    networks(other).load_state_dict(networks(one).state_dict())
    measured = [task.evaluate()[task.headline] for task in (one, other)]
    assert measured[0] != measured[1] == pytest.approx(measured[0], rel=0.5)
    assert one.step() != other.step()


def networks(task: Any) -> torch.nn.Module:
    return task.members[0].estimator if isinstance(task, ScoreErrorTask) else getattr(task, "method", task).networks


def test_the_data_are_looked_for_where_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for data in ("dbmnist", "sbmnist", "sbmnist_seeded"):
        settings = VAESettings(data=data, data_folder=str(tmp_path / "here"))
        for look in (settings.check, lambda settings=settings: VAETask(settings, seed=0)):
            with pytest.raises(FileNotFoundError, match=str(tmp_path / "here")):
                look()

"""The task trains what it says, measures without disturbing, resumes exactly, and refuses what makes no sense."""

import copy
import dataclasses
import math
from typing import Any, get_args

import pytest
import torch

from ardae_rl.tasks.score_error.config import MeasuredName, ScoreErrorSettings
from ardae_rl.tasks.score_error.config import ScoreSettings as ErrorScore
from ardae_rl.tasks.score_error.task import ScoreErrorTask, _errors

SMALL = ErrorScore(width=16, layers=2)
AMORTISED = ErrorScore(width=16, layers=2, standardisation="amortised", gaussian_residual=True)
ESTIMATORS = get_args(MeasuredName)


def settings(**changes: Any) -> ScoreErrorSettings:
    return ScoreErrorSettings(**{"score": SMALL, "sigmas": [0.1, 1.0], "steps": 20, "samples_per_context": 32, **changes})


def trained(chosen: ScoreErrorSettings, steps: int, seed: int = 0) -> ScoreErrorTask:
    task = ScoreErrorTask(chosen, seed=seed)
    for _ in range(steps):
        task.step()
    return task


@pytest.mark.parametrize("law", ["mixture_1d", "ring", "gaussian_4d"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_runs_on_every_kind_of_law(estimator: str, law: str) -> None:
    chosen = settings(law=law, estimator=estimator, contexts=4 if law == "gaussian_4d" else 1)
    metrics = trained(chosen, 12).evaluate()  # the second level of sigma has begun
    assert all(torch.tensor(value).isfinite() for value in metrics.values())
    assert {"score_error", "relative_score_error"} <= metrics.keys()
    per_sigma = "dae" in estimator and not (estimator == "ardae" and law == "gaussian_4d")
    assert ("score_error@0.1" in metrics) == per_sigma


@pytest.mark.parametrize(
    "options", [{}, {"estimator": "residual_dae_annealed"}, {"ema_decay": 0.9, "law": "gaussian_4d", "score": AMORTISED, "drift": 0.1}]
)
def test_resuming_equals_running_through(options: dict[str, Any]) -> None:
    chosen = settings(**options)
    through = trained(chosen, 12)
    state, noise = copy.deepcopy(trained(chosen, 7).state_dict()), torch.get_rng_state()
    resumed = ScoreErrorTask(chosen, seed=0)
    resumed.load_state_dict(state)
    torch.set_rng_state(noise)
    for _ in range(5):
        resumed.step()
    assert resumed.evaluate() == through.evaluate()


def test_evaluating_disturbs_nothing() -> None:
    watched = ScoreErrorTask(settings(), seed=0)
    for _ in range(5):
        watched.evaluate()
        watched.figures()
        watched.step()
    assert watched.evaluate() == trained(settings(), 5).evaluate()


def test_an_annealed_level_starts_from_the_level_before() -> None:
    task = ScoreErrorTask(settings(estimator="residual_dae_annealed"), seed=0)
    assert [member.estimator.sigma for member in task.members] == [1.0, 0.1]
    untouched = copy.deepcopy(task.members[1].estimator.state_dict())
    for _ in range(10):
        task.step()
    assert all(torch.equal(value, untouched[name]) for name, value in task.members[1].estimator.state_dict().items())
    first_level = copy.deepcopy(task.members[0].estimator.state_dict())
    task.step()
    for name, value in task.members[1].estimator.named_parameters():
        assert (value - first_level[name]).abs().max() < 0.01  # one Adam step away
    assert all(torch.equal(value, first_level[name]) for name, value in task.members[0].estimator.state_dict().items())


def test_a_level_yet_to_come_has_no_error() -> None:
    task = ScoreErrorTask(settings(estimator="residual_dae_annealed"), seed=0)
    for _ in range(2):  # halfway through the first of two levels, and at its end
        for _ in range(5):
            task.step()
        before = task.evaluate()
        assert math.isnan(before["score_error@0.1"]) and before["score_error"] == before["score_error@1"] > 0
    for _ in range(5):
        task.step()
    after = task.evaluate()
    assert after.keys() == before.keys() and after["score_error"] == after["score_error@0.1"] > 0


def test_a_law_without_context_keeps_its_coordinates_from_batch_to_batch() -> None:
    task = ScoreErrorTask(settings(score=dataclasses.replace(SMALL, scale=2.0)), seed=0)
    for _ in range(2):
        task.step()
        assert not task.members[0].estimator.frame(centre=task.law.centre(None)).centre.any()


def test_errors_of_contexts_count_alike() -> None:
    """One context wrong by half among a hundred, its score a thousand times larger: the pooled error sees it alone, the mean hardly."""
    truth = torch.ones(100, 10, 2)
    truth[0] *= 1000
    estimate = truth.clone()
    estimate[0] *= 0.5
    errors = _errors(estimate, truth)
    assert errors["relative_score_error"] == pytest.approx(0.5, rel=1e-3)
    assert errors["mean_context_error"] == pytest.approx(0.005, rel=1e-3)


def test_after_restoring_the_law_is_where_it_was() -> None:
    chosen = settings(law="gaussian_4d", contexts=4, drift=0.1)
    task, restored = trained(chosen, 5), ScoreErrorTask(chosen, seed=0)
    restored.load_state_dict(copy.deepcopy(task.state_dict()))
    assert restored.evaluate() == task.evaluate()


def test_the_law_moves_between_updates_only() -> None:
    task = ScoreErrorTask(settings(law="gaussian_4d", contexts=4, drift=0.1, fits_per_update=3), seed=0)
    phases = []
    for _ in range(7):
        task.step()
        phases.append(task.law.phase)  # type: ignore[attr-defined]
    assert phases == pytest.approx([0, 0, 0, 0.1, 0.1, 0.1, 0.2])


def test_an_averaged_network_is_measured_in_place_of_the_last() -> None:
    plain, averaged = trained(settings(), 10), trained(settings(ema_decay=0.9), 10)
    assert plain.members[0].estimator.state_dict().keys() == averaged.members[0].measured.state_dict().keys()
    for a, b in zip(plain.members[0].estimator.parameters(), averaged.members[0].estimator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert plain.evaluate() != averaged.evaluate()


def test_amortised_whitening_with_a_gaussian_start_learns_a_conditional_gaussian() -> None:
    """A few hundred steps at a sixteenth of the benchmark's width: from 1 (knowing nothing) to well below one half."""
    chosen = settings(law="gaussian_4d", score=dataclasses.replace(AMORTISED, delta_scale=0.1), contexts=64, steps=300, lr=3e-3)
    error = trained(chosen, 300).evaluate()["relative_score_error"]
    assert 0.05 < error < 0.5


@pytest.mark.parametrize(
    ("estimator", "names"),
    [("ardae", ["score"]), ("spectral_stein", ["score"]), ("residual_dae", ["score_sigma=1", "score_sigma=0.1"])],
)
@pytest.mark.parametrize("law", ["mixture_1d", "ring", "swiss_roll"])
def test_there_is_a_picture_of_every_law_one_can_draw(law: str, estimator: str, names: list[str]) -> None:
    assert list(trained(settings(law=law, estimator=estimator), 1).figures()) == names


def test_no_picture_of_what_cannot_be_drawn() -> None:
    assert trained(settings(law="gaussian_4d"), 1).figures() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be 1 or greater, got 0"),
        ({"sigmas": []}, r"sigmas must be one or more different numbers, got \[\]"),
        ({"sigmas": [0.1, 0.1]}, "sigmas must be one or more different"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \(0, 1\), got 1\.0"),
        ({"score": dataclasses.replace(SMALL, sigma_input="hypernetwork")}, "score.sigma_input must be 'input' unless"),
        ({"drift": 0.1}, "drift must be 0 for a law without contexts such as mixture_1d, got 0.1"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_a_smoke_run_is_the_same_experiment_but_short() -> None:
    chosen = settings(law="gaussian_4d", steps=5000)
    short = chosen.smoke()
    assert short.steps < 100
    kept = {f.name for f in dataclasses.fields(chosen)} - {"steps", "report_every_steps", "evaluate_every_steps"}
    assert all(getattr(short, name) == getattr(chosen, name) for name in kept)

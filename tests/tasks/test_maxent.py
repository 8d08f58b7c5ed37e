"""The task trains what it says, compares methods on the same problems, measures without disturbing, and refuses what makes no sense."""

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from ardae_rl.nn.optimiser import NonFiniteError
from ardae_rl.samplers.autoregressive_flow import effective_parameters
from ardae_rl.tasks.maxent.build import build_models
from ardae_rl.tasks.maxent.config import FlowSettings, MaxEntSettings, SamplerSettings, ScoreSettings
from ardae_rl.tasks.maxent.penalty import Multipliers
from ardae_rl.tasks.maxent.problems import GaussianMoments
from ardae_rl.tasks.maxent.task import MaxEntTask

LINE = {"dim": 1, "repeats": 2, "sampler": SamplerSettings(width=64), "score": ScoreSettings(gaussian_residual=False, fits_per_step=4)}


def settings(**changes: Any) -> MaxEntSettings:
    small = {"dim": 2, "repeats": 2, "sampler": SamplerSettings(width=16), "score": ScoreSettings(width=16), "flow": FlowSettings(width=16)}
    return MaxEntSettings(**{**small, "batch_size": 32, "steps": 20, "emd_samples": 100, **changes})


def trained(chosen: MaxEntSettings, steps: int, seed: int = 0) -> MaxEntTask:
    task = MaxEntTask(chosen, seed=seed)
    for _ in range(steps):
        task.step()
    return task


@pytest.mark.parametrize("method", ["implicit", "iaf"])
def test_a_gaussian_in_the_plane_is_found(method: str) -> None:
    """Where a sampler that knows nothing is more than 1 away, two draws of the answer 0.2, and a nat is a factor of e in volume.

    Constraints that fix all moments of the answer do most of this; what a score must find out, the other closed forms below show.
    """
    score = ScoreSettings(width=32, lr=1e-2, gaussian_residual=False)  # nothing of the answer but what AR-DAE learns
    chosen = settings(method=method, batch_size=256, steps=1200, emd_samples=500, lr=1e-2, score=score)
    task = MaxEntTask(chosen, seed=0)
    before = task.evaluate()
    for _ in range(chosen.steps):
        task.step()
    after = task.evaluate()
    assert before["emd"] > 1 > before["emd_floor"]
    assert after["emd"] < 1.5 * after["emd_floor"] and abs(after["emd_excess"]) < 0.1
    assert abs(after["entropy_gap"]) < 0.15 and after["c1"] < 0.15 and after["c2"] < 0.3


SLOW = pytest.mark.slow


@pytest.mark.parametrize("problem", ["laplace", pytest.param("uniform", marks=SLOW), pytest.param("exponential", marks=SLOW)])
def test_other_closed_forms_are_found(problem: str) -> None:
    """Nearer than the Gaussian of the same E|x| is to Laplace's law, at 0.116 of its standard deviation; a dead score finds nothing."""
    chosen = MaxEntSettings(problem=problem, steps=700, lr=2e-3, **LINE)  # type: ignore[arg-type]
    task = trained(chosen, chosen.steps)
    found = task.evaluate()
    scale = float(task.problem.reference(1000, torch.Generator().manual_seed(0)).std())
    assert found["emd"] < 0.1 * scale
    assert abs(found["entropy_gap"]) < 0.1
    assert ("c1" in found) == (problem != "uniform") and found.get("c1", 0.0) < 0.05
    dead = dataclasses.replace(chosen, steps=200, score=dataclasses.replace(chosen.score, lr=1e-30))
    assert trained(dead, dead.steps).evaluate()["emd"] > 0.3 * scale


def test_both_methods_meet_the_same_problems_and_the_same_references() -> None:
    tasks = [MaxEntTask(settings(method=method), seed=seed) for method, seed in (("implicit", 3), ("iaf", 3), ("iaf", 4))]
    moments = [task.problem for task in tasks if isinstance(task.problem, GaussianMoments)]
    assert torch.equal(moments[0].covariance, moments[1].covariance) and torch.equal(moments[0].mean, moments[1].mean)
    assert not torch.equal(moments[1].covariance, moments[2].covariance)
    floors = [task.evaluate()["emd_floor"] for task in tasks]
    assert floors[0] == floors[1] != floors[2]


def test_repeats_are_measured_one_by_one_and_on_average() -> None:
    found = trained(settings(repeats=3), 2).evaluate()
    for name in ("emd", "emd_floor", "emd_excess", "entropy_gap", "entropy_gap_neighbours", "c1", "c2"):
        values = [found[f"{name}/{repeat:02d}"] for repeat in range(3)]
        assert len(set(values)) == 3 and found[name] == pytest.approx(np.mean(values))


def test_the_distance_prefers_laws_too_narrow_and_its_excess_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are the answer itself, in ten dimensions, scaled about its mean."""
    task = MaxEntTask(settings(dim=10, repeats=8, emd_samples=300), seed=0)
    problem = task.problem
    assert isinstance(problem, GaussianMoments)

    def measured(scale: float) -> dict[str, np.ndarray]:
        mean = problem.mean.unsqueeze(1)
        monkeypatch.setattr(task, "_samples", lambda count, generator: mean + scale * (problem.reference(count, generator) - mean))
        return task._distances(torch.Generator().manual_seed(3))

    right, narrow, narrower, wide = (measured(scale) for scale in (1.0, 0.9, 0.7, 1.3))
    assert (narrow["emd"] < right["emd"]).all()
    chance = 4 * right["emd_excess"].std() / 8**0.5
    assert abs(right["emd_excess"].mean()) < chance
    assert narrower["emd_excess"].mean() > chance and wide["emd_excess"].mean() > chance


def test_the_exact_entropy_of_a_flow_is_that_of_its_density() -> None:
    """An affine flow that scales by 3 and shifts: H = H(N(0, I)) + D log 3."""
    task = MaxEntTask(settings(method="iaf", flow=FlowSettings(transforms=1, width=16)), seed=0)
    flow: Any = task.models.stacked.sampler
    network = flow.steps[0]
    bias = network.hyper[-1].bias
    torch.nn.init.zeros_(network.hyper[-1].weight)
    raw = np.log(3) / (1 - np.log(3) / np.log(1000))  # zuko squashes log scales smoothly to |.| < log 1000
    with torch.no_grad():
        bias.copy_(torch.tensor([0.5, raw]).repeat(2).expand_as(bias))
    found = task.evaluate()
    entropies = 0.5 * 2 * np.log(2 * np.pi * np.e) + 2 * np.log(3)
    for repeat in range(2):
        assert found[f"entropy_gap/{repeat:02d}"] == pytest.approx(float(task.problem.entropy[repeat]) - entropies, abs=1e-4)
    assert found["entropy_gap_neighbours"] == pytest.approx(found["entropy_gap"], abs=0.1)


@pytest.mark.parametrize(("method", "problem"), [("implicit", "gaussian"), ("iaf", "gaussian"), ("implicit", "uniform")])
def test_resuming_equals_running_through(method: str, problem: str) -> None:
    line = LINE if problem == "uniform" else {}
    chosen = settings(method=method, problem=problem, **line)
    through = trained(chosen, 6)
    task = trained(chosen, 3)
    state, noise = copy.deepcopy(task.state_dict()), torch.get_rng_state()
    resumed = MaxEntTask(chosen, seed=0)
    resumed.load_state_dict(state)
    torch.set_rng_state(noise)
    for _ in range(3):
        resumed.step()
    assert resumed.evaluate() == through.evaluate()


@pytest.mark.parametrize("estimate", ["unbiased", "batch"])
def test_every_estimate_of_the_constraints_trains(estimate: str) -> None:
    task = MaxEntTask(settings(constraint_estimate=estimate, batch_size=128, penalty_start=10.0, lr=1e-2), seed=0)
    before = task.evaluate()
    for _ in range(20):
        task.step()
    after = task.evaluate()
    assert after["c1"] + after["c2"] < 0.7 * (before["c1"] + before["c2"])


def test_evaluating_disturbs_nothing() -> None:
    watched = MaxEntTask(settings(), seed=0)
    for _ in range(3):
        watched.evaluate()
        watched.figures()
        watched.step()
    assert watched.evaluate() == trained(settings(), 3).evaluate()


def one_of(together: MaxEntTask, number: int) -> MaxEntTask:
    """A task of one repeat: this problem of them, trained from the same weights."""
    task, problem = MaxEntTask(dataclasses.replace(together.settings, repeats=1), seed=0), together.problem
    assert isinstance(problem, GaussianMoments)
    task.problem = GaussianMoments(problem.mean[number : number + 1], problem.covariance[number : number + 1])
    task.multipliers = Multipliers(task.problem)
    for parameter, value in zip(task.models.parameters(), together.models.parameters(), strict=True):
        parameter.data = value.detach()[number : number + 1].clone()
    return task


def same_every_time(*shape: int) -> torch.Tensor:
    """For the fits: under vmap no generator can be shared."""
    return torch.linspace(-40, 40, math.prod(shape)).view(shape).sin()


def set_noise(task: MaxEntTask, numbers: list[int]) -> None:
    """Each repeat's noise from a stream of its own."""
    streams = [torch.Generator().manual_seed(10 + number) for number in numbers]
    task._normal = lambda count, _=None: torch.cat(  # type: ignore[assignment,method-assign]
        [torch.randn(1, count, task.noise_dim, generator=stream) for stream in streams]
    )
    task._noise_of_one = same_every_time  # type: ignore[method-assign]


@pytest.mark.parametrize("method", ["implicit", "iaf"])
def test_repeats_together_are_repeats_one_by_one(method: str, float64: None) -> None:
    """Three problems trained at once and each alone, on the same noise: networks, multipliers and schedules end the same."""
    chosen = settings(method=method, repeats=3, multiplier_rate=0.5, penalty_ramp=0.25, score=ScoreSettings(width=8, antithetic=False))
    together = MaxEntTask(chosen, seed=0)
    alone = [one_of(together, number) for number in range(3)]
    set_noise(together, [0, 1, 2])
    for number, task in enumerate(alone):
        set_noise(task, [number])
    for _ in range(8):
        for task in (together, *alone):
            task.step()
    for number, task in enumerate(alone):
        for all_of_them, own in zip(together.models.parameters(), task.models.parameters(), strict=True):
            torch.testing.assert_close(all_of_them[number], own[0])
    for name, values in together.multipliers.values.items():
        torch.testing.assert_close(values, torch.cat([task.multipliers.values[name] for task in alone]))


def test_repeats_do_not_disturb_each_other() -> None:
    """Spoiling one network leaves the others' training exactly as it was."""
    chosen = settings(repeats=3)
    spoilt, clean = MaxEntTask(chosen, seed=0), MaxEntTask(chosen, seed=0)
    with torch.no_grad():
        next(spoilt.models.stacked.sampler.parameters())[1] *= 2
    for task in (spoilt, clean):
        torch.manual_seed(0)
        for _ in range(5):
            task.step()
    for ours, theirs in zip(spoilt.models.stacked.sampler.parameters(), clean.models.stacked.sampler.parameters(), strict=True):
        torch.testing.assert_close(ours[[0, 2]], theirs[[0, 2]])
        assert not torch.allclose(ours[1], theirs[1])


def test_a_member_that_is_not_finite_stands_alone_and_in_the_end_stops_the_run() -> None:
    task = trained(settings(), 2)
    with torch.no_grad():
        next(task.models.stacked.sampler.parameters())[1] = float("nan")
    lost = {name: value[1].clone() for name, value in task.models.named_parameters()}
    skipped = [task.step()["skipped_steps"] for _ in range(2)]
    assert skipped == [3.0, 6.0]  # two fits of the score and one step of the sampler each
    assert all(parameter[0].isfinite().all() for parameter in task.models.parameters())
    now = {name: value[1] for name, value in task.models.named_parameters()}
    torch.testing.assert_close(now, lost, rtol=0, atol=0, equal_nan=True)  # not even by the momentum of earlier steps
    found = task.evaluate()
    assert all(np.isfinite(value) != name.endswith("/01") for name, value in found.items() if "/" in name and "floor" not in name)
    message = r"the score loss of repeat 1 or its gradient was not finite 100 times in a row, last finite at its step 4:"
    with pytest.raises(NonFiniteError, match=message):
        for _ in range(100):
            task.step()


@pytest.mark.parametrize(("problem", "line"), [("gaussian", {}), ("exponential", LINE)])
def test_there_is_a_picture(problem: str, line: dict[str, Any]) -> None:
    figures = MaxEntTask(settings(problem=problem, **line), seed=0).figures()
    assert list(figures) == ["samples"] and len(figures["samples"].axes) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "cauchy"}, "problem must be 'gaussian' or 'laplace' or 'uniform' or 'exponential', got 'cauchy'"),
        ({"method": "flow"}, "method must be 'implicit' or 'iaf', got 'flow'"),
        ({"steps": 0}, "steps must be 1 or greater, got 0"),
        ({"batch_size": 1}, "batch_size must be 2 or greater, got 1"),
        ({"batch_size": 2}, r"^batch_size must be greater than dim = 2: .*, got 2$"),
        ({"multiplier_rate": 2.0}, r"multiplier_rate must be in \[0, 1\], got 2\.0"),
        ({"emd_samples": 20}, "emd_samples must be 100 or greater, got 20"),
        ({"penalty_end": 0.001}, "penalty_end must be at least penalty_start = 0.01, got 0.001"),
        ({"penalty_ramp": 1.5}, r"penalty_ramp must be in \[0, 1\], got 1\.5"),
        ({"problem": "laplace"}, "dim must be 1 for problem laplace, got 2"),
        ({"method": "iaf", "dim": 1}, "dim must be at least 2 for method iaf"),
        ({"dim": 20}, r"sampler.noise_dim must be at least dim = 20: .*, got 10"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_a_smoke_run_is_the_same_experiment_but_short() -> None:
    chosen = MaxEntSettings()
    short = chosen.smoke()
    assert short.steps < 100
    kept = {f.name for f in dataclasses.fields(chosen)} - {"steps", "report_every_steps", "evaluate_every_steps", "emd_samples"}
    assert all(getattr(short, name) == getattr(chosen, name) for name in kept)


@pytest.mark.parametrize("sampler", [SamplerSettings(), SamplerSettings(noise_dim=32, width=118)])
def test_both_methods_have_as_many_numbers_to_train(sampler: SamplerSettings) -> None:
    chosen = MaxEntSettings(repeats=1, sampler=sampler)
    implicit, flow = (build_models(dataclasses.replace(chosen, method=method)).stacked.sampler for method in ("implicit", "iaf"))
    assert sum(parameter.numel() for parameter in implicit.parameters()) == pytest.approx(effective_parameters(flow), rel=0.02)

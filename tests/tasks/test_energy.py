"""The task fits what it says, by every method; its schedules, its measurements, its guard, and that it resumes exactly."""

import copy
import dataclasses
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.entropy import ScoreEntropy, build_entropy
from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.samplers import ImplicitSampler, Sampler
from ardae_rl.samplers.autoregressive_flow import AutoregressiveFlow, effective_parameters
from ardae_rl.tasks.energy import metrics
from ardae_rl.tasks.energy.config import EnergySettings, MethodName, ScoreSettings, TargetName
from ardae_rl.tasks.energy.potentials import target
from ardae_rl.tasks.energy.task import EnergyTask

METHODS, TARGETS = get_args(MethodName), get_args(TargetName)
SMALL_SCORE = ScoreSettings(width=16, layers=1, sigmas_per_sample=2, fits_per_step=2)


def settings(**changes: Any) -> EnergySettings:
    small = {"width": 16, "layers": 2, "batch_size": 32, "steps": 20, "emd_samples": 100, "final_emd_samples": 120, "score": SMALL_SCORE}
    return EnergySettings(**{**small, **changes})


def trained(chosen: EnergySettings, steps: int, seed: int = 0) -> EnergyTask:
    task = EnergyTask(chosen, seed=seed)
    for _ in range(steps):
        task.step()
    return task


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.tasks.energy.task.EVALUATION_SAMPLES", 40_000)
    monkeypatch.setattr("ardae_rl.tasks.energy.figures.SAMPLES", 20_000)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_every_target_and_measures_the_same(method: str, name: str) -> None:
    task = trained(settings(method=method, target=name, noise_dim=32), 2)
    early = task.evaluate()
    task.steps_done = 20
    late = task.evaluate()
    assert early.keys() == late.keys() and EnergyTask.headline in early
    final = {key for key in early if key.startswith("final_")}
    planar = name.startswith("potential")
    missing = {key for key, value in early.items() if math.isnan(value)}
    assert missing == (final if planar else final | {"reverse_kl"})
    assert {key for key, value in late.items() if math.isnan(value)} == missing - final


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_resuming_equals_running_through(method: str, ema_decay: float | None) -> None:
    chosen = settings(method=method, ema_decay=ema_decay)
    through = trained(chosen, 8)
    state = copy.deepcopy(trained(chosen, 5).state_dict())
    resumed = EnergyTask(chosen, seed=0)
    resumed.load_state_dict(state)
    torch.randn(3)
    reports = [resumed.step() for _ in range(3)]
    again = trained(chosen, 7)
    assert reports[-1] == again.step()
    assert resumed.evaluate() == pytest.approx(through.evaluate(), nan_ok=True, abs=0, rel=0)


def test_evaluating_and_drawing_disturb_nothing() -> None:
    watched = EnergyTask(settings(), seed=0)
    for _ in range(4):
        watched.evaluate()
        watched.figures()
        watched.step()
    assert watched.evaluate() == pytest.approx(trained(settings(), 4).evaluate(), nan_ok=True, abs=0, rel=0)


def test_averaged_weights_are_measured_and_training_does_not_know_of_them() -> None:
    """After two steps theta_1 has weight d / (1 + d), theta_2 the rest."""
    decay = 0.5
    plain, averaged = EnergyTask(settings(), seed=0), EnergyTask(settings(ema_decay=decay), seed=0)
    history = []
    for _ in range(2):
        plain.step()
        averaged.step()
        history.append(copy.deepcopy(plain.sampler.state_dict()))
    by_hand = {name: (decay * history[0][name] + history[1][name]) / (1 + decay) for name in history[0]}
    torch.testing.assert_close(averaged.sampler.state_dict(), history[1], rtol=0, atol=0)
    plain.sampler.load_state_dict(by_hand)
    assert averaged.evaluate() == pytest.approx(plain.evaluate(), nan_ok=True, rel=1e-3, abs=1e-5)


def test_alpha_rises_linearly_and_the_learning_rate_is_halved_at_equal_distances() -> None:
    task = EnergyTask(settings(steps=100, anneal=0.2, lr=1e-3, lr_halvings=4, alpha_start=0.01), seed=0)
    alphas, rates = [], []
    for step in range(100):
        task.steps_done = step
        alphas.append(task._alpha())
        rates.append(task._lr())
    assert alphas[:3] == pytest.approx([0.01, 0.01 + 0.99 / 20, 0.01 + 2 * 0.99 / 20])
    assert alphas[19] < 1 == alphas[20] == alphas[99]
    assert [rates.index(1e-3 / 2**k) for k in range(4)] == [0, 25, 50, 75] and rates[99] == 1e-3 / 8
    assert EnergyTask(settings(anneal=0.0), seed=0)._alpha() == 1.0


def test_the_step_of_the_sampler_uses_the_scheduled_rate() -> None:
    task = trained(settings(lr_halvings=20, steps=20), 3)
    assert task.optimisers["sampler"].optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 / 4)
    assert task.optimisers["score"].optimiser.param_groups[0]["lr"] == 1e-3


class KnownScore(nn.Module):
    """Stands in for the score network: the score of N(0, A A^T), exactly."""

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.linalg.inv(factor @ factor.T))

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        return -x @ self.precision


class Moved(Sampler):
    """Two numbers of noise, moved by a function."""

    dim = noise_dim = 2

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return self.function(noise)


def test_the_gradient_through_the_score_is_the_exact_gradient_for_a_gaussian_sampler(float64: None) -> None:
    """x = A z: H = log |det A| + const, so dH/dA = A^-T; the path derivative has it as its mean over z."""
    source = build_entropy("ardae", Moved(lambda noise: noise), 0, settings().score)
    factor = torch.tensor([[1.5, 0.3], [-0.4, 0.8]], requires_grad=True)
    source.estimator.network = KnownScore(factor.detach())  # type: ignore[union-attr]
    count = 400_000
    noise = torch.randn(count, 2)
    (gradient,) = torch.autograd.grad(
        source.draw_with_entropy(Moved(lambda noise: noise @ factor.T), None, noise, torch.randn).value, factor
    )
    per_sample = (noise @ factor.detach().T @ torch.linalg.inv(factor.detach() @ factor.detach().T)).unsqueeze(-1) * noise.unsqueeze(1)
    error = gradient - torch.linalg.inv(factor.detach()).T
    assert (error.abs() < 4 * per_sample.std(0) / count**0.5).all()


@pytest.mark.parametrize("standardisation", ["fixed", "per_context"])
def test_the_score_is_asked_for_in_the_coordinates_it_was_fitted_in(standardisation: str, float64: None) -> None:
    """A sampler far from the origin and far from unit scale, whose learned score is that of its Gaussian."""
    score = ScoreSettings(standardisation=standardisation, scale=20.0, width=32, layers=1, sigmas_per_sample=4, lr=1e-2)  # type: ignore[arg-type]
    shift, spread = torch.tensor([0.1, -0.05]), torch.tensor([0.05, 0.1])
    sampler = Moved(lambda noise: shift + spread * noise)
    source = build_entropy("ardae", sampler, 0, score)
    optimiser = GuardedOptimiser("score", torch.optim.Adam(source.parameters(), lr=score.lr, betas=(0.5, 0.999)))
    source.fit(optimiser, sampler, None, torch.randn, steps=100 * score.fits_per_step)
    x = (shift + spread * torch.randn(2000, 2)).requires_grad_()
    noise = (x.detach() - shift) / spread
    (gradient,) = torch.autograd.grad(source.draw_with_entropy(Moved(lambda _: x), None, noise, torch.randn).value, x)
    exact = noise / spread / len(x)  # minus the score, over N
    assert (gradient - exact).norm() < 0.35 * exact.norm()


@pytest.mark.parametrize("method", ["implicit_ardae", "hierarchical_ardae"])
def test_samplers_without_a_density_learn_a_potential(method: str) -> None:
    """As the auxiliary method does in its test; with a score network that learns nothing the sampler collapses."""
    score = ScoreSettings(width=64, layers=2, sigmas_per_sample=1, fits_per_step=3, lr=3e-3)
    chosen = settings(method=method, width=64, batch_size=256, steps=400, lr=3e-3, lr_halvings=2, ema_decay=0.98, score=score)
    found = trained(chosen, 400).evaluate()
    dead = trained(dataclasses.replace(chosen, score=dataclasses.replace(score, lr=1e-30)), 400).evaluate()
    assert found["coverage"] == 1.0 and found["reverse_kl"] < 1.0 and found["energy_distance"] < 0.2
    assert dead["energy_distance"] > 1


def fit(task: EnergyTask) -> dict[str, Tensor]:
    return task.entropy.fit(task.optimisers["score"], task.sampler, None, task._normal, steps=1)


def test_the_loss_in_bfloat16_is_the_same_to_its_rounding() -> None:
    rounded = trained(settings(score=dataclasses.replace(SMALL_SCORE, autocast=True)), 0)
    losses = [float(fit(task)["score_loss"]) for task in (trained(settings(), 0), rounded)]
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.02)
    assert {parameter.dtype for parameter in rounded.networks.parameters()} == {torch.float32}


def test_fitting_the_score_leaves_the_sampler_alone_and_the_other_way_round() -> None:
    task = EnergyTask(settings(), seed=0)
    before = copy.deepcopy(task.networks.state_dict())
    fit(task)
    after = task.networks.state_dict()
    assert {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])} == {"entropy"}
    x, entropy, _ = task.entropy.draw_with_entropy(task.sampler, None, torch.randn(16, 10), task._normal)
    (task.target.energy(x).mean() - entropy).backward()
    assert all(parameter.grad is not None for parameter in task.sampler.parameters())


def test_the_number_of_fits_and_of_noise_levels_is_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    task = EnergyTask(
        settings(score=dataclasses.replace(SMALL_SCORE, fits_per_step=3, sigmas_per_sample=4, samples_per_context=32)), seed=0
    )
    draw, seen = task._normal, []

    def watched(*shape: int) -> Tensor:
        seen.append(shape)
        return draw(*shape)

    monkeypatch.setattr(task, "_normal", watched)
    task.step()
    one_fit = [(32, 10), (1, 32 * 4, 1), (1, 32 * 4, 2)]
    assert seen == [*one_fit * 3, (32, 10)]


def test_the_flow_is_as_large_as_the_implicit_sampler() -> None:
    task = EnergyTask(settings(method="flow", target="funnel_10d", noise_dim=10, width=128), seed=0)
    assert isinstance(task.sampler, AutoregressiveFlow)
    implicit = sum(parameter.numel() for parameter in ImplicitSampler(0, 10, width=128, head_layers=2).parameters())
    assert 0.95 * implicit < effective_parameters(task.sampler) <= implicit


def test_the_flow_learns_the_funnel() -> None:
    task = EnergyTask(
        settings(method="flow", target="funnel_10d", noise_dim=10, width=64, batch_size=256, steps=200, lr=5e-3, lr_halvings=4), seed=0
    )
    before = task.evaluate()["energy_distance"]
    for _ in range(200):
        task.step()
    assert task.evaluate()["energy_distance"] < 0.35 * before


def test_the_auxiliary_method_learns_a_potential_and_finds_both_halves() -> None:
    chosen = settings(
        method="hierarchical_auxiliary", width=64, batch_size=256, steps=300, lr=3e-3, lr_halvings=4, anneal=0.5, emd_samples=100
    )
    before, after = EnergyTask(chosen, seed=0).evaluate(), trained(chosen, 300).evaluate()
    assert after["reverse_kl"] < 0.6 < before["reverse_kl"] and after["sliced_w2"] < 0.3 * before["sliced_w2"]
    assert after["coverage"] == 1 and after["worst_region"] > 0.8


def test_losses_that_are_not_finite_are_skipped_and_counted() -> None:
    task = trained(settings(), 2)
    parameters = copy.deepcopy(task.networks.state_dict())
    task.target = copy.copy(task.target)
    task.target.energy = lambda x: x.sum(-1) * math.inf  # type: ignore[method-assign]
    report = task.step()
    assert report["skipped_steps"] == 1
    now = task.networks["sampler"].state_dict()
    assert all(torch.equal(now[name], parameters[f"sampler.{name}"]) for name in now)


def test_a_sampler_that_diverged_measures_nan_and_does_not_crash() -> None:
    task = trained(settings(), 1)
    with torch.no_grad():
        task.sampler.get_parameter("out.bias").fill_(math.nan)
    task.steps_done = 20
    measured = task.evaluate()
    floors = {"emd_floor", "sliced_w2_floor", "final_emd_floor"}
    assert {name for name, value in measured.items() if not math.isnan(value)} == floors


@pytest.mark.parametrize("name", ["potential_1", "potential_4"])
def test_exact_samples_are_at_the_floor(name: str) -> None:
    """Independent exact samples: the mean over their four sets is one, within four of its standard errors and those of the floor."""
    x = metrics.reference(name, 40_000, number=5_000)
    measured = metrics.distances(name, x, 500)
    std = statistics.stdev(metrics.between_exact_sets(name, "emd", 500, metrics.FLOOR_PAIRS))
    chance = 4 * std * (1 / metrics.PAIRS + 1 / metrics.FLOOR_PAIRS) ** 0.5
    assert chance < 0.6 * measured["emd_floor"] and abs(measured["emd"] - measured["emd_floor"]) < chance
    known = json.loads(Path(metrics.__file__).with_name("floors.json").read_text())["floors"][name]["sliced_w2"]["10000"]
    assert abs(measured["sliced_w2"] - known["mean"]) < 4 * known["std"] / metrics.PAIRS**0.5
    assert abs(measured["energy_distance"]) < 0.02
    assert metrics.coverage(target(name), x)["worst_region"] > 0.9


@pytest.mark.parametrize("name", ["potential_2", "funnel_10d"])
def test_the_table_of_floors_is_what_measuring_again_gives(name: str) -> None:
    """The first pairs of the table's are these very ones; its mean lies within four standard errors of theirs."""
    again = metrics.between_exact_sets(name, "emd", 2000, 6)
    known = json.loads(Path(metrics.__file__).with_name("floors.json").read_text())["floors"][name]["emd"]["2000"]
    assert metrics.floor(name, "emd", 2000) == known["mean"]
    assert abs(statistics.fmean(again) - known["mean"]) < 4 * known["std"] / len(again) ** 0.5
    assert known["sem"] == pytest.approx(known["std"] / known["pairs"] ** 0.5) and known["sem"] < 0.05 * known["mean"]


def test_the_table_has_the_sizes_of_the_default_settings_for_every_target() -> None:
    table = json.loads(Path(metrics.__file__).with_name("floors.json").read_text())["floors"]
    assert set(table) == set(TARGETS)
    sizes = {"emd": {str(EnergySettings.emd_samples), str(EnergySettings.final_emd_samples)}, "sliced_w2": {str(metrics.SLICED_SAMPLES)}}
    assert all({distance: set(known) for distance, known in floors.items()} == sizes for floors in table.values())


def test_no_sample_of_a_floor_is_one_that_samplers_are_compared_with() -> None:
    compared = [metrics.reference("potential_1", 50, number) for number in range(metrics.PAIRS)]
    others = [metrics.reference("potential_1", 50, metrics.PAIRS), metrics.reference("potential_2", 50, 0)]
    assert len({float(each[0, 0]) for each in [*compared, *others]}) == metrics.PAIRS + 2


def test_the_floor_falls_with_the_number_of_samples() -> None:
    assert metrics.floor("potential_1", "emd", 400) < 0.8 * metrics.floor("potential_1", "emd", 100)


def test_a_sampler_is_compared_set_by_set_with_others() -> None:
    """Samples of which every set but the first is far away: the mean distance shows it."""
    x = metrics.reference("potential_1", 40_000, number=5_000)
    x[500:] += 10
    assert metrics.mean_distance("potential_1", x, 500, metrics.sliced) > 0.7 * (metrics.PAIRS - 1) / metrics.PAIRS * 10


def test_too_few_samples_for_a_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="x must hold 4 sets of 100 samples, got 399 rows"):
        metrics.distances("potential_1", torch.zeros(399, 2), 100)


def test_a_missing_mode_is_seen() -> None:
    law = target("potential_1")
    x = metrics.reference("potential_1", 10_000, 0)
    x[:, 0] = x[:, 0].abs()
    assert metrics.coverage(law, x) == {"coverage": 0.5, "worst_region": 0.0}
    thin = torch.cat([x, -x[:1200]])  # a tenth of the mass, a fifth of its share: 1200 / 11200 / 0.5
    assert metrics.coverage(law, thin)["coverage"] == 1.0
    assert metrics.coverage(law, thin)["worst_region"] == pytest.approx(2 * 1200 / 11_200, rel=1e-4)


@pytest.mark.parametrize("name", ["potential_1", "mixture_32d"])
def test_pictures_are_counts_of_256_bins_and_nothing_else(name: str) -> None:
    figures = trained(settings(target=name, noise_dim=32), 1).figures()
    assert list(figures) == ["samples", "target"]
    for figure in figures.values():
        assert tuple(figure.get_size_inches() * figure.dpi) == (256, 256)
        (axes,) = figure.axes
        assert axes.images[0].get_array().shape == (256, 256)  # type: ignore[union-attr]
        assert not axes.axison and axes.get_position().bounds == (0, 0, 1, 1)
    counts = figures["target"].axes[0].images[0].get_array()
    assert 19_000 < counts.sum() <= 20_000  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be 1 or greater, got 0"),
        ({"emd_samples": 99}, r"emd_samples must be in \[100, 50000\], got 99"),
        ({"final_emd_samples": 0}, r"final_emd_samples must be in \[100, 50000\], got 0"),
        ({"final_emd_samples": 50_001}, r"final_emd_samples must be in \[100, 50000\], got 50001"),
        ({"target": "potential_5"}, r"target must be 'potential_1' or .* or 'mixture_32d', got 'potential_5'"),
        ({"method": "implicit"}, r"method must be 'implicit_ardae' or .* or 'flow', got 'implicit'"),
        ({"anneal": 1.5}, r"anneal must be in \[0, 1\], got 1\.5"),
        ({"beta1": 1.0}, r"beta1 must be in \[0, 1\), got 1\.0"),
        ({"lr_halvings": -1}, "lr_halvings must be 0 or greater, got -1"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \(0, 1\), got 1\.0"),
        ({"batch_size": 1}, "batch_size must be 2 or greater, got 1"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fits_per_step": 0}, "fits_per_step must be 1 or greater, got 0"),
        ({"gaussian_residual": True}, "gaussian_residual must be false or null with standardisation 'fixed': it needs"),
    ],
)
def test_impossible_settings_of_the_score_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreSettings(**changes)


def test_defaults_are_those_of_appendix_e() -> None:
    chosen = EnergySettings()
    assert (chosen.steps, chosen.batch_size, chosen.lr, chosen.beta1, chosen.noise_dim) == (100_000, 1024, 1e-3, 0.5, 10)
    assert (chosen.anneal * chosen.steps, chosen.steps / chosen.lr_halvings, chosen.alpha_start) == (20_000, 5000, 0.01)
    score = chosen.score
    assert (score.fits_per_step, score.sigmas_per_sample, score.delta_scale, score.lr) == (5, 10, 0.1, 1e-3)
    source = EnergyTask(settings(score=score), seed=0).entropy
    assert isinstance(source, ScoreEntropy)
    shapes = [tuple(parameter.shape) for name, parameter in source.estimator.network.named_parameters() if name.endswith("weight")]
    assert shapes == [(256, 2), (256, 256), (256, 256), (2, 256)]


def test_a_smoke_run_is_the_same_experiment_but_short() -> None:
    chosen = EnergySettings(target="potential_3", method="hierarchical_ardae")
    short = chosen.smoke()
    assert short.steps < 100
    changed = {"steps", "report_every_steps", "evaluate_every_steps", "emd_samples", "final_emd_samples"}
    assert {f.name for f in dataclasses.fields(chosen) if getattr(short, f.name) != getattr(chosen, f.name)} <= changed

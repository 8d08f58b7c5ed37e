"""What the tasks descend, against objectives written out here: signs, factors, schedules, and who is trained on what."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.samplers import HierarchicalSampler, TractableSampler
from ardae_rl.score import ScoreEstimator
from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.energy.config import ScoreSettings as EnergyScore
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.maxent.config import FlowSettings, MaxEntSettings, SamplerSettings
from ardae_rl.tasks.maxent.config import ScoreSettings as MaxEntScore
from ardae_rl.tasks.maxent.task import MaxEntTask
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.config import ScoreSettings as ErrorScore
from ardae_rl.tasks.score_error.task import ScoreErrorTask
from ardae_rl.tasks.vae.config import NetworkSettings as VAENetworks
from ardae_rl.tasks.vae.config import ScoreSettings as VAEScore
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.methods import ScoreMethod
from ardae_rl.tasks.vae.task import VAETask
from tests.spies import calls_of
from tests.tasks.linear_vae import fit_estimator

STILL = 1e-30  # a learning rate


# energy


def energy(**changes: Any) -> EnergySettings:
    score = EnergyScore(width=8, layers=1, sigmas_per_sample=1, fits_per_step=1)
    return EnergySettings(**{"width": 8, "layers": 1, "batch_size": 16, "steps": 10, "score": score, **changes})


def entropy_of(task: EnergyTask, noise: Tensor) -> tuple[Tensor, Tensor]:
    return task.entropy.draw_with_entropy(task.sampler, None, noise, task._normal)[:2]


@pytest.mark.parametrize("method", ["implicit_ardae", "hierarchical_ardae", "hierarchical_auxiliary", "flow"])
def test_alpha_weighs_the_energy_and_not_the_entropy(method: str, monkeypatch: pytest.MonkeyPatch, float64: None) -> None:
    """The sampler's gradient is alpha that of E[U] less that of H, taken apart on the same draws."""
    task = EnergyTask(energy(method=method, alpha_start=0.2, lr=STILL), seed=0)
    drawn = calls_of(monkeypatch, task.entropy, "draw_with_entropy")
    assert task.step()["alpha"] == 0.2
    moved = task.optimisers["sampler"].parameters
    found = [parameter.grad for parameter in moved]
    x, entropy, _ = task.entropy.draw_with_entropy(*drawn[0].arguments)
    of_energy = torch.autograd.grad(task.target.energy(x).mean(), moved, retain_graph=True, allow_unused=True)
    of_entropy = torch.autograd.grad(entropy, moved, allow_unused=True)
    for parameter, gradient, up, down in zip(moved, found, of_energy, of_entropy, strict=True):
        zero = torch.zeros_like(parameter)
        expected = 0.2 * (zero if up is None else up) - (zero if down is None else down)
        torch.testing.assert_close(zero if gradient is None else gradient, expected)


@pytest.mark.parametrize("method", ["implicit_ardae", "hierarchical_ardae", "hierarchical_auxiliary", "flow"])
def test_entropy_is_an_average_over_draws(method: str, float64: None) -> None:
    """Each counted twice it is the same: the batch size says nothing of what the entropy weighs against the energy."""
    task = EnergyTask(energy(method=method), seed=0)
    noise = torch.randn(16, task.sampler.noise_dim)
    once, twice = (entropy_of(task, each)[1] for each in (noise, noise.repeat(2, 1)))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize(("standardisation", "about"), [("fixed", 0.0), ("per_context", None), ("samples", None)])
def test_fixed_coordinates_are_about_the_origin_in_fit_and_use(
    standardisation: str, about: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of the samples about what the samples say."""
    score = EnergyScore(width=8, layers=1, sigmas_per_sample=1, fits_per_step=1, standardisation=standardisation)  # type: ignore[arg-type]
    task = EnergyTask(energy(score=score), seed=0)
    estimator = task.entropy.estimator
    assert isinstance(estimator, ScoreEstimator)
    fits, scores = calls_of(monkeypatch, estimator, "losses"), calls_of(monkeypatch, estimator, "score")
    task.entropy.fit(task.optimisers["score"], task.sampler, None, task._normal, steps=1)
    x, _ = entropy_of(task, torch.randn(16, 10))
    found = fits[0].options["centre"]
    assert found is None if about is None else torch.equal(found, torch.full((1, 2), about))
    standard = scores[0].options["frame"].standardise(x.detach().unsqueeze(0))
    assert (standardisation == "fixed") == torch.equal(standard[0], x.detach())


def test_the_flows_entropy_is_minus_the_mean_of_its_log_density(float64: None) -> None:
    task = EnergyTask(energy(method="flow"), seed=0)
    x, entropy = entropy_of(task, torch.randn(16, 2))
    assert isinstance(task.sampler, TractableSampler)
    torch.testing.assert_close(entropy, -task.sampler.log_prob(None, x).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("method", "least"), [("hierarchical_ardae", math.exp(-2)), ("hierarchical_auxiliary", math.exp(-10))])
def test_the_noise_around_a_hidden_cause_has_a_floor_where_its_score_is_to_be_learned(method: str, least: float, float64: None) -> None:
    """A log standard deviation of -10 is -2 for AR-DAE, and -10 where the density is known."""
    sampler = EnergyTask(energy(method=method), seed=0).sampler
    assert isinstance(sampler, HierarchicalSampler)
    weight, bias = list(sampler.given_latent.parameters())[-2:]
    with torch.no_grad():
        weight[2:].zero_(), bias[2:].fill_(-10.0)
    z, eps = torch.randn(1, 2).expand(20_000, 2), torch.randn(20_000, 2)
    std = sampler.draw(None, torch.cat([z, eps], 1)).detach().std(0)
    assert ((std / least - 1).abs() < 4 / (2 * 20_000) ** 0.5).all()


@pytest.mark.parametrize("method", ["implicit_ardae", "hierarchical_ardae", "hierarchical_auxiliary", "flow"])
def test_beta1_is_of_every_optimiser(method: str) -> None:
    """After two steps Adam's mean of gradients g is (1 - beta1) (beta1 g_1 + g_2)."""
    task = EnergyTask(energy(method=method, beta1=0.3), seed=0)
    assert set(task.optimisers) == ({"sampler", "score"} if "ardae" in method else {"sampler"})
    for name, guarded in task.optimisers.items():
        gradients = []
        (group,) = guarded.optimiser.param_groups
        for _ in range(2):
            task.step()
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in group["params"]])
        if name == "sampler":  # the other has made two steps by now
            for parameter, first, second in zip(group["params"], *gradients, strict=True):
                torch.testing.assert_close(guarded.optimiser.state[parameter]["exp_avg"], 0.7 * (0.3 * first + second))
        assert group["betas"] == (0.3, 0.999)


def test_the_auxiliary_network_is_as_large_as_the_sampler() -> None:
    """h(z | x) of these two numbers each way: the same shapes, but for inputs and outputs, as the law of x given z."""
    task = EnergyTask(energy(method="hierarchical_auxiliary", layers=3, width=12), seed=0)
    sampler, auxiliary = list(task.sampler.parameters()), list(task.entropy.parameters())
    assert [p.shape for p in sampler] == [p.shape for p in auxiliary] and len(sampler) == 2 * 4


# maxent


def maxent(**changes: Any) -> MaxEntSettings:
    small = {"dim": 2, "repeats": 3, "batch_size": 16, "steps": 10, "sampler": SamplerSettings(width=8, layers=1)}
    score = MaxEntScore(width=8, layers=1, samples_per_context=8, fits_per_step=1)
    return MaxEntSettings(**{**small, "flow": FlowSettings(width=8, layers=1), "score": score, **changes})


def pair_product(residuals: Tensor) -> Tensor:
    """||E r||^2 of each repeat from all pairs of different samples."""
    count = residuals.shape[1]
    products = torch.einsum("enm,ekm->enk", residuals, residuals)
    off_diagonal = products.sum((1, 2)) - products.diagonal(dim1=1, dim2=2).sum(1)
    return off_diagonal / (count * (count - 1))


def into_support(problem: str, y: Tensor) -> tuple[Tensor, Tensor]:
    """x = T(y) and dT/dy by hand."""
    match problem:
        case "uniform":
            return y.sigmoid(), y.sigmoid() * (1 - y.sigmoid())
        case "exponential":
            return y.exp().log1p(), y.sigmoid()
        case _:
            return y, torch.ones_like(y)


@pytest.mark.parametrize("estimate", ["unbiased", "batch"])
@pytest.mark.parametrize("problem", ["gaussian", "laplace", "uniform", "exponential"])
def test_samplers_descend_price_and_penalty_less_entropy_and_stretch(
    problem: str, estimate: str, monkeypatch: pytest.MonkeyPatch, float64: None
) -> None:
    """sum_k <mu_k, E r_k> + lambda sum_k ||E r_k||^2 - H(y) - E log |dT/dy|, lambda halfway up its ramp, on the very draws of the step."""
    dim = 2 if problem == "gaussian" else 1
    task = MaxEntTask(maxent(problem=problem, dim=dim, constraint_estimate=estimate, penalty_ramp=1.0), seed=0)
    names = [] if problem == "uniform" else ["c1", "c2"] if problem == "gaussian" else ["c1"]
    task.multipliers.values = {name: torch.randn(3, {"c1": dim, "c2": dim**2}[name]) for name in names}
    task.steps_done = 5
    drawn, descended = calls_of(monkeypatch, task, "_draw_with_entropy"), list[Tensor]()
    monkeypatch.setattr(task.optimisers["sampler"], "step", descended.append)
    report = task.step()
    (y, entropy), (found,) = drawn[0].result, descended
    weight = (0.01 * 10.0) ** 0.5
    assert report["penalty_weight"] == pytest.approx(weight)
    x, slope = into_support(problem, y)
    stretch = slope.log().sum(-1).mean(1)
    residuals = task.problem.residuals(x)
    price = sum((task.multipliers.values[name] * residuals[name].mean(1)).sum(-1) for name in names)
    square = pair_product if estimate == "unbiased" else lambda r: r.mean(1).square().sum(-1)
    penalty = sum(square(residuals[name]) for name in names)
    torch.testing.assert_close(found, price + weight * penalty - entropy - stretch)


@pytest.mark.parametrize("problem", ["laplace", "exponential"])
def test_the_price_of_a_constraint_rises_where_its_expectation_is_too_large(problem: str, float64: None) -> None:
    """And by the rate times the share of the learning rate that is left, of Newton's step; not before lambda has stopped."""
    task = MaxEntTask(maxent(problem=problem, dim=1, multiplier_rate=0.3, penalty_ramp=0.4, steps=10, batch_size=4000, lr=STILL), seed=0)
    for _ in range(4):
        task.step()
    assert not task.multipliers.values
    task.step()
    residuals = task.problem.residuals(task._samples(100_000, torch.Generator().manual_seed(0)))["c1"]
    left = 0.5 * (1 + math.cos(math.pi * 5 / 10))
    newton = 0.3 * left * residuals.mean(1) / residuals.var(1)
    moved = task.multipliers.values["c1"]
    assert (moved.sign() == residuals.mean(1).sign()).all()
    torch.testing.assert_close(moved, newton, rtol=0.25, atol=0.02)


def test_prices_add_up_from_step_to_step() -> None:
    """Twice the same expectation, twice the step."""
    task = MaxEntTask(maxent(problem="laplace", dim=1), seed=0)
    expectation, x = {"c1": torch.full((3, 1), 0.5)}, torch.randn(3, 50, 1)
    moved = []
    for _ in range(2):
        task.multipliers.move(expectation, x, 0.1)
        moved.append(task.multipliers.values["c1"].clone())
    assert (moved[0] > 0).all()
    torch.testing.assert_close(moved[1], 2 * moved[0])


def test_the_implicit_sampler_is_one_of_exponential_linear_units() -> None:
    """By hand, from the weights of each repeat."""
    task = MaxEntTask(maxent(), seed=0)
    noise = torch.randn(3, 5, 10)
    first, its_bias, last, last_bias = task.models.stacked.sampler.parameters()
    hidden = torch.nn.functional.elu(noise @ first.mT + its_bias.unsqueeze(1))
    torch.testing.assert_close(task._draw(noise), hidden @ last.mT + last_bias.unsqueeze(1))


def test_every_fit_of_the_scores_sees_fresh_samples_of_every_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    task = MaxEntTask(maxent(score=MaxEntScore(width=8, layers=1, samples_per_context=8, fits_per_step=3)), seed=0)
    draws = calls_of(monkeypatch, task.optimisers["score"], "step")
    seen: list[Tensor] = []
    losses = ScoreEstimator.losses

    def watched(own: ScoreEstimator, x: Tensor, *given: Any, **options: Any) -> dict[str, Tensor]:
        seen.append(torch._C._functorch.get_unwrapped(x))
        return losses(own, x, *given, **options)

    monkeypatch.setattr(ScoreEstimator, "losses", watched)
    task._fit()
    assert len(draws) == 3
    samples = torch.stack(seen)
    assert samples.shape == (3, 3, 8, 2) and len(samples.flatten(0, 2).unique(dim=0)) == 3 * 3 * 8


def test_learning_rates_of_sampler_and_score_end_together() -> None:
    """Both decay along a cosine to 0 at the last step, however many fits come before each."""
    score = MaxEntScore(width=8, layers=1, samples_per_context=8, fits_per_step=3, lr=2e-3)
    task = MaxEntTask(maxent(score=score, lr=5e-3, steps=6), seed=0)
    rates = {name: [each.optimiser.param_groups[0]["lr"]] for name, each in task.optimisers.items()}
    for _ in range(6):
        task.step()
        for name, each in task.optimisers.items():
            rates[name].append(each.optimiser.param_groups[0]["lr"])
    for name, first in {"sampler": 5e-3, "score": 2e-3}.items():
        assert rates[name] == pytest.approx([first * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7)], abs=1e-9)


# score error


def score_error(**changes: Any) -> ScoreErrorSettings:
    return ScoreErrorSettings(
        **{"law": "ring", "score": ErrorScore(width=8, layers=1), "samples_per_context": 8, "steps": 12, "lr": 1e-3, **changes}
    )


def rates(settings: ScoreErrorSettings) -> list[list[float]]:
    """The learning rate of every network at every step that trains it."""
    task = ScoreErrorTask(settings, seed=0)
    used: list[list[float]] = [[] for _ in task.members]
    for _ in range(settings.steps):
        before = [member.optimiser.optimiser.param_groups[0]["lr"] for member in task.members]
        counts = [member.optimiser.steps for member in task.members]
        task.step()
        for member, lr, count, rates_of_one in zip(task.members, before, counts, used, strict=True):
            if member.optimiser.steps > count:
                rates_of_one.append(lr)
    return used


def test_the_learning_rate_is_halved_every_so_many_steps() -> None:
    assert rates(score_error(halve_lr_every=4)) == [pytest.approx([1e-3] * 4 + [5e-4] * 4 + [2.5e-4] * 4)]


def test_every_annealed_level_has_all_the_halvings_in_its_share_of_the_steps() -> None:
    """Three levels of four steps: what is halved after six of twelve steps is halved after two of four."""
    chosen = score_error(estimator="residual_dae_annealed", sigmas=[0.1, 1.0, 0.5], halve_lr_every=6)
    assert rates(chosen) == [pytest.approx([1e-3, 1e-3, 5e-4, 5e-4])] * 3


def test_without_halving_the_learning_rate_falls_along_a_cosine_or_stays_where_the_law_moves() -> None:
    cosine = [0.5e-3 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]
    assert rates(score_error()) == [pytest.approx(cosine)]
    level = [0.5e-3 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates(score_error(estimator="residual_dae_annealed", sigmas=[0.1, 1.0, 0.5])) == [pytest.approx(level)] * 3
    assert rates(score_error(law="gaussian_4d", contexts=3, drift=0.1)) == [pytest.approx([1e-3] * 12)]


def test_networks_of_several_levels_are_trained_on_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ScoreErrorTask(score_error(estimator="residual_dae", sigmas=[0.1, 1.0, 0.5]), seed=0)
    fits = [calls_of(monkeypatch, member, "fit") for member in task.members]
    task.step(), task.step()
    first, second = ([calls[step].arguments[0] for calls in fits] for step in range(2))
    assert len(first) == 3 and all(torch.equal(first[0], each) for each in first[1:])
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("law", ["ring", "gaussian_4d"])
def test_the_fit_is_about_the_point_that_measuring_is_about(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law's own centre of each context."""
    task = ScoreErrorTask(score_error(law=law, contexts=3), seed=0)
    estimator = task.members[0].estimator
    losses = calls_of(monkeypatch, estimator, "losses")
    task.step()
    (((_, context), options, _),) = losses
    torch.testing.assert_close(options["centre"], task.law.centre(context))


# vae


def vae(**changes: Any) -> VAESettings:
    score = VAEScore(width=8, layers=1, context_layers=0, whitener_width=8, samples_per_context=4, fits_per_step=2)
    small = {"latent_dim": 2, "noise_dim": 3, "batch_size": 4, "steps": 10, "network": VAENetworks(width=8), "score": score}
    return VAESettings(**{**small, **changes})


@pytest.mark.parametrize(
    ("posterior", "standardisation"),
    [("ivi_ardae", "fixed"), ("ivi_ardae", "per_context"), ("ivi_ardae", "amortised"), ("hvi_ardae", "fixed"), ("ivi_avb", "amortised")],
)
def test_every_fit_sees_fresh_latents_about_the_point_at_zero_noise(
    posterior: str, standardisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """z - b(x) of each image, about 0 where coordinates are not learned; no gradient goes back."""
    score = VAEScore(width=8, layers=1, context_layers=0, standardisation=standardisation, whitener_width=8, samples_per_context=4)  # type: ignore[arg-type]
    score = dataclasses.replace(score, fits_per_step=2)
    task = VAETask(vae(posterior=posterior, score=score), seed=0)
    assert isinstance(task.method, ScoreMethod)
    method = task.method
    x = task.data.batch(4, torch.Generator().manual_seed(0))
    losses, noises = calls_of(monkeypatch, method.estimator, "losses"), calls_of(monkeypatch, method, "normal")
    fit_estimator(method, x)
    drawn = [noise.result for noise in noises if noise.arguments == (4, 4, method.vae.posterior.noise_dim)]
    b = method.vae.posterior.centre(x).detach()
    assert len(losses) == len(drawn) == 2 and not torch.equal(*drawn)
    for ((samples, context), options, _), noise in zip(losses, drawn, strict=True):
        torch.testing.assert_close(samples, method.vae.posterior.draw(x, noise).detach() - b.unsqueeze(1))
        assert not samples.requires_grad and not context.requires_grad
        assert (options["centre"] is None) == (standardisation == "amortised")
        assert options["centre"] is None or not options["centre"].any()


@pytest.mark.parametrize("posterior", ["gaussian", "hvi_auxiliary", "hvi_ardae", "ivi_ardae", "ivi_avb"])
def test_beta1_is_the_models_and_not_the_estimators(posterior: str) -> None:
    task = VAETask(vae(posterior=posterior, beta1=0.3), seed=0)
    assert task.optimisers["model"].optimiser.param_groups[0]["betas"] == (0.3, 0.999)
    assert all(each.optimiser.param_groups[0]["betas"] == (0.9, 0.999) for name, each in task.optimisers.items() if name != "model")


def test_rmsprop_moves_on_with_the_momentum_that_was_set() -> None:
    """v_2 = momentum v_1 + g_2 / sqrt(mean square): with a constant gradient the second step shows it."""
    score = VAEScore(
        width=8, layers=1, context_layers=0, whitener_width=8, samples_per_context=4, optimiser="rmsprop", momentum=0.8, lr=1e-3
    )
    task = VAETask(vae(score=score), seed=0)
    assert isinstance(task.method, ScoreMethod)
    optimiser, weight = task.optimisers["score"].optimiser, next(iter(task.method.estimator.parameters()))
    moves = []
    for _ in range(2):
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        moves.append(float((before - weight.detach()).mean()))
    first, second = 1e-3 / math.sqrt(0.01), 1e-3 / math.sqrt(0.01 * 1.99)
    assert moves == pytest.approx([first, 0.8 * first + second], rel=1e-4)

"""AR-DAE's laws that hold for any weights: the loss's minimum, changes of variables, normalisation, noise, and bad input."""

import doctest
import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import ARDAE, LogPartition, ardae, denoising_loss
from ardae_rl.score.networks import ResidualNet
from tests.score.concave import concave

pytestmark = pytest.mark.usefixtures("float64")

Standardisation = Literal["fixed", "per_context"]
PLAIN: dict[str, Any] = {"width": 16, "layers": 2, "activation": "softplus", "standardisation": "per_context", "gaussian_residual": False}
SIZES, COUNTS = ("dim", "layers", "width", "whitener_width"), ("context_dim", "context_layers", "input_layers")
BOTH = pytest.mark.parametrize("standardisation", ["fixed", "per_context"])


def make(dim: int = 2, context_dim: int = 0, **options: Any) -> ARDAE:
    return ARDAE(dim, context_dim, **{**PLAIN, **options})


def normal(seed: int = 0) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


class BlurredGaussianScore(nn.Module):
    """The score of N(0, std^2 I) convolved with N(0, sigma^2 I)."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor) -> Tensor:
        return -x / (self.std**2 + sigma**2)


# the loss


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("std", "sigma"), [(1.0, 0.1), (0.3, 0.3), (2.0, 1.0)])
def test_true_score_of_a_blurred_gaussian_attains_the_minimum(std: float, sigma: float, sign: int) -> None:
    count, dim = 100_000, 3
    x, u = std * torch.randn(1, count, dim), torch.randn(1, count, dim)
    loss = denoising_loss(BlurredGaussianScore(std), x, None, torch.full((1, count, 1), sign * sigma), u)
    assert abs(loss.mean() - dim * std**2 / (std**2 + sigma**2)) < 4 * loss.std() / count**0.5


def test_zero_sigma_is_legal_and_carries_no_signal() -> None:
    net, u = make().network, torch.randn(1, 9, 2)
    loss = denoising_loss(net, torch.randn(1, 9, 2), None, torch.zeros(1, 9, 1), u)
    torch.testing.assert_close(loss, u.square().sum(-1))
    assert not any(grad.any() for grad in torch.autograd.grad(loss.sum(), list(net.body.parameters())))


@BOTH
@pytest.mark.parametrize("form", ["gradient", "residual"])
def test_loss_sends_no_gradient_to_the_sampler(standardisation: Standardisation, form: str) -> None:
    estimator = make(context_dim=3, form=form, standardisation=standardisation)
    samples, centre = torch.randn(4, 5, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    loss = estimator.loss(samples, torch.ones(4, 3), frame=estimator.frame(samples, context=torch.ones(4, 3), centre=centre))
    assert torch.autograd.grad(loss, (samples, centre), allow_unused=True) == (None, None)


def reveal_sigma(estimator: ARDAE) -> ARDAE:
    """Make f the constant (1, 1): with u = 0 and unit draws for sigma the loss is then 2 delta^2."""
    assert isinstance(estimator.network, ResidualNet)
    nn.init.zeros_(estimator.network.out.weight)
    nn.init.ones_(estimator.network.out.bias)
    return estimator


def unit_sigma_without_u(*shape: int) -> Tensor:
    return torch.ones(shape) if shape[-1] == 1 else torch.zeros(shape)


@pytest.mark.parametrize("spread", [0.01, 1.0, 20.0])
def test_adaptive_delta_follows_the_spread(spread: float) -> None:
    samples = spread * torch.randn(1, 30, 2)
    estimator = reveal_sigma(make(form="residual", standardisation="fixed", scale=5.0, delta_scale=0.3))
    delta = 0.3 * 5.0 * samples.std(1, correction=0).mean()
    torch.testing.assert_close(estimator.loss(samples, normal=unit_sigma_without_u), 2 * delta**2)


def test_each_context_has_its_own_delta() -> None:
    samples = torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1) * torch.randn(3, 30, 2)
    estimator = reveal_sigma(make(context_dim=1, form="residual", standardisation="fixed", scale=1.0, delta_scale=0.3))
    deltas = 0.3 * samples.std(1).mean(-1)
    torch.testing.assert_close(estimator.loss(samples, torch.zeros(3, 1), normal=unit_sigma_without_u), 2 * deltas.square().mean())


def test_constant_delta_ignores_the_spread() -> None:
    estimator = reveal_sigma(make(form="residual", standardisation="fixed", scale=5.0, delta_scale=0.3, adaptive_delta=False))
    torch.testing.assert_close(estimator.loss(20 * torch.randn(30, 2), normal=unit_sigma_without_u), torch.tensor(2 * 0.3**2))


def test_sigma_is_normal_about_zero_with_standard_deviation_delta() -> None:
    """That the network sees: its mean, its variance, and its fourth moment, 3 delta^4, with 4 standard errors each."""
    estimator, count, seen = make(delta_scale=0.3, antithetic=False), 20_000, list[Tensor]()
    estimator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].flatten() / 0.3))
    estimator.loss(torch.randn(count, 2), normal=normal())
    for power, moment, deviation in ((1, 0, 1), (2, 1, math.sqrt(2)), (4, 3, math.sqrt(96))):
        assert abs(seen[0].pow(power).mean() - moment) < 4 * deviation / math.sqrt(count)


def test_several_sigmas_per_sample_are_repeats_of_the_sample() -> None:
    samples, context = torch.randn(4, 5, 2), torch.randn(4, 3)
    one, three = make(context_dim=3), make(context_dim=3, sigmas_per_sample=3)
    three.load_state_dict(one.state_dict())
    one.antithetic = three.antithetic = False
    repeated = one.loss(samples.repeat_interleave(3, 1), context, frame=one.frame(samples, context=context), normal=normal())
    torch.testing.assert_close(three.loss(samples, context, normal=normal()), repeated)


def gradients(estimator: ARDAE, samples: Tensor, draws: int) -> Tensor:
    """Of the loss with fresh noise in the first layer's weights, (draws, weights)."""
    weight = next(estimator.network.parameters())
    return torch.stack(
        [torch.autograd.grad(estimator.loss(samples, frame=estimator.frame(samples)), weight)[0].flatten() for _ in range(draws)]
    )


def test_antithetic_noise_leaves_the_mean_of_the_gradient_and_takes_most_of_its_variance() -> None:
    samples = torch.randn(20, 2)
    plain = make(form="residual", delta_scale=0.1, sigmas_per_sample=2, antithetic=False)
    paired = make(form="residual", delta_scale=0.1, sigmas_per_sample=2)
    paired.load_state_dict(plain.state_dict())
    of_plain, of_paired = gradients(plain, samples, 2000), gradients(paired, samples, 2000)
    standard_error = ((of_plain.var(0) + of_paired.var(0)) / 2000).sqrt()
    deviations = (of_plain.mean(0) - of_paired.mean(0)) / standard_error
    assert 0.05 < deviations.abs().max() < 4  # standard errors: neither biased nor suspiciously equal
    assert 0 < of_paired.var(0).sum() < 0.2 * of_plain.var(0).sum()


@pytest.mark.parametrize(("sigmas_per_sample", "rows"), [(1, 6), (2, 10), (3, 16)])
def test_antithetic_noise_needs_no_more_rows_than_plain(sigmas_per_sample: int, rows: int) -> None:
    """Five samples: an odd number of rows is made even by one."""
    estimator = make(form="residual", sigmas_per_sample=sigmas_per_sample)
    seen: list[Tensor] = []
    estimator.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    estimator.loss(torch.randn(5, 2))
    assert seen[0].shape == (1, rows, 2)
    upper, lower = seen[0].chunk(2, 1)
    assert (upper != lower).any()


def test_a_network_that_sees_sigma_squared_is_even_and_smooth_in_sigma_and_agrees_at_zero() -> None:
    squared, linear = make(squared_sigma=True, delta_scale=0.2), make(squared_sigma=False, delta_scale=0.2)
    linear.load_state_dict(squared.state_dict())
    x, sigma = torch.randn(1, 5, 2), torch.rand(1, 5, 1)
    torch.testing.assert_close(squared.network(x, None, sigma), squared.network(x, None, -sigma))
    torch.testing.assert_close(squared.network(x, None, sigma), linear.network(x, None, (sigma / 0.2).square()))
    assert (squared.network(x, None, sigma) != linear.network(x, None, sigma)).all()
    torch.testing.assert_close(squared.network(x, None, 0 * sigma), linear.network(x, None))
    steep = torch.autograd.functional.jacobian(lambda s: squared.network(x, None, s), 0 * sigma)
    assert not steep.any()


def test_sigma_is_squared_wherever_its_size_is_known() -> None:
    units = {standardisation: make(standardisation=standardisation).network.body.sigma_unit for standardisation in ("fixed", "per_context")}
    assert units == {"fixed": None, "per_context": 0.1}
    assert make(standardisation="fixed", adaptive_delta=False, squared_sigma=True).network.body.sigma_unit == 0.1
    with pytest.raises(ValueError, match=r"squared_sigma must be false or null with .* unless adaptive_delta is false, got True"):
        make(standardisation="fixed", squared_sigma=True)


# coordinates


@BOTH
def test_score_and_log_density_change_variables(standardisation: Standardisation) -> None:
    """The law of y = a x + t has score(y) = score(x) / a and log p(y) = log p(x) - D log a; s scales with 1 / a where it is fixed."""
    a, t = 0.01, torch.tensor([3.0, -4.0])
    here, there = (
        make(context_dim=3, standardisation=standardisation, scale=2.0),
        make(context_dim=3, standardisation=standardisation, scale=2.0 / a),
    )
    there.load_state_dict(here.state_dict())
    x, context = torch.randn(4, 50, 2), torch.randn(4, 3)
    y = a * x + t
    frames = {"here": here.frame(x, context=context), "there": there.frame(y, context=context)}
    torch.testing.assert_close(there.score(y, context, frame=frames["there"]), here.score(x, context, frame=frames["here"]) / a)
    expected = here.log_density(x, context, frame=frames["here"]) - 2 * math.log(a)
    torch.testing.assert_close(there.log_density(y, context, frame=frames["there"]), expected)
    torch.testing.assert_close(there.loss(y, context, normal=normal()), here.loss(x, context, normal=normal()))


@BOTH
def test_score_is_the_gradient_of_the_log_density(standardisation: Standardisation) -> None:
    estimator = make(context_dim=3, standardisation=standardisation, scale=3.0)
    context = torch.randn(4, 3)
    frame = estimator.frame(5 + 0.2 * torch.randn(4, 50, 2), context=context, centre=torch.full((4, 2), 5.1))
    x = (5 + 0.2 * torch.randn(4, 6, 2)).requires_grad_()
    gradient = torch.autograd.grad(estimator.log_density(x, context, frame=frame).sum(), x)[0]
    torch.testing.assert_close(estimator.score(x, context, frame=frame), gradient)


def test_without_a_context_a_flat_batch_is_one_context() -> None:
    estimator, x = make(), torch.randn(30, 2)
    frame = estimator.frame(x, centre=torch.zeros(2))
    torch.testing.assert_close(estimator.score(x, frame=frame), estimator.score(x[None], frame=frame)[0])
    torch.testing.assert_close(estimator.log_density(x, frame=frame), estimator.log_density(x[None], frame=frame)[0])
    torch.testing.assert_close(estimator.loss(x, normal=normal()), estimator.loss(x[None], normal=normal()))


def test_contexts_do_not_leak_into_each_other() -> None:
    estimator, x, context = make(context_dim=3), torch.randn(4, 5, 2), torch.randn(4, 3)
    before = estimator.score(x, context, frame=estimator.frame(x, context=context))
    moved = context + torch.tensor([0.0, 1.0, 0.0, 0.0]).unsqueeze(1)
    changed = (estimator.score(x, moved, frame=estimator.frame(x, context=moved)) != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]


# log Z


def relative_error(estimate: LogPartition, count: int) -> float:
    return float(((count / estimate.effective_sample_size - 1) / count).sqrt().max())


@BOTH
@pytest.mark.parametrize(("dim", "step"), [(1, 0.005), (2, 0.04)])
def test_density_integrates_to_one_in_the_samplers_coordinates(standardisation: Standardisation, dim: int, step: float) -> None:
    """The samples' law is beside the point: any frame gives a density once its log Z is subtracted."""
    count, std, contexts = 50_000, 0.4, 2
    estimator = concave(make(dim, 3, layers=1, width=32, standardisation=standardisation, scale=1 / std))
    context = torch.randn(contexts, 3)
    frame = estimator.frame(1 + std * torch.randn(contexts, 500, dim), context=context)
    options: dict[str, Any] = {} if standardisation == "per_context" else {"proposal_std": 1.2 * std}
    with torch.no_grad():
        estimate = estimator.log_partition(context, samples=count, **options)
    axis = torch.arange(-7, 9, step)
    grid = torch.cartesian_prod(*[axis] * dim).view(1, -1, dim).expand(contexts, -1, dim)
    mass = (estimator.log_density(grid, context, frame=frame) - estimate.log_z[:, None]).exp().sum(1) * step**dim
    assert ((mass - 1).abs() < 4 * relative_error(estimate, count)).all()
    assert relative_error(estimate, count) < 0.02


def proposal_std_seen(estimator: ARDAE, **options: Any) -> float:
    """At unit noise and a linear potential of slope 1 one importance weight shows where the proposal put its draw."""
    body, out = estimator.network.body, estimator.network.out
    for part in estimator.parameters():
        nn.init.zeros_(part)
    with torch.no_grad():
        body.from_input.weight[0], out.weight[0, 0] = 1e-6, 1e6
    at_one = estimator.log_partition(samples=1, normal=lambda *shape: torch.ones(shape), **options).log_z
    at_minus_one = estimator.log_partition(samples=1, normal=lambda *shape: -torch.ones(shape), **options).log_z
    return float((at_one - at_minus_one).detach()) / 2


@pytest.mark.parametrize(
    ("standardisation", "options", "std"),
    [
        ("per_context", {}, 1.2),
        ("per_context", {"proposal_std": 0.7}, 0.7),
        ("fixed", {}, 100 * math.exp(-1)),
        ("fixed", {"proposal_std": 0.7}, 70.0),
    ],
)
def test_proposal_is_measured_in_spreads_or_in_the_samplers_units(standardisation: str, options: dict[str, float], std: float) -> None:
    estimator = make(1, width=4, layers=1, activation="tanh", standardisation=standardisation, scale=100.0)
    assert proposal_std_seen(estimator, **options) == pytest.approx(std, rel=1e-6)


# degenerate samplers and bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[({name: 0}, rf"^{name} must be 1 or greater, got 0$") for name in ("dim", "layers", "width", "whitener_width")],
        *[({name: -1}, rf"^{name} must be 0 or greater, got -1$") for name in COUNTS],
        ({"layers": 1.5}, r"^layers must be a whole number, got 1\.5$"),
        ({"sigmas_per_sample": 0}, r"^sigmas_per_sample must be 1 or greater, got 0$"),
        *[({name: 0.0}, rf"^{name} must be greater than 0, got 0\.0$") for name in ("scale", "student_dof", "delta_scale")],
        ({"standardisation": "samples", "context_dim": 1}, r"'samples' is for one distribution without a context: .* use 'amortised'"),
        ({"form": "energy"}, r"form must be 'gradient' or 'residual', got 'energy'"),
        (
            {"standardisation": "per_dim"},
            r"standardisation must be 'fixed' or .* or null, got 'per_dim'",
        ),
        ({"activation": "relu"}, r"activation must be 'elu' or .* got 'relu'"),
    ],
)
def test_impossible_estimators_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("x", "context", "message"),
    [
        ((4, 5, 3), (4, 3), r"must have shape \(contexts, samples per context, 2\), got \(4, 5, 3\)"),
        ((5, 2), (5, 3), r"must have shape \(contexts, samples per context, 2\), got \(5, 2\)"),
        ((4, 5, 2), (5, 3), r"context must have shape \(4, 3\) for x of shape \(4, 5, 2\), got \(5, 3\)"),
        ((4, 5, 2), None, r"context must have shape \(4, 3\) for x of shape \(4, 5, 2\), got None"),
    ],
)
def test_wrong_shapes_are_refused(x: tuple[int, ...], context: tuple[int, ...] | None, message: str) -> None:
    estimator = make(context_dim=3)
    frame = estimator.frame(torch.randn(4, 5, 2), context=torch.zeros(4, 3))
    given = None if context is None else torch.zeros(context)
    for method in (estimator.loss, estimator.score, estimator.log_density):
        with pytest.raises(ValueError, match=message):
            method(torch.zeros(x), given, frame=frame)


def test_a_context_without_context_dim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"context must have shape None .* got \(1, 3\)"):
        make().loss(torch.randn(1, 5, 2), torch.zeros(1, 3))


def test_the_residual_form_has_no_density() -> None:
    estimator = make(form="residual")
    with pytest.raises(ValueError, match=r"no log-density: build it with form='gradient'"):
        estimator.log_density(torch.randn(5, 2))
    with pytest.raises(ValueError, match=r"no log-density: build it with form='gradient'"):
        estimator.log_partition(samples=5)


def test_documented_example_runs() -> None:
    assert doctest.testmod(ardae) == (0, 4)

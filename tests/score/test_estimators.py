"""Every trained estimator: its loss is least at the score it should find, and what all of them share holds for each."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import ARDAE, ImplicitScoreMatching, ReconstructionDAE, ResidualDAE, ScoreEstimator
from ardae_rl.score.implicit_matching import _directional_slope

pytestmark = pytest.mark.usefixtures("float64")
SIGMA = 0.5
SMALL: dict[str, Any] = {"width": 16, "layers": 2, "activation": "softplus"}
MAKERS: dict[str, Callable[..., ScoreEstimator]] = {
    "ardae": lambda *sizes, **options: ARDAE(*sizes, **options),
    "residual_dae": lambda *sizes, **options: ResidualDAE(*sizes, sigma=SIGMA, **options),
    "reconstruction_dae": lambda *sizes, **options: ReconstructionDAE(*sizes, sigma=SIGMA, **options),
    "score_matching": lambda *sizes, **options: ImplicitScoreMatching(*sizes, trace="exact", **options),
    "sliced_score_matching": lambda *sizes, **options: ImplicitScoreMatching(*sizes, trace="sliced", **options),
}
ALL = pytest.mark.parametrize("name", MAKERS)


class Linear(nn.Module):
    """f(x) = a x, or for AR-DAE a x / (1 + sigma^2): linear fields, among which the best for N(0, I) is known."""

    def __init__(self, slope: float, *, conditioned: bool) -> None:
        super().__init__()
        self.slope, self.conditioned = nn.Parameter(torch.tensor(slope)), conditioned

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        return self.slope * x / (1 + sigma.square() if self.conditioned and sigma is not None else 1)


def slope_of_the_loss(name: str, slope: float, batches: int = 40) -> tuple[float, float]:
    """d loss / d slope on samples of N(0, I_3): mean and standard error over batches."""
    estimator = MAKERS[name](3, standardisation="fixed", scale=1.0)
    estimator.network = Linear(slope, conditioned=name == "ardae")
    slopes = []
    for _ in range(batches):
        loss = estimator.loss(torch.randn(5000, 3), centre=torch.zeros(3))
        slopes.append(torch.autograd.grad(loss, estimator.network.slope)[0])
    values = torch.stack(slopes)
    return float(values.mean()), float(values.std() / batches**0.5)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("ardae", -1.0),
        ("residual_dae", -1 / (1 + SIGMA**2)),
        ("reconstruction_dae", 1 / (1 + SIGMA**2)),  # r, not f
        ("score_matching", -1.0),
        ("sliced_score_matching", -1.0),
    ],
)
def test_the_loss_is_least_at_the_score_of_the_blurred_law(name: str, best: float) -> None:
    mean, error = slope_of_the_loss(name, best)
    assert abs(mean) < 4 * error
    for side in (-0.2, 0.2):
        mean, error = slope_of_the_loss(name, best + side)
        assert mean * side > 0 and abs(mean) > 4 * error


def test_reconstruction_becomes_a_score_by_its_division() -> None:
    estimator = MAKERS["reconstruction_dae"](2, standardisation="fixed", scale=1.0)
    estimator.network = Linear(1 / (1 + SIGMA**2), conditioned=False)
    x = torch.randn(7, 2)
    torch.testing.assert_close(estimator.score(x, centre=torch.zeros(2)), -x / (1 + SIGMA**2))


@pytest.mark.parametrize("form", ["gradient", "residual"])
def test_exact_trace_is_that_of_the_jacobian(form: Literal["gradient", "residual"]) -> None:
    estimator = ImplicitScoreMatching(3, form=form, standardisation="fixed", scale=1.0, **SMALL)
    x = torch.randn(5, 3)
    jacobians = [torch.autograd.functional.jacobian(lambda p: estimator.network(p.view(1, 1, 3), None).view(3), point) for point in x]
    field = estimator.network(x[None], None)[0]
    expected = (0.5 * field.square().sum(-1) + torch.stack([jacobian.trace() for jacobian in jacobians])).mean()
    torch.testing.assert_close(estimator.loss(x, centre=torch.zeros(3)), expected)


def test_sliced_trace_is_unbiased_and_noisier_than_exact() -> None:
    sliced = ImplicitScoreMatching(3, trace="sliced", standardisation="fixed", scale=1.0, **SMALL)
    exact = ImplicitScoreMatching(3, trace="exact", standardisation="fixed", scale=1.0, **SMALL)
    exact.load_state_dict(sliced.state_dict())
    x, centre = torch.randn(50, 3), torch.zeros(3)
    draws = torch.stack([sliced.loss(x, centre=centre).detach() for _ in range(500)])
    assert draws.std() > 0.01 * abs(draws.mean())  # and the exact one has no noise at all: it draws none
    assert abs(draws.mean() - exact.loss(x, centre=centre)) < 4 * draws.std() / 500**0.5


@ALL
@pytest.mark.parametrize("standardisation", ["fixed", "per_context", "amortised"])
def test_the_loss_trains_every_parameter_and_leaves_the_sampler_alone(name: str, standardisation: str) -> None:
    estimator = MAKERS[name](2, 3, standardisation=standardisation, scale=2.0, **SMALL)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    samples, centre = torch.randn(4, 6, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    estimator.loss(samples, torch.randn(4, 3), centre=centre).backward()
    assert samples.grad is None and centre.grad is None
    silent = {key.replace("network.network", "network") for key, p in estimator.named_parameters() if p.grad is None or not p.grad.any()}
    constant_of_a_potential = {"network.out.bias"} if estimator.form == "gradient" else set()
    sigma_it_is_not_conditioned_on = set() if name == "ardae" else {"network.body.from_sigma"}
    assert silent == constant_of_a_potential | sigma_it_is_not_conditioned_on


@ALL
def test_contexts_do_not_mix(name: str) -> None:
    estimator = MAKERS[name](2, 3, standardisation="amortised", **SMALL)
    context, x = torch.randn(4, 3), torch.randn(4, 5, 2)
    frame = estimator.frame(x, context=context)
    together = estimator.score(x, context, frame=frame)
    for i in range(4):
        one = slice(i, i + 1)
        alone = estimator.score(x[one], context[one], frame=estimator.frame(x[one], context=context[one]))
        torch.testing.assert_close(alone, together[one])


@ALL
@pytest.mark.parametrize("method", ["loss", "frame"])
def test_mismatched_shapes_are_explained(name: str, method: str) -> None:
    estimator = MAKERS[name](2, 3, standardisation="amortised", **SMALL)
    call = (lambda x, c: estimator.loss(x, c)) if method == "loss" else (lambda x, c: estimator.frame(x, context=c))
    with pytest.raises(ValueError, match=r"samples must have shape \(contexts, samples per context, 2\), got \(4, 5, 3\)"):
        call(torch.zeros(4, 5, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"context must have shape \(4, 3\) for x of shape \(4, 5, 2\), got None"):
        call(torch.zeros(4, 5, 2), None)


@ALL
def test_samples_that_are_not_finite_are_refused(name: str) -> None:
    samples = torch.randn(4, 5, 2)
    samples[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="samples must be finite, got 1 NaN or infinite of 40"):
        MAKERS[name](2, 3, **SMALL).loss(samples, torch.randn(4, 3))


@pytest.mark.parametrize("maker", [ResidualDAE, ReconstructionDAE])
def test_a_noise_level_must_be_positive(maker: Callable[..., ScoreEstimator]) -> None:
    with pytest.raises(ValueError, match=r"sigma must be greater than 0, got 0"):
        maker(2, sigma=0.0)


def test_an_unknown_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="trace must be 'exact' or 'sliced', got 'hutch'"):
        ImplicitScoreMatching(2, trace="hutch")  # type: ignore[arg-type]


def test_a_reconstruction_is_of_the_clean_sample_summed_over_dimensions(float64: None) -> None:
    """E ||r(x + sigma v) - x||^2, r the network's outputs whatever form is the default."""
    estimator, x = ReconstructionDAE(3, sigma=0.5, width=8, standardisation="fixed", scale=2.0), torch.randn(1, 7, 3)
    assert estimator.form == "residual"
    v = torch.randn(1, 7, 3)
    loss = estimator.loss(x, centre=torch.zeros(1, 3), normal=lambda *shape: v)
    clean = 2.0 * x
    torch.testing.assert_close(loss, (estimator.network(clean + 0.5 * v, None) - clean).square().sum(-1).mean())


def test_a_slice_of_the_jacobian_is_its_quadratic_form(float64: None) -> None:
    matrix, points, v = torch.randn(3, 3), torch.randn(1, 5, 3, requires_grad=True), torch.randn(1, 5, 3)
    torch.testing.assert_close(_directional_slope(points @ matrix.T, points, v), torch.einsum("bki,ij,bkj->bk", v, matrix, v))


def test_noise_has_the_networks_precision() -> None:
    assert ARDAE(2, width=4).float()._normal(None, torch.device("cpu"))(3).dtype == torch.float32


def test_help_shows_the_options_with_their_types() -> None:
    shown = inspect.signature(ARDAE).parameters
    assert list(shown)[:2] == ["dim", "context_dim"] and shown["width"].annotation in (int, "int") and shown["width"].default == 256

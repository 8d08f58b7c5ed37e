"""Sample-based scores against their definitions in plain loops, their error against theory, and the laws they obey."""

import math
import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ardae_rl.score import kernel
from ardae_rl.score.kernel import KernelDensityScore, SpectralSteinScore, SteinScore

pytestmark = pytest.mark.usefixtures("float64")

Estimator = KernelDensityScore | SteinScore | SpectralSteinScore
DEFAULTS: list[Estimator] = [KernelDensityScore(), SteinScore(), SpectralSteinScore()]
each_estimator = pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda estimator: type(estimator).__name__)


# Slow twins: one context, one point at a time, every derivative by autograd.


def loop_kernel(x: Tensor, y: Tensor, h: float) -> Tensor:
    return torch.exp(-((x - y) ** 2).sum() / (2 * h**2))


def loop_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at), at)[0]


def loop_density_score(x: Tensor, samples: Tensor, h: float) -> Tensor:
    def log_density(point: Tensor) -> Tensor:
        return torch.log(sum((loop_kernel(point, sample, h) for sample in samples), torch.zeros(())))

    return torch.stack([loop_gradient(log_density, point) for point in x])


def loop_gram(samples: Tensor, h: float) -> Tensor:
    return torch.stack([torch.stack([loop_kernel(a, b, h) for b in samples]) for a in samples])


def loop_stein_term(x: Tensor, samples: Tensor, h: float) -> Tensor:
    """sum_m grad_{x_m} k(x, x_m) for each point."""
    score = torch.zeros_like(x)
    for point, row in zip(x, score, strict=True):
        for sample in samples:
            row += loop_gradient(partial(loop_kernel, point, h=h), sample)
    return score


def loop_spectral_score(x: Tensor, samples: Tensor, h: float, count: int) -> Tensor:
    values, vectors = torch.linalg.eigh(loop_gram(samples, h))
    score = torch.zeros_like(x)
    for j in range(1, count + 1):

        def eigenfunction(point: Tensor, j: int = j) -> Tensor:
            terms = [u * loop_kernel(point, sample, h) for u, sample in zip(vectors[:, -j], samples, strict=True)]
            return math.sqrt(len(samples)) / values[-j] * sum(terms, torch.zeros(()))

        beta = -torch.stack([loop_gradient(eigenfunction, sample) for sample in samples]).mean(0)
        score += torch.stack([eigenfunction(point) * beta for point in x])
    return score


def loop_median(samples: Tensor) -> float:
    """Median of ||x_m - x_n|| over m < n, the lower of two middle values."""
    distances = sorted(float((samples[m] - samples[n]).norm()) for m in range(len(samples)) for n in range(m + 1, len(samples)))
    return distances[(len(distances) - 1) // 2]


def assert_close(actual: Tensor, expected: Tensor, rtol: float = 1e-9) -> None:
    """Relative to the largest entry: entries near a zero of the score keep no relative accuracy."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=rtol * float(expected.abs().max()))


@pytest.mark.parametrize("dim", [1, 3])
def test_kernel_density_score_is_the_gradient_of_the_log_density(dim: int) -> None:
    x, samples = torch.randn(5, dim), 1.5 * torch.randn(20, dim) + 1
    assert_close(KernelDensityScore(bandwidth=0.7).score(x, samples), loop_density_score(x, samples, 0.7))


@pytest.mark.parametrize("dim", [1, 3])
def test_stein_score_at_the_samples_is_the_ridge_solution(dim: int) -> None:
    samples = 1.5 * torch.randn(15, dim) + 1
    damped = loop_gram(samples, 0.7) + 0.3 * torch.eye(15)
    expected = -torch.linalg.solve(damped, loop_stein_term(samples, samples, 0.7))
    assert_close(SteinScore(bandwidth=0.7, regularisation=0.3).score(samples, samples), expected)


@pytest.mark.parametrize("dim", [1, 3])
def test_stein_score_elsewhere_solves_the_regularised_identity(dim: int) -> None:
    """eta f(x) + sum_m k(x, x_m) f(x_m) = -z(x) at every x."""
    x, samples, h, eta = torch.randn(5, dim), 1.5 * torch.randn(15, dim) + 1, 0.7, 0.3
    estimator = SteinScore(bandwidth=h, regularisation=eta)
    at_samples = estimator.score(samples, samples)
    operator = torch.stack([sum((loop_kernel(p, s, h) * g for s, g in zip(samples, at_samples, strict=True)), torch.zeros(dim)) for p in x])
    assert_close(eta * estimator.score(x, samples) + operator, -loop_stein_term(x, samples, h))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
def test_spectral_score_is_the_expansion_in_eigenfunctions(dim: int, count: int) -> None:
    x, samples = torch.randn(5, dim), 1.5 * torch.randn(15, dim) + 1
    assert_close(SpectralSteinScore(bandwidth=0.7, eigenvectors=count).score(x, samples), loop_spectral_score(x, samples, 0.7, count))


@pytest.mark.parametrize("explained", [0.5, 0.9, 0.99, 1.0])
def test_explained_takes_the_fewest_eigenvectors_that_reach_the_fraction(explained: float) -> None:
    samples = torch.randn(12, 2)
    values = torch.linalg.eigvalsh(loop_gram(samples, 0.5)).flip(0).tolist()
    fewest = next(count for count in range(1, 13) if count == 12 or sum(values[:count]) >= explained * sum(values))
    by_fraction = SpectralSteinScore(bandwidth=0.5, explained=explained).score(samples, samples)
    assert_close(by_fraction, SpectralSteinScore(bandwidth=0.5, eigenvectors=fewest).score(samples, samples))


def test_all_eigenvectors_give_the_stein_score_without_ridge() -> None:
    """Up to eta / lambda_min from below, and rounding / eta from above."""
    samples = torch.arange(8.0)[:, None] + 0.1 * torch.randn(8, 1)
    spectral = SpectralSteinScore(bandwidth=0.5, eigenvectors=8).score(samples, samples)
    assert_close(spectral, SteinScore(bandwidth=0.5, regularisation=1e-8).score(samples, samples), rtol=1e-6)


def test_null_directions_of_a_singular_kernel_matrix_are_left_out() -> None:
    samples = torch.randn(6, 2).repeat(2, 1)
    x = torch.randn(4, 2)
    all_of_them = SpectralSteinScore(bandwidth=0.5, eigenvectors=12).score(x, samples)
    assert_close(all_of_them, SpectralSteinScore(bandwidth=0.5, eigenvectors=6).score(x, samples))


@pytest.mark.parametrize("count", [7, 8, 10])  # 21, 28 and 45 pairs: odd and even
@pytest.mark.parametrize("make", [SteinScore, SpectralSteinScore])
def test_default_bandwidth_is_the_median_distance(make: type[SteinScore] | type[SpectralSteinScore], count: int) -> None:
    x, samples = torch.randn(3, 2), torch.randn(count, 2)
    assert_close(make().score(x, samples), make(bandwidth=loop_median(samples)).score(x, samples))


@pytest.mark.parametrize(("dim", "chi_median"), [(1, 0.67448975), (4, 1.83212827)])
def test_default_bandwidth_of_the_density_is_the_normal_reference_rule(dim: int, chi_median: float) -> None:
    """``chi_median``: of the norm of N(0, I_D), which the estimator approximates."""
    x, samples = torch.randn(3, dim), 5 * torch.randn(80, dim)
    spread = loop_median(samples) / (math.sqrt(2) * chi_median)
    h = spread * (4 / ((dim + 4) * 80)) ** (1 / (dim + 6))
    assert_close(KernelDensityScore().score(x, samples), KernelDensityScore(bandwidth=h).score(x, samples), rtol=0.03)


# Error against the truth.


def gaussian(contexts: int, count: int, dim: int) -> Tensor:
    return torch.randn(contexts, count, dim)


def gaussian_score(x: Tensor) -> Tensor:
    return -x


def mixture(contexts: int, count: int, dim: int) -> Tensor:
    """Half N(2, 0.5^2), half N(-2, 0.5^2)."""
    return 4.0 * torch.randint(0, 2, (contexts, count, dim)) - 2 + 0.5 * torch.randn(contexts, count, dim)


def mixture_score(x: Tensor) -> Tensor:
    right = torch.sigmoid(4 * x / 0.25)
    return (right * (2 - x) + (1 - right) * (-2 - x)) / 0.25


LAWS = {"gaussian": (gaussian, gaussian_score), "mixture": (mixture, mixture_score)}


def relative_error(estimator: Estimator, law: str, dim: int, count: int, contexts: int) -> float:
    """Root of E||f - score||^2 / E||score||^2 over fresh points of the law, averaged over independent sample sets."""
    draw, score = LAWS[law]
    x, samples = draw(contexts, 400, dim), draw(contexts, count, dim)
    error = (estimator.score(x, samples) - score(x)).square().sum()
    return float((error / score(x).square().sum()).sqrt())


# Bands: mean over seeds 0 to 11, plus and minus about 4 standard deviations between seeds.
ACCURACY = [  # estimator, law, dimension, band of the relative error at M = 400, band of the log-log slope over 64 <= M <= 1024
    (KernelDensityScore(), "gaussian", 1, (0.165, 0.285), (-0.41, -0.12)),
    (KernelDensityScore(), "gaussian", 3, (0.37, 0.46), (-0.22, -0.11)),
    (KernelDensityScore(bandwidth=0.22), "mixture", 1, (0.22, 0.35), (-0.51, -0.30)),
    (SteinScore(), "gaussian", 1, (0.16, 0.32), (-0.49, -0.16)),
    (SteinScore(), "gaussian", 3, (0.17, 0.29), (-0.36, -0.21)),
    (SteinScore(regularisation=0.1), "mixture", 1, (0.22, 0.35), (-0.37, -0.07)),
    (SpectralSteinScore(), "gaussian", 1, (0.19, 0.355), (-0.60, -0.16)),
    (SpectralSteinScore(), "gaussian", 3, (0.23, 0.34), (-0.57, -0.31)),
    (SpectralSteinScore(explained=0.999), "mixture", 1, (0.28, 0.375), (-0.32, -0.04)),
]


@pytest.mark.parametrize(("estimator", "law", "dim", "error", "slope"), ACCURACY)
def test_error_and_its_decay_are_those_measured(
    estimator: Estimator, law: str, dim: int, error: tuple[float, float], slope: tuple[float, float]
) -> None:
    assert error[0] < relative_error(estimator, law, dim, 400, contexts=8) < error[1]
    few, many = (relative_error(estimator, law, dim, count, contexts) for count, contexts in ((64, 16), (1024, 4)))
    assert slope[0] < math.log(many / few) / math.log(16) < slope[1]


def log_log_slope(counts: list[int], errors: list[float]) -> float:
    a, b = torch.tensor(counts).log(), torch.tensor(errors).log()
    return float(((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum())


def test_density_score_at_fixed_bandwidth_tends_to_that_of_the_blurred_law_at_the_monte_carlo_rate() -> None:
    """N(0, 1) blurred by h has score -x / (1 + h^2)."""
    x, counts = torch.linspace(-1.5, 1.5, 13)[:, None].expand(300, -1, -1), [100, 400, 1600]
    scores = [KernelDensityScore(bandwidth=0.5).score(x, torch.randn(300, count, 1)) for count in counts]
    errors = [float((score + x / 1.25).square().mean().sqrt()) for score in scores]
    assert -0.57 < log_log_slope(counts, errors) < -0.47  # 1/2, and a little more from terms of order 1 / M
    assert errors[-1] < 0.06


def test_density_score_at_default_bandwidth_has_the_optimal_rate() -> None:
    """M^(-2 / (D + 6)), here D = 1, where the density is not small: bias and noise of the rule shrink together."""
    x, counts = torch.linspace(-1.5, 1.5, 13)[:, None].expand(100, -1, -1), [50, 200, 800]
    errors = [float((KernelDensityScore().score(x, torch.randn(100, count, 1)) + x).square().mean().sqrt()) for count in counts]
    assert -2 / 7 - 0.08 < log_log_slope(counts, errors) < -2 / 7 + 0.08


# Laws.


@each_estimator
@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e3, 1e8, 1e16])
def test_score_moves_with_shift_rotation_and_scale(estimator: Estimator, scale: float) -> None:
    x, samples = torch.randn(6, 3), torch.randn(40, 3) * torch.tensor([0.3, 1.0, 2.0])
    rotation, shift = torch.linalg.qr(torch.randn(3, 3)).Q, 10 * scale * torch.randn(3)
    moved = estimator.score(scale * x @ rotation + shift, scale * samples @ rotation + shift)
    assert_close(moved, estimator.score(x, samples) @ rotation / scale, rtol=1e-8)


@each_estimator
def test_a_large_shift_costs_no_digits(estimator: Estimator) -> None:
    """Points on a grid of 1/1024 near 2^30 are exact in float64."""
    x, samples, shift = torch.randint(-2048, 2048, (6, 2)) / 1024, torch.randint(-2048, 2048, (40, 2)) / 1024, 2.0**30
    assert_close(estimator.score(x + shift, samples + shift), estimator.score(x, samples))


@each_estimator
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e16])
def test_units_do_not_matter_in_single_precision(estimator: Estimator, scale: float) -> None:
    """Squares of these are 0 or nearly infinite in float32."""
    x, samples = torch.randn(6, 100), torch.randn(40, 100)
    moved = estimator.score((scale * x).float(), (scale * samples).float())
    assert moved.dtype == torch.float32
    assert_close(scale * moved.double(), estimator.score(x, samples), rtol=1e-3)


@each_estimator
@pytest.mark.parametrize("outlier", [1e8, 1e17])
def test_one_far_sample_costs_the_others_no_digits(estimator: Estimator, outlier: float) -> None:
    """As with one that is only just out of reach, in single precision."""
    x, samples = torch.randn(6, 2), torch.randn(40, 2)
    near, far = (torch.cat([samples, torch.full((1, 2), distance)]) for distance in (1e3, outlier))
    assert_close(estimator.score(x.float(), far.float()).double(), estimator.score(x, near), rtol=1e-4)


@each_estimator
def test_a_context_far_from_zero_gives_its_score_or_an_error(estimator: Estimator) -> None:
    """At 1e8 float32 knows every eighth number: a law of width 1 is a point there, one of width 3 nearly, and one of width 1000 is not."""
    x, samples = torch.randn(6, 1), torch.randn(400, 1)
    for width, message in ((1, "all samples are equal in context 0"), (3, "coincide in context 0")):
        with pytest.raises(ValueError, match=message):
            estimator.score((width * x + 1e8).float(), (width * samples + 1e8).float())
    moved = estimator.score((1000 * x + 1e8).float(), (1000 * samples + 1e8).float())
    assert_close(1000 * moved.double(), estimator.score(x, samples), rtol=0.1)


def test_the_default_bandwidth_of_many_samples_is_that_of_all_of_them() -> None:
    """Within 4 of its standard errors, 1.5% for N(0, 1); modes that come in turn are all seen; and the same at every call."""
    gaussian, modes = torch.randn(1, 6000, 1), torch.tensor([0.0, 10.0]).repeat(2000)[None, :, None] + torch.randn(1, 4000, 1)
    assert abs(float(kernel._median_distance(gaussian)) / (math.sqrt(2) * 0.67448975) - 1) < 0.06
    assert float(kernel._median_distance(modes)) > 2  # 0.95 if every second were seen, and so one mode
    assert torch.equal(kernel._median_distance(modes), kernel._median_distance(modes))


def test_near_neighbours_in_distant_clusters_keep_their_digits() -> None:
    samples = 0.01 * torch.randn(10, 2) + torch.tensor([-1e4, 1e4]).repeat(5)[:, None]
    x = samples + 0.01 * torch.randn(10, 2)
    assert_close(KernelDensityScore(bandwidth=0.01).score(x, samples), loop_density_score(x, samples, 0.01), rtol=1e-7)


@each_estimator
def test_a_law_on_a_plane_is_legal_and_has_no_score_across_it(estimator: Estimator) -> None:
    samples, x = torch.randn(30, 3), torch.randn(5, 3)
    samples[:, 1] = x[:, 1] = 0.7
    score = estimator.score(x, samples)
    assert score[:, 1].abs().max() < 1e-12 * score.abs().max()


@each_estimator
def test_contexts_together_equal_contexts_one_by_one(estimator: Estimator) -> None:
    scale = torch.tensor([1e-3, 1.0, 50.0])[:, None, None]
    x, samples = scale * torch.randn(3, 7, 2) + 1, scale * torch.randn(3, 30, 2) + 1
    together = estimator.score(x, samples)
    for context in range(3):
        assert_close(together[context], estimator.score(x[context], samples[context]))


@each_estimator
def test_far_from_the_samples(estimator: Estimator) -> None:
    samples, x = torch.randn(20, 2), torch.tensor([[1e3, 0.0], [0.0, -1e4]])
    score = estimator.score(x, samples)
    if isinstance(estimator, KernelDensityScore):
        assert ((score * x).sum(-1) < -(x.square().sum(-1))).all()  # pulled back, more steeply than by N(0, I)
    else:
        assert (score == 0).all()


@each_estimator
def test_splitting_into_chunks_and_groups_changes_nothing(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, samples = torch.randn(5, 11, 2), torch.randn(5, 10, 2)
    whole = estimator.score(x, samples)
    monkeypatch.setattr(kernel, "_MAX_KERNEL_ENTRIES", 200)  # two contexts and ten points at a time
    assert_close(estimator.score(x, samples), whole)


@each_estimator
def test_the_estimate_is_a_constant_for_autograd_in_the_dtype_of_the_samples(estimator: Estimator) -> None:
    x, samples = torch.randn(5, 2, requires_grad=True), torch.randn(50, 2, requires_grad=True)
    double, single = estimator.score(x, samples), estimator.score(x, samples.float())
    assert not double.requires_grad
    assert (double.dtype, single.dtype) == (torch.float64, torch.float32)
    assert_close(single.double(), double, rtol=1e-2)


# Mistakes.


@each_estimator
@pytest.mark.parametrize(
    ("x", "samples"), [((4, 2), (9, 3)), ((4, 2), (1, 9, 2)), ((2, 4, 2), (3, 9, 2)), ((4,), (9,)), ((1, 2, 4, 2), (1, 2, 9, 2))]
)
def test_shapes_that_do_not_match_are_refused(estimator: Estimator, x: tuple[int, ...], samples: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"must have shapes .* got {re.escape(f'{x} and {samples}')}"):
        estimator.score(torch.randn(x), torch.randn(samples))


@pytest.mark.parametrize(("estimator", "needed"), [*((e, 2) for e in DEFAULTS), (SpectralSteinScore(eigenvectors=6), 6)])
def test_too_few_samples_are_refused(estimator: Estimator, needed: int) -> None:
    assert estimator.score(torch.randn(3, 1), torch.randn(needed, 1)).isfinite().all()
    with pytest.raises(ValueError, match=f"needs at least {needed} samples per context, got {needed - 1}"):
        estimator.score(torch.randn(3, 1), torch.randn(needed - 1, 1))


@each_estimator
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(estimator: Estimator, bad: float) -> None:
    samples = torch.randn(4, 9, 2)
    samples[1, 3, 0] = samples[3, 0, 1] = bad
    with pytest.raises(ValueError, match="samples must be finite, got 2 NaN or infinite of 72 numbers, in context 1, 3"):
        estimator.score(torch.randn(4, 5, 2), samples)
    with pytest.raises(ValueError, match=rf"x must be finite .* got {bad} bandwidths in context 1, 3\."):
        estimator.score(samples, torch.randn(4, 9, 2))


@each_estimator
@pytest.mark.parametrize("bad", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_other_types_are_refused(estimator: Estimator, bad: torch.dtype) -> None:
    x, other = torch.randn(5, 2), torch.ones(5, 2, dtype=bad)
    with pytest.raises(TypeError, match=rf"samples must be float32 or float64, got {bad}"):
        estimator.score(x, other)
    with pytest.raises(TypeError, match=rf"x must be float32 or float64, got {bad}"):
        estimator.score(other, x)


@each_estimator
@pytest.mark.parametrize(("x", "samples", "name"), [((0, 2), (9, 2), "x"), ((4, 2), (0, 2), "samples"), ((0, 4, 2), (0, 9, 2), "samples")])
def test_nothing_is_refused(estimator: Estimator, x: tuple[int, ...], samples: tuple[int, ...], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must hold at least one number"):
        estimator.score(torch.zeros(x), torch.zeros(samples))


@each_estimator
def test_points_on_another_device_are_refused(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match="x must be on the device of the estimator, cpu, got meta"):
        estimator.score(torch.zeros(4, 2, device="meta"), torch.randn(9, 2))


@each_estimator
def test_what_is_too_far_for_its_squares_is_refused(estimator: Estimator) -> None:
    x, samples = torch.randn(5, 2), torch.randn(9, 2)
    with pytest.raises(ValueError, match=r"samples must be smaller than 1e\+18 in size, got 1e\+30 in context 0"):
        estimator.score(x, torch.cat([samples, torch.full((1, 2), 1e30)]))
    with pytest.raises(ValueError, match=r"x must be .* within 1e\+18 bandwidths .*, got \d\.\d*e\+30 bandwidths in context 0"):
        estimator.score(x + 5e30, samples)
    with pytest.raises(ValueError, match=r"samples must be .* within 1e\+18 bandwidths"):
        type(estimator)(bandwidth=1e-60).score(x.float(), samples.float())


@pytest.mark.parametrize(("estimator", "gigabytes"), [(SteinScore(), "14,901"), (SpectralSteinScore(), "29,802")])
def test_samples_whose_matrices_no_machine_holds_are_refused_at_once(estimator: Estimator, gigabytes: str) -> None:
    samples = torch.randn(1_000_000, 1)
    with pytest.raises(ValueError, match=rf"1,000,000 samples need \d matrices .*, {gigabytes} GiB, but cpu has .*Pass a random part"):
        estimator.score(samples[:10], samples)
    assert KernelDensityScore().score(samples[:10], samples).isfinite().all()


@each_estimator
def test_a_context_without_variance_is_refused(estimator: Estimator) -> None:
    samples = torch.randn(4, 9, 2)
    samples[2] = samples[2, 0]
    with pytest.raises(ValueError, match="all samples are equal in context 2: a distribution without variance"):
        estimator.score(torch.randn(4, 5, 2), samples)


@each_estimator
def test_a_median_distance_of_zero_is_refused_and_a_bandwidth_helps(estimator: Estimator) -> None:
    x, samples = torch.randn(1, 5, 2), torch.zeros(1, 9, 2)
    samples[0, 0] = 1.0
    with pytest.raises(ValueError, match=r"half of the pairs of samples coincide in context 0.*Pass bandwidth"):
        estimator.score(x, samples)
    assert type(estimator)(bandwidth=1.0).score(x, samples).isfinite().all()


@each_estimator
def test_errors_number_contexts_as_the_caller_does(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not within the group that they are computed in."""
    monkeypatch.setattr(kernel, "_MAX_KERNEL_ENTRIES", 200)  # two contexts at a time
    samples = torch.randn(5, 9, 2)
    samples[3, 1:] = 0
    with pytest.raises(ValueError, match="coincide in context 3,"):
        estimator.score(torch.randn(5, 4, 2), samples)


def test_a_ridge_lost_in_rounding_is_refused() -> None:
    samples = torch.randn(200, 1, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"regularisation 1e-12 is singular to torch.float32\. Raise regularisation"):
        SteinScore(regularisation=1e-12).score(samples, samples)


@pytest.mark.parametrize("make", [KernelDensityScore, SteinScore, SpectralSteinScore])
@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan, math.inf])
def test_bandwidth_must_be_positive(make: Callable[..., Estimator], bandwidth: float) -> None:
    with pytest.raises(ValueError, match=f"bandwidth must be a number above 0.* got {bandwidth}"):
        make(bandwidth=bandwidth)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_regularisation_must_be_positive(value: float) -> None:
    with pytest.raises(ValueError, match=f"regularisation.* must be a number above 0, got {value}"):
        SteinScore(regularisation=value)


def test_number_of_eigenvectors_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"eigenvectors must be at least 1.* got 0"):
        SpectralSteinScore(eigenvectors=0)


@pytest.mark.parametrize("value", [0.0, 1.1, math.nan])
def test_explained_must_be_a_fraction(value: float) -> None:
    with pytest.raises(ValueError, match=rf"must lie in \(0, 1\], got {value}"):
        SpectralSteinScore(explained=value)

"""Time and memory of the sample-based scores are those that their docstrings give, as functions of points N, samples M and dimension D."""

import math

import pytest
import torch

from ardae_rl.score import kernel
from ardae_rl.score.kernel import KernelDensityScore, SpectralSteinScore, SteinScore
from tests.score.cost import Call, growth, largest_tensor, operations, peak_bytes

pytestmark = pytest.mark.usefixtures("float64")

Estimator = KernelDensityScore | SteinScore | SpectralSteinScore
GIVEN: list[Estimator] = [KernelDensityScore(bandwidth=1.0), SteinScore(bandwidth=1.0), SpectralSteinScore(bandwidth=1.0)]
MIB = 2**20


def call(estimator: Estimator, points: int, samples: int, dim: int = 3, contexts: int = 1) -> Call:
    x, known = torch.randn(contexts, points, dim), torch.randn(contexts, samples, dim)
    return lambda: estimator.score(x, known)


def documented(estimator: Estimator, n: int, m: int, d: int) -> float:
    """Operations per context."""
    match estimator:
        case KernelDensityScore():
            return n * m * (2 * d + 3)
        case SteinScore():
            return m**3 / 3 + m**2 * (4 * d + 3) + n * m * (3 * d + 3)
        case SpectralSteinScore():
            return 10 * m**3 + n * m * (2 * d + 3)


@pytest.mark.parametrize("estimator", GIVEN, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(("n", "m", "d"), [(2000, 250, 3), (2000, 1000, 3), (250, 1000, 3), (2000, 250, 30)])
def test_operations_are_those_of_the_docstring(estimator: Estimator, n: int, m: int, d: int) -> None:
    assert 0.95 < operations(call(estimator, n, m, d)) / documented(estimator, n, m, d) < 1.05


@pytest.mark.parametrize(("estimator", "order"), list(zip(GIVEN, (2, 8, 8), strict=True)))
def test_operations_grow_with_the_samples_as_documented(estimator: Estimator, order: int) -> None:
    assert 0.85 * order < growth(operations, lambda m: call(estimator, 100, m), 500) < 1.1 * order
    assert 1.9 < growth(operations, lambda n: call(estimator, n, 20), 10_000) < 2.1
    assert 1.9 < growth(operations, lambda b: call(estimator, 10, 100, contexts=b), 20) < 2.1


@pytest.mark.parametrize(("estimator", "matrices"), [(SteinScore(bandwidth=1.0), 2), (SpectralSteinScore(bandwidth=1.0), 4)])
def test_memory_is_the_documented_number_of_matrices(estimator: Estimator, matrices: int) -> None:
    for m in (500, 1000):
        assert matrices - 0.05 < peak_bytes(call(estimator, 10, m)) / (8 * m**2) < matrices + 0.1


def test_memory_of_the_kernel_density_is_bounded() -> None:
    """With the default bandwidth: M^2 numbers would be 763 MiB, N M of them 153."""
    assert 0.98 < growth(peak_bytes, lambda m: call(KernelDensityScore(), 2000, m), 5000) < 1.02
    assert peak_bytes(call(KernelDensityScore(), 2000, 10_000)) < 80 * MIB


@pytest.mark.parametrize("estimator", [KernelDensityScore(), SteinScore(), SpectralSteinScore()], ids=lambda each: type(each).__name__)
def test_points_and_contexts_take_no_memory_beyond_their_own(estimator: Estimator) -> None:
    """Contexts whose kernel matrices together would take 95 MiB each, points whose kernels with the samples would take 76."""
    assert 40 * MIB < peak_bytes(call(estimator, 25, 250, dim=1, contexts=200)) < 130 * MIB
    assert largest_tensor(call(estimator, 10_000, 1000, dim=2)) <= kernel._MAX_KERNEL_ENTRIES < 10_000 * 1000


def test_the_default_bandwidth_takes_no_more_for_more_samples() -> None:
    """Beyond 2000 of them, but for putting them in order: the rest is as with a bandwidth that was given."""
    default, given = KernelDensityScore(), KernelDensityScore(bandwidth=1.0)
    extra = [operations(call(default, 10, m)) - operations(call(given, 10, m)) for m in (4000, 8000)]
    assert math.isclose(*extra, rel_tol=0.01)
    assert 3 * 2000**2 < extra[0] < 5 * 2000**2
    assert 3.9 < growth(operations, lambda m: call(KernelDensityScore(), 1, m), 1000) < 4.1

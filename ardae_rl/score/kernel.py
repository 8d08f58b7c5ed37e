"""Estimate a score from samples alone: no network, no training. The sample-based rivals of AR-DAE.

Notation: B contexts, M samples per context, N points per context, D dimension; samples x_m, points x, bandwidth h in units of x.
k(x, y) = exp(-||x - y||^2 / (2 h^2)); K (M, M) is k of the samples; z(x) = sum_m grad_{x_m} k(x, x_m) = sum_m k(x, x_m) (x - x_m) / h^2,
Z (M, D) its values at the samples.
Identity: Stein's, E_p[k(x, y) grad log p(y) + grad_y k(x, y)] = 0 for every x, so the scores G at the samples solve K G = -Z up to noise.
SteinScore and SpectralSteinScore solve that system, damped and truncated; KernelDensityScore differentiates a density estimate.
Default bandwidth: the median heuristic, h = median of ||x_m - x_n|| over the pairs m < n of a context (the lower of two middle values).
Of more than 2000 samples it takes 2000, the same at every call, and h is 1 to 2% off. KernelDensityScore shrinks it with M.
Everything is done in (x - median) / h, so that the estimates move with a shift, a rotation, and (default bandwidth) a scale of the data.
Cost: each class says its own, per context, beyond what x and the samples take. The default bandwidth adds D min(M, 2000)^2 operations.
Where no matrix of M^2 numbers is needed the work is done in parts, of 128 MiB in float64 at most. More contexts take more time alone.
Errors: TypeError unless x and samples are float32 or float64. ValueError for shapes that do not match, empty tensors, two devices; too few
samples; NaN, infinity, more than 1e18 bandwidths between x and samples; samples that are all equal, or half of their pairs (default
bandwidth); more samples than the machine can hold M^2 numbers of.
Not here: log-densities, gradients through the estimate (it is a constant for autograd), choosing h by cross-validation.
References: [Parzen1962] Annals of Mathematical Statistics 33(3); [Li2018] arXiv:1705.07107; [Shi2018] arXiv:1806.02925;
[Zhou2020] arXiv:2005.10099; [Chacon2011] Statistica Sinica 21(2).
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ardae_rl.score.checks import LARGEST, _where, check_form, check_values

Field = Callable[[Tensor], Tensor]

_MAX_KERNEL_ENTRIES = 2**22  # of any one kernel matrix (32 MiB in float64), unless M^2 alone is more
_MEDIAN_SAMPLES = 2000  # whose pairs set the default bandwidth


@dataclass(frozen=True, kw_only=True)
class KernelDensityScore:
    """Score of the Gaussian kernel density estimate p^(x) = (1/M) sum_m N(x; x_m, h^2 I) of [Parzen1962].

    f(x) = grad log p^(x) = sum_m w_m(x) (x_m - x) / h^2, w(x) = softmax_m(-||x - x_m||^2 / (2 h^2)). Needs 2 samples per context.
    ``bandwidth``: h > 0 in units of x. None takes the normal reference rule for the gradient of a density ([Chacon2011]),
    h = S (4 / ((D + 4) M))^(1 / (D + 6)), with the scale S read off the median distance: S = median / (sqrt(2 D) (1 - 2 / (9 D))^(3/2)),
    the denominator being the median for N(0, I) after Wilson and Hilferty. The bare median would not shrink with M, and the estimate
    would stay that of a blurred law. Distant modes raise S and blur too: pass h where they are known.
    Time: N M (2 D + 3) operations. Memory: bounded, for any N and M.
    """

    bandwidth: float | None = None

    def __post_init__(self) -> None:
        _check_bandwidth(self.bandwidth)

    def score(self, x: Tensor, samples: Tensor) -> Tensor:
        """grad log p at ``x`` (N, D) from ``samples`` (M, D), or (B, N, D) from (B, M, D): one law per context.

        Returns the shape of x in units of 1/x, in the dtype of the samples. Raises what the module's docstring says.
        """
        return _evaluate(_kernel_density_field, x, samples, self._bandwidth, minimum=2)

    def _bandwidth(self, samples: Tensor) -> Tensor:
        if self.bandwidth is not None:
            return _fixed_bandwidth(samples, self.bandwidth)
        count, dim = samples.shape[1:]
        scale = _median_distance(samples) / ((2 * dim) ** 0.5 * (1 - 2 / (9 * dim)) ** 1.5)
        return scale * (4 / ((dim + 4) * count)) ** (1 / (dim + 6))


@dataclass(frozen=True, kw_only=True)
class SteinScore:
    """Stein gradient estimator of [Li2018]: ridge-regularised solution of Stein's identity. Needs 2 samples per context.

    At the samples G = -(K + eta I)^-1 Z. Elsewhere f(x) = -(z(x) + k(x, X) G) / eta, and f -> 0 far from the data. Why: write Stein's
    identity, averaged over the samples, as L f = -z / M with L f = (1/M) sum_m k(., x_m) f(x_m). Its Tikhonov solution,
    (L + eta / M) f = -z / M, is this f once its values f(x_m) are named G; read at the samples it gives G back ([Zhou2020], scalar kernel).
    ``bandwidth``: h > 0 in units of x, or None for the median heuristic. ``regularisation``: eta > 0; larger means smaller, smoother scores
    (of the powers of 10, 1 had the least worst error over Gaussians and a two-mode mixture at 400 samples).
    Use float64 samples: z and k G nearly cancel, and the difference is divided by eta.
    Time: M^3 / 3 + M^2 (4 D + 3) + N M (3 D + 3) operations.
    Memory: 2 matrices of M^2 numbers, 16 M^2 bytes in float64 (10,000 samples: 1.6 GB).
    """

    bandwidth: float | None = None
    regularisation: float = 1.0

    def __post_init__(self) -> None:
        _check_bandwidth(self.bandwidth)
        if not 0 < self.regularisation < math.inf:
            raise ValueError(f"regularisation, the ridge eta on the kernel matrix, must be a number above 0, got {self.regularisation!r}.")

    def score(self, x: Tensor, samples: Tensor) -> Tensor:
        """grad log p at ``x`` (N, D) from ``samples`` (M, D), or (B, N, D) from (B, M, D): one law per context.

        Returns the shape of x in units of 1/x, in the dtype of the samples. Raises what the module's docstring says, and
        ``ValueError`` on a regularisation below the rounding error of K.
        """
        fit = partial(_stein_field, regularisation=self.regularisation)
        return _evaluate(fit, x, samples, _median_or(self.bandwidth), minimum=2, matrices=2)


@dataclass(frozen=True, kw_only=True)
class SpectralSteinScore:
    """Spectral Stein gradient estimator (SSGE) of [Shi2018]: the score expanded in J eigenfunctions of the kernel.

    f(x) = sum_{j<=J} beta_j psi_j(x), beta_j = -(1/M) sum_m grad psi_j(x_m), psi_j(x) = sqrt(M) / lambda_j sum_m u_jm k(x, x_m) (Nystroem),
    K u_j = lambda_j u_j, largest first. Put together, f(x) = -k(x, X) sum_{j<=J} u_j u_j^T Z / lambda_j^2: at the samples the truncated
    counterpart of SteinScore's ridge. f -> 0 far from the data. Eigenvalues within rounding error of 0 are left out.
    ``bandwidth``: h > 0 in units of x, or None for the median heuristic.
    ``eigenvectors``: J >= 1, which asks for max(J, 2) samples or more; ``explained`` then has no say. None takes, context by context,
    the fewest whose eigenvalues sum to the fraction ``explained``, in (0, 1], of the trace of K.
    Time: about 10 M^3 + N M (2 D + 3) operations.
    Memory: 4 matrices of M^2 numbers, 32 M^2 bytes in float64 (10,000 samples: 3.2 GB).
    """

    bandwidth: float | None = None
    eigenvectors: int | None = None
    explained: float = 0.99

    def __post_init__(self) -> None:
        _check_bandwidth(self.bandwidth)
        if self.eigenvectors is not None and self.eigenvectors < 1:
            raise ValueError(f"eigenvectors must be at least 1, or None to choose their number by explained, got {self.eigenvectors!r}.")
        if not 0 < self.explained <= 1:
            raise ValueError(f"explained is the fraction of the kernel's trace to keep: it must lie in (0, 1], got {self.explained!r}.")

    def score(self, x: Tensor, samples: Tensor) -> Tensor:
        """grad log p at ``x`` (N, D) from ``samples`` (M, D), or (B, N, D) from (B, M, D): one law per context.

        Returns the shape of x in units of 1/x, in the dtype of the samples (use float64). Raises what the module's docstring says.
        """
        return _evaluate(self._field, x, samples, _median_or(self.bandwidth), minimum=max(2, self.eigenvectors or 0), matrices=4)

    def _field(self, unit: Tensor) -> Field:
        kernel = _kernel(unit, unit)
        values, vectors = torch.linalg.eigh(kernel)
        kept = self._kept(values.flip(-1)).flip(-1)
        inverse_square = torch.where(kept, values, torch.inf).pow(-2).unsqueeze(-1)
        weights = vectors @ (inverse_square * (vectors.mT @ _stein_term(kernel, unit, unit)))
        return lambda x: -(_kernel(x, unit) @ weights)

    def _kept(self, values: Tensor) -> Tensor:
        """Which of the eigenvalues (B, M), largest first, are used."""
        nonzero = values > values[:, :1] * values.shape[1] * torch.finfo(values.dtype).eps
        if self.eigenvectors is not None:
            return nonzero & (torch.arange(values.shape[1], device=values.device) < self.eigenvectors)
        before = values.cumsum(-1) - values
        return nonzero & (before < self.explained * values.sum(-1, keepdim=True))


def _median_distance(samples: Tensor) -> Tensor:
    """Median of ||x_m - x_n|| over the pairs m < n of each context, (B, 1, 1), in units of ``samples`` (B, M >= 2, D).

    For an even number of pairs, the lower of the two middle values. In float64, where no square of what was accepted is 0 or infinite.
    """
    few = _few(samples).double()
    first, second = torch.triu_indices(few.shape[1], few.shape[1], offset=1, device=few.device)
    return _distances(few, few)[:, first, second].median(-1).values.view(-1, 1, 1).to(samples)


def _few(samples: Tensor) -> Tensor:
    """At most _MEDIAN_SAMPLES of a context's samples, scattered: every n-th would see one mode of those that come in turn."""
    if samples.shape[1] <= _MEDIAN_SAMPLES:
        return samples
    scattered = torch.randperm(samples.shape[1], generator=torch.Generator().manual_seed(0), device="cpu")
    return samples[:, scattered[:_MEDIAN_SAMPLES].to(samples.device)]


def _median_or(bandwidth: float | None) -> Callable[[Tensor], Tensor]:
    return _median_distance if bandwidth is None else lambda samples: _fixed_bandwidth(samples, bandwidth)


def _fixed_bandwidth(samples: Tensor, bandwidth: float) -> Tensor:
    return samples.new_full((len(samples), 1, 1), max(bandwidth, torch.finfo(samples.dtype).tiny))


@torch.no_grad()
def _evaluate(
    fit: Callable[[Tensor], Field], x: Tensor, samples: Tensor, bandwidth: Callable[[Tensor], Tensor], *, minimum: int, matrices: int = 0
) -> Tensor:
    """Fit and evaluate in groups of contexts whose kernel matrices fit the memory bound; ``fit`` sees unit bandwidth.

    ``minimum`` samples are needed, and ``matrices`` of M^2 numbers must fit the memory at once.
    """
    _check_form(x, samples, minimum, matrices)
    points = x.to(samples.dtype)
    if x.dim() == 2:
        points, samples = points.unsqueeze(0), samples.unsqueeze(0)
    check_values(samples)
    size = max(1, _MAX_KERNEL_ENTRIES // samples.shape[1] ** 2)
    centre, width = samples.median(1, keepdim=True).values, torch.cat([bandwidth(group) for group in samples.split(size)])
    _check_width(width)
    unit, at = _in_bandwidths("samples", samples, centre, width), _in_bandwidths("x", points, centre, width)
    groups = zip(at.split(size), unit.split(size), strict=True)
    return (torch.cat([_evaluate_group(fit, *group) for group in groups]) / width).view(x.shape)


def _evaluate_group(fit: Callable[[Tensor], Field], x: Tensor, unit: Tensor) -> Tensor:
    field = fit(unit)
    rows = max(1, _MAX_KERNEL_ENTRIES // (unit.shape[0] * unit.shape[1]))
    return torch.cat([field(chunk) for chunk in x.split(rows, 1)], 1)


def _in_bandwidths(name: str, x: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """(x - centre) / width, (B, N, D). The centre is a median: around the mean, one far outlier would cost all others their digits."""
    unit = (x - centre) / width
    sizes = unit.abs().amax((1, 2))
    if not (sizes <= LARGEST).all():
        raise ValueError(
            f"{name} must be finite and within {LARGEST:g} bandwidths of the samples' median, got {float(sizes.max()):.3g} bandwidths "
            f"in context {_where(~(sizes <= LARGEST))}. Look at where they come from, or pass a larger bandwidth."
        )
    return unit


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """(B, N, M), from differences: through inner products, near neighbours would lose their digits."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _kernel(x: Tensor, unit: Tensor) -> Tensor:
    return _distances(x, unit).square_().mul_(-0.5).exp_()


def _stein_term(kernel: Tensor, x: Tensor, unit: Tensor) -> Tensor:
    """z(x), (B, N, D), at unit bandwidth, from ``kernel`` (B, N, M) of x and samples."""
    return x * kernel.sum(-1, keepdim=True) - kernel @ unit


def _kernel_density_field(unit: Tensor) -> Field:
    return lambda x: _distances(x, unit).square_().mul_(-0.5).softmax(-1) @ unit - x


def _stein_field(unit: Tensor, regularisation: float) -> Field:
    kernel = _kernel(unit, unit)
    z = _stein_term(kernel, unit, unit)
    kernel.diagonal(dim1=-2, dim2=-1).add_(regularisation)
    factor, failed = torch.linalg.cholesky_ex(kernel)
    del kernel  # before the solver copies the factor
    if failed.any():
        raise ValueError(
            f"the kernel matrix plus regularisation {regularisation!r} is singular to {unit.dtype}. "
            "Raise regularisation, or pass float64 samples."
        )
    return partial(_stein_extension, unit=unit, at_samples=-torch.cholesky_solve(z, factor), regularisation=regularisation)


def _stein_extension(x: Tensor, *, unit: Tensor, at_samples: Tensor, regularisation: float) -> Tensor:
    kernel = _kernel(x, unit)
    return -(_stein_term(kernel, x, unit) + kernel @ at_samples) / regularisation


def _check_bandwidth(bandwidth: float | None) -> None:
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be a number above 0, or None for the default, got {bandwidth!r}.")


def _check_form(x: Tensor, samples: Tensor, minimum: int, matrices: int) -> None:
    check_form("samples", samples)
    check_form("x", x, samples.device)
    if x.dim() not in (2, 3) or x.dim() != samples.dim() or x.shape[:-2] != samples.shape[:-2] or x.shape[-1] != samples.shape[-1]:
        raise ValueError(
            "x and samples must have shapes (N, D) and (M, D), or (B, N, D) and (B, M, D) for one law per context, "
            f"got {tuple(x.shape)} and {tuple(samples.shape)}."
        )
    count = samples.shape[-2]
    if count < minimum:
        raise ValueError(f"the estimator needs at least {minimum} samples per context, got {count}. Draw more samples.")
    needed, there = matrices * count**2 * samples.element_size(), _memory(samples.device)
    if needed > there:
        raise ValueError(
            f"{count:,} samples need {matrices} matrices of {count:,} x {count:,} numbers, {needed / 2**30:,.0f} GiB, "
            f"but {samples.device} has {there / 2**30:,.0f} GiB. "
            "Pass a random part of the samples, or use KernelDensityScore, which needs no such matrix."
        )


def _memory(device: torch.device) -> int:
    """Bytes of a GPU, or of the machine."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_width(width: Tensor) -> None:
    if not width.all():
        raise ValueError(
            f"at least half of the pairs of samples coincide in context {_where(width == 0)}, so the median distance is 0 and sets "
            "no bandwidth. Pass bandwidth, or remove the duplicates."
        )

"""Maximum-entropy problems whose answer is known in closed form.

Notation: E repeats (independent problems), N samples, D dimension; x (E, N, D).
Constraint: E_p[r_k(x)] = 0 for each named group k of M_k numbers, r_k (E, N, M_k). A support is no such constraint: samples are mapped
into it by a bijection x = T(y) of unconstrained y, and H(x) = H(y) + E[log |det dT/dy|].
Answers: mean and covariance -> Gaussian; E|x| -> Laplace; [0, 1] -> uniform; [0, inf) and a mean -> exponential.
Reference: [Lim2020] arXiv:2006.05164, section 6.4; Loaiza-Ganem et al. 2017, arXiv:1701.03504; Cover & Thomas, chapter 12.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import SoftplusTransform, Transform, biject_to, constraints

SMALLEST_VARIANCE = 1e-12  # a sampler collapsed to a point still gets a finite step


class Problem(ABC):
    """E problems of one kind: the constraints, and the law that is the answer.

    ``support`` maps unconstrained samples into it; ``entropy`` (E,) is that of the answers, in nats.
    """

    support: Transform = biject_to(constraints.real)
    entropy: Tensor

    @abstractmethod
    def residuals(self, x: Tensor) -> dict[str, Tensor]:
        """r_k(x) by name, each (E, N, M_k), of expectation 0 where the constraint holds; empty where the support is all there is."""

    @abstractmethod
    def newton_step(self, expectations: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Cov_p(r_k)^-1 E r_k, (E, M_k), of expectations (E, M_k), where the law p has the moments of samples x (E, N, D).

        Newton's step for the multipliers: of p proportional to exp(-sum_k <mu_k, r_k>) the Jacobian of E r in mu is -Cov(r).
        """

    @abstractmethod
    def reference(self, samples: int, generator: torch.Generator) -> Tensor:
        """Draws of the answers, (E, N, D)."""


class GaussianMoments(Problem):
    """``mean`` (E, D), constraint c1, and ``covariance`` (E, D, D), constraint c2: the answer is N(mean, covariance).

    Raises ValueError for a covariance that is not symmetric and positive definite: no density has it.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.covariance = mean, covariance
        lowest = torch.linalg.eigvalsh(covariance).amin(-1)
        if not (lowest > 0).all() or not torch.allclose(covariance, covariance.mT):
            found = ", ".join(f"{value:.3g}" for value in lowest.tolist())
            raise ValueError(f"covariance must be symmetric and positive definite, got lowest eigenvalues {found}: no density has it")
        self.root = torch.linalg.cholesky(covariance)
        log_det = 2 * self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.entropy = 0.5 * (mean.shape[-1] * math.log(2 * math.pi * math.e) + log_det)

    def residuals(self, x: Tensor) -> dict[str, Tensor]:
        centred = x - self.mean.unsqueeze(1).to(x)
        products = centred.unsqueeze(-1) * centred.unsqueeze(-2) - self.covariance.unsqueeze(1).to(x)
        return {"c1": centred, "c2": products.flatten(2)}

    def newton_step(self, expectations: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """P c1 and P c2 P / 2, P the inverse covariance of the samples: exact for a Gaussian p whose mean is right."""
        centred = (x - x.mean(1, keepdim=True)).double()
        identity = torch.eye(x.shape[2], dtype=centred.dtype, device=x.device)
        precision = torch.linalg.inv_ex(centred.mT @ centred / x.shape[1] + SMALLEST_VARIANCE * identity).inverse
        c1, c2 = expectations["c1"].double().unsqueeze(-1), expectations["c2"].double().view_as(precision)
        return {"c1": (precision @ c1).squeeze(-1).to(x), "c2": (0.5 * precision @ c2 @ precision).flatten(1).to(x)}

    def reference(self, samples: int, generator: torch.Generator) -> Tensor:
        normal = torch.randn(len(self.mean), samples, self.mean.shape[1], generator=generator)
        return self.mean.unsqueeze(1) + normal.to(self.root) @ self.root.mT


class OnTheLine(Problem):
    """A problem in one dimension with ``quantile``, the inverse distribution function of the answer."""

    scale: Tensor

    @abstractmethod
    def quantile(self, probability: Tensor) -> Tensor:
        """(E, N, 1) of probabilities (E, N, 1) or (N, 1), between 0 and 1."""

    def newton_step(self, expectations: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        residuals = self.residuals(x)
        return {name: mean / residuals[name].var(1).clamp_min(SMALLEST_VARIANCE) for name, mean in expectations.items()}

    def reference(self, samples: int, generator: torch.Generator) -> Tensor:
        # In double precision: a float32 is exactly 0, whose quantile may be infinite, in one draw of 17 million.
        return self.quantile(torch.rand(len(self.scale), samples, 1, generator=generator, dtype=torch.float64).to(self.scale))


class AbsoluteMoment(OnTheLine):
    """E|x| = ``scale`` (E,), constraint c1, on the real line: the answer is Laplace(0, scale)."""

    def __init__(self, scale: Tensor) -> None:
        self.scale = _positive(scale)
        self.entropy = 1 + (2 * scale).log()

    def residuals(self, x: Tensor) -> dict[str, Tensor]:
        return {"c1": x.abs() - self.scale.view(-1, 1, 1).to(x)}

    def quantile(self, probability: Tensor) -> Tensor:
        centred = probability - 0.5
        return -self.scale.view(-1, 1, 1) * centred.sign() * torch.log1p(-2 * centred.abs())


class UnitInterval(OnTheLine):
    """Nothing but the support [0, 1], for ``repeats`` runs: the answer is uniform."""

    support = biject_to(constraints.unit_interval)

    def __init__(self, repeats: int) -> None:
        self.scale = torch.ones(repeats, dtype=torch.float64)
        self.entropy = torch.zeros(repeats, dtype=torch.float64)

    def residuals(self, x: Tensor) -> dict[str, Tensor]:
        return {}

    def quantile(self, probability: Tensor) -> Tensor:
        return probability.expand(len(self.scale), *probability.shape[-2:])


class PositiveMean(OnTheLine):
    """The support [0, inf) and E x = ``scale`` (E,), constraint c1: the answer is exponential."""

    support = SoftplusTransform()  # not exp, which a sampler that starts a few units wide would overflow

    def __init__(self, scale: Tensor) -> None:
        self.scale = _positive(scale)
        self.entropy = 1 + scale.log()

    def residuals(self, x: Tensor) -> dict[str, Tensor]:
        return {"c1": x - self.scale.view(-1, 1, 1).to(x)}

    def quantile(self, probability: Tensor) -> Tensor:
        return -self.scale.view(-1, 1, 1) * torch.log1p(-probability)


def _random_moments(repeats: int, dim: int, generator: torch.Generator) -> Problem:
    """m and B with independent standard normal entries, covariance B^T B; in double precision, for some are close to singular."""
    mean = torch.randn(repeats, dim, generator=generator, dtype=torch.float64)
    factor = torch.randn(repeats, dim, dim, generator=generator, dtype=torch.float64)
    return GaussianMoments(mean, factor.mT @ factor)


def _random_scale(repeats: int, generator: torch.Generator) -> Tensor:
    """Log-uniform between 1/2 and 2."""
    return torch.rand(repeats, generator=generator, dtype=torch.float64).mul(2).sub(1).exp2()


PROBLEMS: dict[str, Callable[[int, int, torch.Generator], Problem]] = {
    "gaussian": _random_moments,
    "laplace": lambda repeats, dim, generator: AbsoluteMoment(_random_scale(repeats, generator)),
    "uniform": lambda repeats, dim, generator: UnitInterval(repeats),
    "exponential": lambda repeats, dim, generator: PositiveMean(_random_scale(repeats, generator)),
}
"""By name, the problems of ``repeats`` runs in ``dim`` dimensions, their parameters drawn at random."""


def _positive(scale: Tensor) -> Tensor:
    if not (scale > 0).all():
        raise ValueError(f"scale must be greater than 0, got {scale.tolist()}: no density has such a moment")
    return scale

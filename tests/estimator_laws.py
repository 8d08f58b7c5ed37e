"""What each setting of AR-DAE does, seen from outside: one law per setting, for every place that builds an estimator from settings.

Notation: B contexts, K samples per context. ``build(name=value, ...)`` is an estimator of these settings, and of small ones beside them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import Frame, ScoreEstimator
from tests.spies import calls_of

CONTEXTS, SAMPLES = 3, 8


class Build(Protocol):
    def __call__(self, **options: Any) -> ScoreEstimator: ...


class Problem(NamedTuple):
    """``x`` (B, K, D) and ``context`` (B, C) or None."""

    x: Tensor
    context: Tensor | None


def problem(estimator: ScoreEstimator, *, spread: float = 1.0) -> Problem:
    generator = torch.Generator().manual_seed(3)
    x = spread * torch.randn(CONTEXTS, SAMPLES, estimator.dim, generator=generator)
    context = torch.randn(CONTEXTS, estimator.context_dim, generator=generator)
    return Problem(x, context) if estimator.context_dim else Problem(x, None)


def same_weights(estimator: ScoreEstimator) -> ScoreEstimator:
    """With weights that depend on their shapes and order alone, none of them 0."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return estimator


def losses_of(estimator: ScoreEstimator, *, spread: float = 1.0) -> dict[str, Tensor]:
    """On always the same samples, but for their ``spread``, and the same noise."""
    generator = torch.Generator().manual_seed(5)
    x, context = problem(estimator, spread=spread)
    fresh = copy.deepcopy(estimator)  # which remembers no samples of another call
    return fresh.losses(x, context, centre=centre(x), normal=lambda *shape: torch.randn(shape, generator=generator))


def centre(x: Tensor) -> Tensor:
    return torch.zeros_like(x[:, 0])


def score_loss(estimator: ScoreEstimator) -> float:
    return float(losses_of(estimator)["score"].detach())


def score(estimator: ScoreEstimator, *, spread: float = 1.0) -> Tensor:
    """At the samples of :func:`problem` spread ``spread`` times, in coordinates of the unspread ones."""
    known, context = problem(estimator)
    return estimator.score(spread * known, context, frame=estimator.frame(known, context=context)).detach()


@dataclass(frozen=True)
class Seen:
    """``x`` (B, K', D) and ``sigma`` (B, K', 1), None where there is none, as the score network meets them in one loss.

    ``per_sample`` and ``per_context``: widths of the linear layers, of network and whitener, that run on B K' and on B rows.
    """

    x: Tensor
    sigma: Tensor | None
    per_sample: list[int]
    per_context: list[int]


def seen(estimator: ScoreEstimator, *, spread: float = 1.0) -> Seen:
    arguments: list[Any] = []
    rows: list[tuple[int, int]] = []
    hooks = [estimator.network.register_forward_hook(lambda _, given, out: arguments.append(given))]
    for layer in estimator.modules():
        if isinstance(layer, nn.Linear):
            hooks.append(layer.register_forward_hook(lambda _, given, out: rows.append((out.shape[0], out.shape[-1]))))
    losses_of(estimator, spread=spread)
    for hook in hooks:
        hook.remove()
    x, _, *sigma = arguments[0]
    per_sample, per_context = ([width for count, width in rows if (count > CONTEXTS) == many] for many in (True, False))
    return Seen(x.detach(), sigma[0].detach() if sigma else None, per_sample, per_context)


def size(estimator: ScoreEstimator) -> int:
    return sum(parameter.numel() for parameter in estimator.parameters())


def sigma_of(estimator: ScoreEstimator, *, spread: float = 1.0) -> Tensor:
    sigma = seen(estimator, spread=spread).sigma
    assert sigma is not None
    return sigma


# the network


def layers(build: Build) -> None:
    """One more adds w^2 + w numbers, used on every sample."""
    one_more_layer(build, "layers", 2, "per_sample")


def context_layers(build: Build) -> None:
    """Used once per context, however many samples."""
    one_more_layer(build, "context_layers", 1, "per_context")


def input_layers(build: Build) -> None:
    one_more_layer(build, "input_layers", 1, "per_sample")


def one_more_layer(build: Build, name: str, count: int, where: str) -> None:
    fewer, more = (build(width=8, **{name: number}) for number in (count, count + 1))
    assert size(more) - size(fewer) == 8**2 + 8
    assert len(getattr(seen(more), where)) == len(getattr(seen(fewer), where)) + 1


def width(build: Build) -> None:
    """Of the hidden layers that see samples."""
    for chosen in (8, 12):
        assert set(seen(build(width=chosen, layers=2)).per_sample) <= {chosen, build().dim, 1}
        assert chosen in seen(build(width=chosen, layers=2)).per_sample


def whitener_width(build: Build) -> None:
    """Of hidden layers that see contexts only; the score network stays as it is."""
    narrow, wide = (build(width=8, whitener_width=chosen) for chosen in (11, 22))
    assert {22 if each == 11 else each for each in seen(narrow).per_context} == set(seen(wide).per_context) > {22}
    assert seen(narrow).per_sample == seen(wide).per_sample and size(narrow) < size(wide)


def activation(build: Build) -> None:
    scores = [score(same_weights(build(activation=name))) for name in ("elu", "softplus", "tanh", "silu")]
    assert all(not torch.allclose(a, b, rtol=1e-3) for i, a in enumerate(scores) for b in scores[:i])


def form(build: Build) -> None:
    """The gradient of a potential is symmetric in its derivatives and has a log-density; the network's outputs are and have not."""
    potential, outputs = (same_weights(build(form=name)) for name in ("gradient", "residual"))
    known, context = problem(potential)
    point = known.clone().requires_grad_()
    log_density = potential.log_density(point, context, frame=potential.frame(known, context=context))
    torch.testing.assert_close(torch.autograd.grad(log_density.sum(), point)[0], score(potential), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="no potential"):
        outputs.log_density(point, context, frame=outputs.frame(known, context=context))


# where it starts


def gaussian_residual(build: Build) -> None:
    """With it a new estimator has the score of a Gaussian, linear in the distance; without, that of no law in particular."""
    gaussian, nothing = (build(gaussian_residual=chosen, standardisation="per_context", student_dof=None) for chosen in (True, False))
    torch.testing.assert_close(slope(gaussian, 3.0), slope(gaussian, 7.0), rtol=1e-3, atol=1e-4)
    assert (slope(gaussian, 3.0) * problem(gaussian).x).sum() < 0
    assert not torch.allclose(slope(nothing, 3.0), slope(nothing, 7.0), rtol=0.05)


def slope(estimator: ScoreEstimator, spread: float) -> Tensor:
    """Change of the score along the ray from x, per unit."""
    return (score(estimator, spread=spread) - score(estimator)) / (spread - 1)


def student_dof(build: Build) -> None:
    """-(nu + D) x / (nu + |x|^2) at the start, in plain coordinates."""
    for nu in (4.0, 9.0):
        estimator = build(student_dof=nu, gaussian_residual=True, standardisation="amortised")
        x, context = problem(estimator)
        found = estimator.score(x, context, frame=Frame(torch.zeros(len(x), 1, estimator.dim), torch.ones(len(x), 1, 1), None))
        expected = -(nu + estimator.dim) * x / (nu + x.square().sum(-1, keepdim=True))
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)


# coordinates


def standardisation(build: Build) -> None:
    """Wider samples look wider in fixed coordinates, the same in those of their own spread; what is regressed on contexts has a loss."""
    with_context = build().context_dim > 0
    fixed, own, white = (
        build(standardisation=name, gaussian_residual=None) for name in ("fixed", "per_context", "amortised" if with_context else "samples")
    )
    assert ["whitening" in losses_of(each) for each in (fixed, own, white)] == [False, False, with_context]
    assert not torch.allclose(seen(white).x, seen(own).x, rtol=1e-3)
    assert float(seen(fixed, spread=4.0).x.std() / seen(fixed).x.std()) > 2
    torch.testing.assert_close(seen(own, spread=4.0).x, seen(own).x)


def scale(build: Build) -> None:
    """Samples times s in coordinates of scale 1 are samples in coordinates of scale s."""
    one, three = (build(standardisation="fixed", gaussian_residual=None, scale=s) for s in (1.0, 3.0))
    torch.testing.assert_close(seen(three).x, seen(one, spread=3.0).x)


# noise


def delta_scale(build: Build) -> None:
    torch.testing.assert_close(sigma_of(build(delta_scale=0.3)), 3 * sigma_of(build(delta_scale=0.1)))


def adaptive_delta(build: Build) -> None:
    """Sigma in units of the samples' spread, or of the coordinates."""
    follows, stays = (build(standardisation="fixed", gaussian_residual=None, adaptive_delta=chosen) for chosen in (True, False))
    torch.testing.assert_close(sigma_of(follows, spread=4.0), 4 * sigma_of(follows))
    torch.testing.assert_close(sigma_of(stays, spread=4.0), sigma_of(stays))


def sigmas_per_sample(build: Build) -> None:
    for count in (1, 2, 6):
        assert seen(build(sigmas_per_sample=count, antithetic=False)).x.shape[1] == count * SAMPLES


def antithetic(build: Build) -> None:
    """Every noisy point has a twin on the other side of its sample, at the same sigma, and there are no more of them than without."""
    pairs, singles = seen(build(antithetic=True)), seen(build(antithetic=False))
    assert pairs.x.shape == singles.x.shape
    assert pairs.sigma is not None and singles.sigma is not None
    (one, twin), (first, other) = pairs.sigma.chunk(2, 1), singles.sigma.chunk(2, 1)
    assert torch.equal(one, twin) and not torch.isclose(first, other).any()
    quiet = seen(build(antithetic=True, delta_scale=1e-6))
    torch.testing.assert_close(sum(pairs.x.chunk(2, 1)), sum(quiet.x.chunk(2, 1)), rtol=1e-4, atol=1e-4)


def squared_sigma(build: Build) -> None:
    """The network then cannot tell sigma from -sigma."""
    for chosen in (True, False):
        estimator = same_weights(build(squared_sigma=chosen))
        x, context = problem(estimator)
        ahead, behind = (estimator.network(x, context, torch.full_like(x[..., :1], sigma)) for sigma in (0.05, -0.05))
        assert torch.allclose(ahead, behind) == chosen


# how it is computed


def autocast(build: Build) -> None:
    rounded, full = (score_loss(same_weights(build(autocast=chosen))) for chosen in (True, False))
    assert rounded != full and rounded == pytest.approx(full, rel=0.05)


def compiled(build: Build) -> None:
    """torch.compile is asked for where it is, and only there; the loss is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda function: function)
        asked = calls_of(patch, torch, "compile")
        eager = score_loss(same_weights(build(compile=False)))
        assert not asked
        assert score_loss(same_weights(build(compile=True))) == eager
    assert asked


_EACH: tuple[Callable[[Build], None], ...] = (
    *(layers, context_layers, input_layers, width, whitener_width, activation, form),
    *(gaussian_residual, student_dof, standardisation, scale),
    *(delta_scale, adaptive_delta, sigmas_per_sample, antithetic, squared_sigma, autocast),
)
LAWS = {law.__name__: law for law in _EACH} | {"compile": compiled}

"""Train a variational autoencoder and measure log p(x).

Notation: B images, P pixels, D latent dimension; x (B, P), z (B, D).
Metrics: docs/metrics.md. ``validation_*`` are of the averaged weights where there are any, else of the last; ``test_*``, all of them, of
those best on validation.
Reference: [Lim2020] arXiv:2006.05164, section 6.2 and Appendix F.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.averaging import averaged
from ardae_rl.tasks.task import Metrics
from ardae_rl.tasks.vae.build import build_method
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.data import TOY_STD, Data, Toy, load_data
from ardae_rl.tasks.vae.evaluate import (
    FINE,
    active_units,
    in_parts,
    joint_log_likelihood,
    latents,
    log_likelihood,
    mmd_squared,
    mode_coverage,
)
from ardae_rl.tasks.vae.methods import AuxiliaryMethod, BoundMethod

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENT_SAMPLES, GENERATED, PLANE_POINTS = 64, 10_000, 4000
COLLAPSED = 1e-12  # variance below which single precision tells draws around 1 no longer apart: 0 would make the mean logarithm infinite
# Streams of their own for what would otherwise all start from the trial's seed. Mini-batches have one because posteriors use up
# different amounts of noise: with one for both, the same seed would not show them the same images.
_BATCHES_SEED, _DRAWS_SEED, _EVALUATION_SEED = 250_007, 500_009, 1_000_003


class VAETask:
    headline = "validation_nll"

    def __init__(self, settings: VAESettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings, self.device = settings, device
        self.data: Data = load_data(settings, device)
        self.batches = torch.Generator(device).manual_seed(_BATCHES_SEED + seed)
        self.draws = torch.Generator(device).manual_seed(_DRAWS_SEED + seed)
        self.evaluation_seed = _EVALUATION_SEED + seed
        self.method = build_method(settings, self.data, _normal(self.draws), device)
        self.model = self.method.model
        optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.lr, betas=(settings.beta1, 0.999), fused=True)
        self.optimisers = {"model": GuardedOptimiser("model", optimiser), **self.method.optimisers}
        self.average = averaged(self.model, settings.average_decay)
        self.best: dict[str, Any] = {"step": 0, "nll": math.inf, "weights": {}}
        self.steps_done = 0

    def step(self) -> Metrics:
        """One mini-batch: the estimator's steps, where there is one, and one of encoder and decoder."""
        settings = self.settings
        x = self.data.batch(settings.batch_size, self.batches, with_validation=settings.train_on_validation)
        loss, metrics = self.method.loss(x, beta := self._beta())
        self.optimisers["model"].step(loss)
        self.steps_done += 1
        if self.average is not None and self.steps_done > settings.average_from_step:
            self.average.update_parameters(self.model)
        skipped = sum(each.skipped for each in self.optimisers.values())
        return {"loss": float(loss.detach()), "beta": beta, "skipped_steps": float(skipped), **metrics}

    def _beta(self) -> float:
        start, steps = self.settings.beta_start, self.settings.anneal_steps
        return start + (1 - start) * min(1.0, self.steps_done / steps) if steps else 1.0

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        """On validation data, always with the same noise; at the end on test data, by the weights that did best."""
        normal, chosen = _normal(torch.Generator(self.device).manual_seed(self.evaluation_seed)), self.settings.evaluation
        with self._measured():
            measured = self._measure(self.data.validation, chosen.images, chosen.samples, normal)
            if self._selects() and measured["nll"] < self.best["nll"]:
                self.best = {"step": self.steps_done, "nll": measured["nll"], "weights": _copied(self.model.state_dict())}
        tested = dict.fromkeys(measured, math.nan) if self.steps_done < self.settings.steps else self._test(normal)
        best = {"best_validation_nll": self.best["nll"], "best_step": float(self.best["step"])}
        return {**_named("validation", measured), **best, **_named("test", tested)}

    def _test(self, normal: Normal) -> Metrics:
        chosen = self.settings.evaluation
        with self._chosen():
            return self._measure(self.data.test, chosen.test_images, chosen.test_samples, normal)

    def _measure(self, split: Tensor, images: int | None, samples: int, normal: Normal) -> Metrics:
        """What there is to say of the weights in place, on ``images`` of a split."""
        vae, x = self.method.vae, _some(split, images)
        estimate = log_likelihood(vae, x, samples=samples, normal=normal)
        known = latents(vae.posterior, x, samples=LATENT_SAMPLES, normal=normal)
        return {
            "nll": float(-estimate.log_p.mean()),
            "nll_sem": float(estimate.log_p.std() / len(x) ** 0.5),
            "ess_fraction": float(estimate.ess_fraction.mean()),
            **self._bound(x, normal),
            "active_units": float(active_units(known.means, known.variances, LATENT_SAMPLES)),
            "posterior_log_variance": float(known.variances.clamp_min(COLLAPSED).log().mean()),
            "mmd_squared": mmd_squared(known.z),
            **self._in_the_plane(split[:PLANE_POINTS], normal),
            **self._joint(x, samples, normal),
        }

    def _bound(self, x: Tensor, normal: Normal) -> Metrics:
        """The negative evidence lower bound, of posteriors that have one."""
        if not isinstance(self.method, BoundMethod):
            return {}
        parts = [torch.stack(self.method.bound(images, LATENT_SAMPLES, normal)).sum(0) for images in in_parts(x, LATENT_SAMPLES)]
        return {"negative_elbo": float(torch.cat(parts).mean())}

    def _joint(self, x: Tensor, samples: int, normal: Normal) -> Metrics:
        """Of the auxiliary bound: log p(x) by the proposal it trains, next to that of all posteriors."""
        if not isinstance(self.method, AuxiliaryMethod):
            return {}
        estimate = joint_log_likelihood(self.method, x, samples=samples, normal=normal)
        return {"joint_nll": float(-estimate.log_p.mean()), "joint_ess_fraction": float(estimate.ess_fraction.mean())}

    def _in_the_plane(self, x: Tensor, normal: Normal) -> Metrics:
        """Of the toy: how smooth the aggregate posterior is, and how much of the 25 modes the model generates."""
        if not isinstance(self.data, Toy):
            return {}
        posterior = self.method.vae.posterior
        z = posterior.draw(x, normal(len(x), 1, posterior.noise_dim)).squeeze(1)
        coverage = mode_coverage(self._generated(GENERATED, normal), self.data.means, TOY_STD)
        return {"fine_mmd_squared": mmd_squared(z, FINE), "modes_covered": float(coverage.modes), "share_on_modes": coverage.share}

    def _generated(self, count: int, normal: Normal) -> Tensor:
        z = normal(count, self.settings.latent_dim)
        return self.method.vae.decoder.sample(z, normal(count, self.data.pixels))

    def _selects(self) -> bool:
        """Validation images that are trained on cannot tell which weights are best."""
        return not self.settings.train_on_validation

    def _measured(self) -> Any:
        """With the averaged weights in place, where there are any."""
        averaged = self.average is not None and int(self.average.n_averaged) > 0
        return _swapped(self.model, self.average.module.state_dict()) if averaged else nullcontext()  # type: ignore[union-attr]

    def _chosen(self) -> Any:
        """With the weights in place that are tested: the best on validation, else as measured."""
        return _swapped(self.model, self.best["weights"]) if self.best["weights"] else self._measured()

    @torch.no_grad()
    def figures(self) -> "dict[str, Figure]":
        """The toy's histograms, of the weights that validation is of; reconstructions and samples of images, of those that are tested."""
        from ardae_rl.tasks.vae.figures import pictures, planes

        normal = _normal(torch.Generator(self.device).manual_seed(self.evaluation_seed))
        if self.data.side is None:  # Figure 5 shows where training leads: the best weights may be those from before it went wrong
            with self._measured():
                return planes(self.method.vae, self.data, normal)
        with self._chosen():
            return pictures(self.method.vae, self.data, normal)

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.method.networks.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
            "average": {} if self.average is None else self.average.state_dict(),
            "best": self.best,
            "batches": self.batches.get_state(),
            "draws": self.draws.get_state(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.method.networks.load_state_dict(state["networks"])
        for name, each in self.optimisers.items():
            each.load_state_dict(state["optimisers"][name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = state["best"]
        self.batches.set_state(state["batches"].cpu())
        self.draws.set_state(state["draws"].cpu())
        self.steps_done = state["steps_done"]


def _normal(generator: torch.Generator) -> Normal:
    return lambda *shape: torch.randn(shape, generator=generator, device=generator.device)


def _some(split: Tensor, images: int | None) -> Tensor:
    """``images`` evenly spaced ones, all for None: the first half of MNIST's test images is easier than the second."""
    count = min(images or len(split), len(split))
    return split[torch.arange(count, device=split.device) * len(split) // count]


def _named(split: str, measured: Metrics) -> Metrics:
    return {f"{split}_{name}": value for name, value in measured.items()}


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


@contextmanager
def _swapped(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """``weights`` in the place of the module's own for as long as this lasts."""
    own = _copied(module.state_dict())
    module.load_state_dict(weights)
    try:
        yield
    finally:
        module.load_state_dict(own)

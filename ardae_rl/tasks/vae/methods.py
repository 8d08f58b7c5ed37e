"""What a posterior is trained by: the closed-form bound, the auxiliary bound, or an estimate of its score.

Notation: B images, K latents each, D latent dimension; x (B, P), features (B, F), z (B, K, D); beta weighs all but the reconstruction.
Contract: ``loss(x, beta)`` is a scalar for one step of the ``model``, and what to watch; a method with an estimator trains
that first. All are descents on E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)), or on an upper bound of it.
Reference: [Lim2020] arXiv:2006.05164, section 6.2, Algorithm 1 and Appendix F; Ranganath et al. 2016, arXiv:1511.02386.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.entropy.score import Origin
from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.samplers import Sampler
from ardae_rl.score import ScoreEstimator
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.task import Metrics
from ardae_rl.tasks.vae.config import ScoreSettings
from ardae_rl.tasks.vae.model import VAE
from ardae_rl.tasks.vae.posteriors import AuxiliaryModel, GaussianPosterior, HierarchicalPosterior, Hierarchy, Posterior

ROWS = 2**12  # latents that a processor differentiates the score network's loss for at once: their hidden layers stay in its cache


class Method(Protocol):
    """``model``: the networks that ``loss`` is for, by name, the ``vae`` among them; ``networks``: those and what ``optimisers`` train."""

    vae: VAE
    model: nn.ModuleDict
    networks: nn.ModuleDict
    optimisers: dict[str, GuardedOptimiser]

    def loss(self, x: Tensor, beta: float) -> tuple[Tensor, Metrics]: ...


class BoundMethod(ABC):
    """A posterior whose KL from the prior, or an upper bound of it, is tractable: everything is trained by one loss."""

    def __init__(self, vae: VAE, auxiliary: AuxiliaryModel | None, normal: Normal) -> None:
        self.vae, self.auxiliary, self.normal = vae, auxiliary, normal
        self.model = self.networks = nn.ModuleDict({"vae": vae} if auxiliary is None else {"vae": vae, "auxiliary": auxiliary})
        self.optimisers: dict[str, GuardedOptimiser] = {}

    def loss(self, x: Tensor, beta: float) -> tuple[Tensor, Metrics]:
        reconstruction, divergence = (part.mean() for part in self.bound(x, 1, self.normal))
        return reconstruction + beta * divergence, {"reconstruction": float(reconstruction.detach())}

    @abstractmethod
    def bound(self, x: Tensor, samples: int, normal: Normal) -> tuple[Tensor, Tensor]:
        """-log p(x | z) and what is KL(q || p), or above it, on average: (B, K) each. Minus their sum bounds log p(x) from below."""


class GaussianMethod(BoundMethod):
    """The evidence lower bound, its KL term in closed form."""

    def bound(self, x: Tensor, samples: int, normal: Normal) -> tuple[Tensor, Tensor]:
        posterior = self.vae.posterior
        assert isinstance(posterior, GaussianPosterior)
        law = posterior.law(posterior.encode(x))
        z = law.draw(normal(len(x), samples, posterior.noise_dim))
        return -self.vae.decoder.log_likelihood(x, z), law.kl_from_prior().expand(-1, samples)


class AuxiliaryMethod(BoundMethod):
    """The auxiliary bound E[log p(x, z) - log q(z0 | x) - log q(z | z0, x) + log h(z0 | z, x)] <= log p(x), h trained with it.

    The z0 in h is the one z was made with: h is credited for what z tells about it. Entropies are taken in closed form.
    """

    def bound(self, x: Tensor, samples: int, normal: Normal) -> tuple[Tensor, Tensor]:
        drawn, log_auxiliary = self._drawn(x, samples, normal)
        divergence = drawn.second.kl_from_prior() - drawn.first.entropy() - log_auxiliary
        return -self.vae.decoder.log_likelihood(x, drawn.z), divergence

    def log_weights(self, x: Tensor, samples: int, normal: Normal) -> Tensor:
        """log p(x, z) + log h(z0 | z, x) - log q(z0, z | x) of draws of q, (B, K): E[exp] = p(x) whatever h is."""
        drawn, log_auxiliary = self._drawn(x, samples, normal)
        log_q = drawn.first.log_prob(drawn.z0) + drawn.second.log_prob(drawn.z)
        return self.vae.log_joint(x, drawn.z) + log_auxiliary - log_q

    def _drawn(self, x: Tensor, samples: int, normal: Normal) -> tuple[Hierarchy, Tensor]:
        posterior = self.vae.posterior
        assert isinstance(posterior, HierarchicalPosterior) and self.auxiliary is not None
        features = posterior.encode(x)
        drawn = posterior.through(features, normal(len(x), samples, posterior.noise_dim))
        return drawn, self.auxiliary(x, features, drawn.z).log_prob(drawn.z0)


class _Away(Sampler):
    """z - b(x) of the posteriors of a mini-batch, whose features are known. The law of this moves less than that of z."""

    def __init__(self, posterior: Posterior, features: Tensor, centre: Tensor) -> None:
        super().__init__()
        self.dim, self.noise_dim = posterior.dim, posterior.noise_dim
        self._push = lambda noise: posterior.push(features, noise) - centre.unsqueeze(1)

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return self._push(noise)

    def centre(self, context: Tensor) -> Tensor:
        return context.new_zeros(len(context), self.dim)


class ScoreMethod:
    """Any posterior: an estimator learns its score from its draws, and the KL's gradient takes no more.

    It sees z - b(x). Coordinates that are regressed on the context learn how far its mean is from 0, for b(x) is no mean where g is not
    linear; the others are about b(x) as in the paper.
    """

    def __init__(self, vae: VAE, estimator: ScoreEstimator, settings: ScoreSettings, normal: Normal) -> None:
        self.vae, self.estimator, self.settings, self.normal = vae, estimator, settings, normal
        rows = ROWS if next(vae.parameters()).device.type == "cpu" else None
        origin: Origin = "mean" if estimator.standardisation == "amortised" else "centre"
        self.entropy = ScoreEntropy(estimator, samples_per_context=settings.samples_per_context, origin=origin, rows=rows)
        self.model = nn.ModuleDict({"vae": vae})
        self.networks = nn.ModuleDict({"vae": vae, "estimator": estimator})
        self.optimisers = {"score": GuardedOptimiser("score", _score_optimiser(estimator, settings))}

    def loss(self, x: Tensor, beta: float) -> tuple[Tensor, Metrics]:
        """One mini-batch for both, as in Algorithm 1: N_d steps of the estimator, then the loss of the model."""
        posterior = self.vae.posterior
        features = posterior.encode(x)
        with torch.no_grad():
            centre = posterior.centre_of(features)
            context = self._context(x, features, centre)
        fitted = self.fit(features.detach(), context, centre)
        noise = self.normal(len(x), 1, posterior.noise_dim)
        away, entropy, watched = self.entropy.draw_with_entropy(_Away(posterior, features, centre), context, noise, self.normal)
        z = away + centre.unsqueeze(1)
        reconstruction = -self.vae.decoder.log_likelihood(x, z).mean()
        divergence = -log_standard_normal(z).mean() - entropy
        metrics = {"reconstruction": reconstruction.detach(), "score_loss": fitted["score_loss"], **watched}
        return reconstruction + beta * divergence, {name: float(value) for name, value in metrics.items()}

    def fit(self, features: Tensor, context: Tensor, centre: Tensor) -> dict[str, Tensor]:
        """Train the estimator on fresh draws; its mean losses."""
        sampler = _Away(self.vae.posterior, features, centre)
        return self.entropy.fit(self.optimisers["score"], sampler, context, self.normal, steps=self.settings.fits_per_step)

    def _context(self, x: Tensor, features: Tensor, centre: Tensor) -> Tensor:
        match self.settings.context:
            case "centre":
                return centre
            case "hidden":
                return self.vae.posterior.hidden(features)
            case "data":
                return x


def _score_optimiser(estimator: ScoreEstimator, settings: ScoreSettings) -> torch.optim.Optimizer:
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(estimator.parameters(), lr=settings.lr, alpha=0.99, momentum=settings.momentum)
    return torch.optim.Adam(estimator.parameters(), lr=settings.lr, fused=True)

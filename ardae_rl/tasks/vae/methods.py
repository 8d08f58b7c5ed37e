"""What a posterior is trained by: the closed-form bound, the auxiliary bound, or an estimate of its score.

Notation: B images, K latents each, D latent dimension; x (B, P), features (B, F), z (B, K, D); beta weighs all but the reconstruction.
Contract: ``loss(x, beta)`` is a scalar for one step of the ``model``, and what to watch; a method with an estimator trains
that first. All are descents on E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)), or on an upper bound of it.
Reference: [Lim2020] arXiv:2006.05164, section 6.2, Algorithm 1 and Appendix F; Ranganath et al. 2016, arXiv:1511.02386.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ardae_rl.score import ScoreEstimator, entropy_surrogate, stein_ratio
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.descent import Descent
from ardae_rl.tasks.task import Metrics
from ardae_rl.tasks.vae.config import ScoreSettings
from ardae_rl.tasks.vae.model import VAE, log_prior
from ardae_rl.tasks.vae.posteriors import AuxiliaryModel, GaussianPosterior, HierarchicalPosterior, Hierarchy

ROWS = 2**12  # latents that a processor differentiates the score network's loss for at once: their hidden layers stay in its cache


class Method(Protocol):
    """``model``: the networks that ``loss`` is for, by name, the ``vae`` among them; ``networks``: those and the others, which ``descents``
    train.
    """

    vae: VAE
    model: nn.ModuleDict
    networks: nn.ModuleDict
    descents: dict[str, Descent]

    def loss(self, x: Tensor, beta: float) -> tuple[Tensor, Metrics]: ...


class BoundMethod(ABC):
    """A posterior whose KL from the prior, or an upper bound of it, is tractable: everything is trained by one loss."""

    def __init__(self, vae: VAE, auxiliary: AuxiliaryModel | None, normal: Normal) -> None:
        self.vae, self.auxiliary, self.normal = vae, auxiliary, normal
        self.model = self.networks = nn.ModuleDict({"vae": vae} if auxiliary is None else {"vae": vae, "auxiliary": auxiliary})
        self.descents: dict[str, Descent] = {}

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


class ScoreMethod:
    """Any posterior: an estimator learns its score from its draws, and the KL's gradient takes no more.

    It sees z - b(x), whose law moves less than that of z. Coordinates that are regressed on the context learn how far its mean is
    from 0, for b(x) is no mean where g is not linear; the others are about b(x) as in the paper.
    """

    def __init__(self, vae: VAE, estimator: ScoreEstimator, settings: ScoreSettings, normal: Normal) -> None:
        self.vae, self.estimator, self.settings, self.normal = vae, estimator, settings, normal
        self.model = nn.ModuleDict({"vae": vae})
        self.networks = nn.ModuleDict({"vae": vae, "estimator": estimator})
        self.descents = {"score": Descent("score network", _score_optimiser(estimator, settings))}

    def loss(self, x: Tensor, beta: float) -> tuple[Tensor, Metrics]:
        """One mini-batch for both, as in Algorithm 1: N_d steps of the estimator, then the loss of the model."""
        features = self.vae.posterior.encode(x)
        context, centre, coordinates, score_loss = self.fit(x, features.detach())
        z = self.vae.posterior.push(features, self.normal(len(x), 1, self.vae.posterior.noise_dim))
        with torch.no_grad():
            away = z - centre.unsqueeze(1)
            score = self.estimator.score(away, context, **coordinates)
        reconstruction = -self.vae.decoder.log_likelihood(x, z).mean()
        divergence = -log_prior(z).mean() - entropy_surrogate(z, score)
        watched = {"score_loss": score_loss, "stein_ratio": float(stein_ratio(away, score, centre=torch.zeros_like(centre)))}
        return reconstruction + beta * divergence, {"reconstruction": float(reconstruction.detach()), **watched}

    def fit(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor, dict[str, Any], float]:
        """Train the estimator on fresh draws; its context, b(x), its coordinates of z - b(x) for these images, and its mean loss."""
        with torch.no_grad():
            centre = self.vae.posterior.centre_of(features)
            context = self._context(x, features, centre)
        middle = None if self.estimator.standardisation == "amortised" else torch.zeros_like(centre)
        score_loss = 0.0
        for _ in range(self.settings.fits_per_step):
            samples = self._draws(features) - centre.unsqueeze(1)
            score_loss += self._fit(samples, context, middle) / self.settings.fits_per_step
        if self.estimator.standardisation == "per_context":
            return context, centre, {"frame": self.estimator.frame(samples, context=context, centre=middle)}, score_loss
        return context, centre, {"centre": middle}, score_loss

    def _fit(self, samples: Tensor, context: Tensor, middle: Tensor | None) -> float:
        """One step of the estimator, its loss taken a few images at a time; the loss of the score network."""
        images, rows = samples.shape[:2]
        size = max(1, ROWS // rows) if samples.device.type == "cpu" else images
        centres = [None] * images if middle is None else middle.split(size)
        score_losses = []

        def losses() -> Iterator[Tensor]:
            for some, their_context, centre in zip(samples.split(size), context.split(size), centres, strict=False):
                parts = self.estimator.losses(some, their_context, centre=centre, normal=self.normal)
                share = len(some) / images
                score_losses.append(share * parts["score"].detach())
                yield share * torch.stack(list(parts.values())).sum()

        self.descents["score"].step_along(losses())
        return float(torch.stack(score_losses).sum())

    @torch.no_grad()
    def _draws(self, features: Tensor) -> Tensor:
        noise = self.normal(len(features), self.settings.samples_per_context, self.vae.posterior.noise_dim)
        return self.vae.posterior.push(features, noise)

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

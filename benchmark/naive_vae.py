"""An implicit autoencoder's training step and its log p(x) written the straightforward way: the baseline of ``scripts/bench.py vae``.

The same mathematics as ``ardae_rl.tasks.vae`` with the paper's fixed scale; a test sets the two against each other. What is naive on
purpose: contexts are repeated for every latent, noise is concatenated to repeated features, the gradient of the potential comes from
automatic differentiation (twice through it to train), and log p(x) goes image by image with ``torch.distributions``.

Notation: B images, K latents each, E noise and D latent dimension; everything inside is flat, (B K, ...).
Reference: [Lim2020] arXiv:2006.05164, Algorithm 1, Appendix F and Table 6.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from benchmark.naive import Potential, descend, mlp


@dataclass(frozen=True, kw_only=True)
class NaiveVAEConfig:
    """Table 6 of the paper, MNIST with multilayer perceptrons."""

    pixels: int = 784
    width: int = 300
    latent_dim: int = 32
    noise_dim: int = 100
    score_width: int = 256
    score_layers: int = 5
    samples_per_image: int = 625
    scale: float = 10_000.0
    delta_scale: float = 0.1
    lr: float = 1e-4


class NaiveVAE:
    """Networks, optimisers, ``update(x)`` on images (B, P) of zeros and ones, and ``log_likelihood(x, samples)``."""

    def __init__(self, config: NaiveVAEConfig) -> None:
        self.config = config
        self.trunk = mlp([config.pixels, config.width], nn.Softplus, activate_last=True)
        self.head = mlp([config.width + config.noise_dim, config.width, config.latent_dim], nn.Softplus, activate_last=False)
        self.decoder = mlp([config.latent_dim, config.width, config.pixels], nn.Softplus, activate_last=False)
        self.potential = Potential(config.latent_dim, config.latent_dim, config.score_width, config.score_layers, nn.Softplus)
        model = [*self.trunk.parameters(), *self.head.parameters(), *self.decoder.parameters()]
        self.model_optimiser = torch.optim.Adam(model, lr=config.lr, betas=(0.5, 0.999))
        self.score_optimiser = torch.optim.RMSprop(self.potential.parameters(), lr=config.lr, momentum=0.5)

    def posterior(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents (N, D) of images (N, P) and noise (N, E)."""
        return self.head(torch.cat([self.trunk(2 * x - 1), noise], -1))

    def posteriors(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents (B K, D) of images (B, P) and noise (B K, E), every image encoded once."""
        repeated = self.trunk(2 * x - 1).repeat_interleave(len(noise) // len(x), 0)
        return self.head(torch.cat([repeated, noise], -1))

    def centre(self, x: Tensor) -> Tensor:
        """b(x) (B, D)."""
        return self.posterior(x, x.new_zeros(len(x), self.config.noise_dim))

    def update(self, x: Tensor) -> dict[str, float]:
        """One step of the score network and one of the model on the same images; the two losses."""
        return {"score": descend(self.score_optimiser, self.score_loss(x)), "model": descend(self.model_optimiser, self.model_loss(x))}

    def score_loss(self, x: Tensor) -> Tensor:
        """Denoising loss of AR-DAE over K fresh latents of every image."""
        config, count = self.config, self.config.samples_per_image
        with torch.no_grad():
            centre = self.centre(x).repeat_interleave(count, 0)
            z = config.scale * (self.posteriors(x, torch.randn(len(centre), config.noise_dim)) - centre)
        return self.potential.loss(z, centre, count, config.delta_scale)

    def model_loss(self, x: Tensor) -> Tensor:
        """E[-log p(x | z) - log p(z)] and a term with the gradient of E[log q(z | x)], one latent per image."""
        z = self.posterior(x, torch.randn(len(x), self.config.noise_dim))
        centre = self.centre(x).detach()
        score = self.potential.score(self.config.scale * (z - centre), centre, z.new_zeros(len(z), 1))
        return -self.log_joint(x, z).mean() + (self.config.scale * score.detach() * z).sum(-1).mean()

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) + log p(z), (N,)."""
        return Bernoulli(logits=self.decoder(z)).log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, samples: int) -> Tensor:
        """log p(x) (B,), image by image: a Gaussian fitted to ``samples`` draws of the posterior proposes as many latents."""
        return torch.stack([self._log_likelihood(image.unsqueeze(0), samples) for image in x])

    def _log_likelihood(self, x: Tensor, samples: int) -> Tensor:
        """Of one image (1, P), which is encoded once."""
        draws = self.posteriors(x, torch.randn(samples, self.config.noise_dim))
        covariance = torch.cov(draws.double().T) + 1e-5 * torch.eye(self.config.latent_dim)
        proposal = MultivariateNormal(draws.double().mean(0), covariance)
        z = proposal.sample((samples,))
        log_weights = self.log_joint(x, z.to(x.dtype)) - proposal.log_prob(z)
        return torch.logsumexp(log_weights, 0) - math.log(samples)

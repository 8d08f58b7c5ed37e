"""The generative side: prior N(0, I), a decoder with a density, and the joint log p(x, z).

Notation: B images, K latents each, P pixels, D latent dimension; x (B, P), z (B, K, D).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.tasks.vae.posteriors import Posterior


class BernoulliDecoder(nn.Module):
    """p(x | z) = prod_p Bernoulli(x_p; sigmoid(l_p(z))), ``body``: z (N, D) -> logits l (N, P)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, (B, K)."""
        logits = self.body(z.flatten(0, 1)).view(*z.shape[:2], -1)
        return (logits @ x.unsqueeze(-1)).squeeze(-1) - functional.softplus(logits).sum(-1)

    def mean(self, z: Tensor) -> Tensor:
        """E[x | z], (N, P) for z (N, D)."""
        return self.body(z).sigmoid()

    def sample(self, z: Tensor, noise: Tensor) -> Tensor:
        """x (N, P) from standard normal ``noise`` of that shape."""
        return (torch.special.ndtr(noise) < self.mean(z)).to(z.dtype)


class GaussianDecoder(nn.Module):
    """p(x | z) = N(m(z), diag v(z)), ``body``: z (N, D) -> [m, log v] (N, 2 P)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, (B, K)."""
        mean, log_variance = self.body(z.flatten(0, 1)).view(*z.shape[:2], -1).chunk(2, -1)
        distance = (x.unsqueeze(1) - mean).square() * (-log_variance).exp()
        return -0.5 * (distance + log_variance + math.log(2 * math.pi)).sum(-1)

    def mean(self, z: Tensor) -> Tensor:
        """E[x | z], (N, P) for z (N, D)."""
        return self.body(z).chunk(2, -1)[0]

    def sample(self, z: Tensor, noise: Tensor) -> Tensor:
        """x (N, P) from standard normal ``noise`` of that shape."""
        mean, log_variance = self.body(z).chunk(2, -1)
        return mean + (0.5 * log_variance).exp() * noise

    def last_weights_of_mean(self) -> Tensor:
        """Rows of the last layer that make m, (P, width)."""
        return list(self.body.parameters())[-2].chunk(2)[0]


class VAE(nn.Module):
    """A posterior and a decoder."""

    def __init__(self, posterior: Posterior, decoder: BernoulliDecoder | GaussianDecoder) -> None:
        super().__init__()
        self.posterior, self.decoder = posterior, decoder

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) + log p(z), (B, K)."""
        return self.decoder.log_likelihood(x, z) + log_standard_normal(z)

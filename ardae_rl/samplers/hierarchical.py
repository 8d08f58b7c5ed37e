"""A Gaussian with a hidden cause: a density that is an integral.

Notation: N samples, L latent dimension, D dimension; z (N, L), x (N, D), noise (N, L + D) = [z, eps].
Reference: Ranganath et al. 2016, arXiv:1511.02386; [Lim2020] arXiv:2006.05164, section 6.1 and Appendix E.
"""

import torch
from torch import Tensor, nn

from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.samplers.base import Sampler
from ardae_rl.samplers.gaussian import GaussianSampler

LOG_STD_MAX = 10.0  # far beyond any sample: a bound against overflow only


class HierarchicalSampler(Sampler):
    """z ~ N(0, I), x | z ~ N(mu(z), s^2(z)), diagonal. (N, noise_dim = L + D) -> (N, D), without a context.

    ``log_std_min``: of x given z. At first z matters more than the noise around mu(z) does: a sampler that starts without using z stays so,
    for a wide Gaussian around nothing is a local optimum of the auxiliary bound.
    """

    def __init__(self, latent_dim: int, dim: int, *, width: int = 256, layers: int = 3, log_std_min: float = -20.0) -> None:
        super().__init__()
        self.latent_dim, self.dim, self.noise_dim = latent_dim, dim, latent_dim + dim
        self.width, self.layers = width, layers
        self.given_latent = GaussianSampler(
            latent_dim, dim, hidden_layers=layers, width=width, log_std_min=log_std_min, log_std_max=LOG_STD_MAX
        )
        weight, bias = list(self.given_latent.parameters())[-2:]
        nn.init.normal_(weight[:dim])
        with torch.no_grad():
            bias[dim:] -= 1

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return self.draw_with_joint(noise)[0]

    def draw_with_joint(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples x (N, D), the z (N, L) that they were drawn with, and log p(x | z) + log p(z) (N,), differentiable."""
        z, eps = noise.split((self.latent_dim, self.dim), -1)
        x, log_given = self.given_latent.draw_with_log_prob(z, eps.unsqueeze(1))
        return x.squeeze(1), z, log_given.squeeze(1) + log_standard_normal(z)

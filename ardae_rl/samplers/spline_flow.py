"""A neural spline flow inside a Gaussian: the most flexible policy here that still has a density.

Notation: B states, K samples per state, D dimension of the pre-tanh action; state (B, C), noise and action (B, K, D).
Identity: x = mu(c) + std(c) * S(eps; c); S is a composition of autoregressive rational-quadratic splines, each bending one coordinate
of the noise given the state and the coordinates before it, so log p(x | c) = log N(eps; 0, I) - log |det dS/deps| - sum log std(c).
Not here: the splines themselves, which are zuko's. They run from noise to action, the cheap way; a density elsewhere takes D passes.
Reference: Durkan et al. 2019, arXiv:1906.04032; Kingma et al. 2016, arXiv:1606.04934, for the direction.
"""

from torch import Tensor

from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.samplers.base import TractableSampler, given
from ardae_rl.samplers.gaussian import GaussianSampler


class SplineFlowSampler(TractableSampler):
    """x = mu(c) + std(c) * S(eps; c), with ``flows`` layers of splines of ``bins`` bins on (-5, 5).

    Each layer's splines come from a ReLU network of ``hidden_layers`` of ``width``. S acts on the noise, not on the Gaussian's samples:
    there its interval fits, whatever the state makes of location and scale.
    """

    def __init__(
        self, base: GaussianSampler, context_dim: int, *, flows: int = 3, bins: int = 8, hidden_layers: int = 2, width: int = 64
    ) -> None:
        from zuko.flows import NSF  # here, so that every other policy needs torch alone

        super().__init__()
        self.dim = self.noise_dim = base.dim
        self.base = base
        self.flow = NSF(base.dim, context_dim, bins=bins, transforms=flows, hidden_features=[width] * hidden_layers).transform

    def draw_with_log_prob(self, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is inverted."""
        mean, log_std = (part.unsqueeze(1) for part in self.base.parameters_of(context))
        bent, log_det = self.flow(given(context).unsqueeze(1)).call_and_ladj(noise)
        return mean + log_std.exp() * bent, log_standard_normal(noise) - log_det - log_std.sum(-1)

    def log_prob(self, context: Tensor | None, x: Tensor) -> Tensor:
        mean, log_std = (part.unsqueeze(1) for part in self.base.parameters_of(context))
        noise, log_det = self.flow(given(context).unsqueeze(1)).inv.call_and_ladj((x - mean) * (-log_std).exp())
        return log_standard_normal(noise) + log_det - log_std.sum(-1)

"""A sampler that is a plain network of noise: x = g(z), and no density.

Notation: N samples, E noise dimension, D dimension; noise (N, E), x (N, D).
Reference: [Lim2020] arXiv:2006.05164, Appendix E.
"""

from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.activations import activation_pair
from ardae_rl.nn.mlp import Dense, mlp_layers


class ImplicitMLP(nn.Module):
    """x = g(z), z ~ N(0, I): ``layers`` hidden layers of ``width``, then a linear output. (N, noise_dim) -> (N, dim).

    The output weights start as N(0, 1), and so the samples with a spread of order one: a sampler that starts as a point misses modes.
    ``activation``: relu, as in the paper, or one of the smooth ones in :data:`ardae_rl.nn.activations.ACTIVATIONS`.
    """

    def __init__(self, noise_dim: int, dim: int, width: int = 256, layers: int = 3, activation: str = "relu") -> None:
        super().__init__()
        if noise_dim < dim:
            raise ValueError(
                f"noise_dim must be at least the dimension {dim} of a sample, got {noise_dim}: with less noise than dimensions the "
                "samples lie on a thin surface that has no density, and no score. Raise noise_dim."
            )
        self.noise_dim, self.dim = noise_dim, dim
        self.activation = functional.relu if activation == "relu" else activation_pair(activation)[0]
        self.hidden = mlp_layers(noise_dim, width, layers)
        self.out = Dense(width, dim)
        nn.init.normal_(self.out.weight)

    def forward(self, noise: Tensor) -> Tensor:
        h = noise
        for layer in self.hidden:
            h = self.activation(layer(h))
        return self.out(h)

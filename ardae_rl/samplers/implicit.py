"""The implicit policy: noise goes in with the state, an action comes out, and no density exists to evaluate.

Notation: B states, K samples per state, E noise dimension, D dimension of the pre-tanh action; state (B, C), noise (B, K, E).
Reference: [Lim2020] arXiv:2006.05164, Appendix G, and the authors' released code; LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

import math
from typing import Literal, get_args

from torch import Tensor, nn

from ardae_rl.nn.activations import activation_pair
from ardae_rl.nn.mlp import Dense, mlp_layers

Initialisation = Literal["lecun", "released"]


class ImplicitSampler(nn.Module):
    """x = head([encoder(c), eps]): ``encoder_layers`` hidden layers of ``width``, ``head_layers`` of ``head_width``, then a linear output.

    ``head_width`` None: as ``width``.

    The first head layer is linear in [encoder(c), eps], so the state is encoded once however many samples are drawn for it.
    ``initialisation``: with ``lecun`` the noise goes through layers of variance 1 / fan-in, and samples start near 0 with a spread a little
    below 1 in every direction. ``released``, the authors' code: a last weight from N(0, 1). Samples then start up to three units from 0;
    behind a tanh a quarter to six tenths of them are saturated, after a head of three layers of 64 a few hundredths.
    """

    def __init__(
        self,
        context_dim: int,
        dim: int,
        *,
        noise_dim: int = 10,
        encoder_layers: int = 1,
        head_layers: int = 1,
        width: int = 256,
        head_width: int | None = None,
        activation: str = "elu",
        initialisation: Initialisation = "lecun",
    ) -> None:
        super().__init__()
        if noise_dim < dim:
            raise ValueError(
                f"noise_dim must be at least the action dimension {dim}, got {noise_dim}: with less noise than dimensions the actions lie "
                "on a thin surface that has no density, and no score. Raise noise_dim."
            )
        if initialisation not in get_args(Initialisation):
            raise ValueError(f"initialisation must be one of {', '.join(get_args(Initialisation))}, got {initialisation!r}.")
        self.dim, self.noise_dim = dim, noise_dim
        self.activation, _ = activation_pair(activation)
        self.encoder = mlp_layers(context_dim, width, encoder_layers)
        head_width = width if head_width is None else head_width
        self.from_context = Dense(width, head_width)
        self.from_noise = Dense(noise_dim, head_width, bias=False)
        self.head = mlp_layers(head_width, head_width, head_layers - 1)
        self.out = Dense(head_width, dim)
        bound = 1 / math.sqrt(width + noise_dim)
        for part in (self.from_context.weight, self.from_context.bias, self.from_noise.weight):
            nn.init.uniform_(part, -bound, bound)
        if initialisation == "released":
            nn.init.normal_(self.out.weight)
        else:
            for layer in (self.from_noise, *self.head, self.out):
                nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))

    def draw(self, context: Tensor, noise: Tensor) -> Tensor:
        """(B, K, D), differentiable in the parameters."""
        features = context
        for layer in self.encoder:
            features = self.activation(layer(features))
        batch, samples, _ = noise.shape
        from_noise = self.from_noise(noise.reshape(batch * samples, -1)).view(batch, samples, -1)
        h = self.activation(from_noise + self.from_context(features).unsqueeze(1)).view(batch * samples, -1)
        for layer in self.head:
            h = self.activation(layer(h))
        return self.out(h).view(batch, samples, -1)

    def centre(self, context: Tensor) -> Tensor:
        """b(c) = g(0, c): the sample at zero noise, (B, D)."""
        return self.draw(context, context.new_zeros(len(context), 1, self.noise_dim)).squeeze(1)

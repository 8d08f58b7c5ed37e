"""The implicit sampler: noise goes in, with a context where there is one, a sample comes out, and no density exists to evaluate.

Notation: B contexts, K samples per context, E noise and D sample dimension; context (B, C), noise (B, K, E). Without a context (N, E).
Reference: [Lim2020] arXiv:2006.05164, Appendices E and G, and the authors' released code; LeCun et al. 1998, "Efficient BackProp",
section 4.6.
"""

import math
from typing import Literal, get_args

from torch import Tensor, nn

from ardae_rl.nn.activations import activation_of
from ardae_rl.nn.mlp import Dense, mlp_layers
from ardae_rl.samplers.base import Sampler, check_noise, given

Initialisation = Literal["lecun", "released"]


class ImplicitSampler(Sampler):
    """x = head([encoder(c), eps]): ``encoder_layers`` hidden layers of ``width``, ``head_layers`` of ``head_width``, then a linear output.

    ``head_width`` None: as ``width``. ``context_dim`` 0: x = head(eps).

    The first head layer is linear in [encoder(c), eps], so the context is encoded once however many samples are drawn for it.
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
        check_noise(noise_dim, dim)
        if initialisation not in get_args(Initialisation):
            raise ValueError(f"initialisation must be one of {', '.join(get_args(Initialisation))}, got {initialisation!r}.")
        self.dim, self.noise_dim = dim, noise_dim
        self.activation = activation_of(activation)
        head_width = width if head_width is None else head_width
        self.encoder = mlp_layers(context_dim, width, encoder_layers if context_dim else 0)
        self.from_context = Dense(width, head_width) if context_dim else None
        self.from_noise = Dense(noise_dim, head_width, bias=not context_dim)
        self.head = mlp_layers(head_width, head_width, head_layers - 1)
        self.out = Dense(head_width, dim)
        if self.from_context is not None:
            bound = 1 / math.sqrt(width + noise_dim)
            for part in (self.from_context.weight, self.from_context.bias, self.from_noise.weight):
                nn.init.uniform_(part, -bound, bound)
        if initialisation == "released":
            nn.init.normal_(self.out.weight)
        else:
            for layer in (self.from_noise, *self.head, self.out):
                nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        h = self.from_noise(noise)
        if self.from_context is not None:
            h = h + self.from_context(self._encoded(given(context))).unsqueeze(1)
        h = self.activation(h)
        for layer in self.head:
            h = self.activation(layer(h))
        return self.out(h)

    def _encoded(self, context: Tensor) -> Tensor:
        for layer in self.encoder:
            context = self.activation(layer(context))
        return context

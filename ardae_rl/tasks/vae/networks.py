"""Networks of the variational autoencoders: what sees x, what mixes it with noise, what turns z back into x.

Notation: B images (or points), K latents each, F features, W width, D latent dimension; x (B, pixels), z (B, K, D).
Not here: what the outputs mean (``posteriors.py``).
Reference: [Lim2020] arXiv:2006.05164, Table 5 and Appendix F.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from ardae_rl.nn.linear import linear
from ardae_rl.nn.mlp import Dense
from ardae_rl.tasks.vae.config import NetworkSettings

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": functional.relu, "softplus": functional.softplus, "elu": functional.elu}


class MLP(nn.Module):
    """``layers`` hidden layers, each with its activation: (..., in) -> (..., width)."""

    def __init__(self, inputs: int, width: int, layers: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.layers = nn.ModuleList(Dense(width if i else inputs, width) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Centred(nn.Module):
    """Pixels in [0, 1] as numbers in [-1, 1] to a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(2 * x - 1)


class Joint(nn.Module):
    """A linear layer on [features, extra], its part on the features (B, F) computed once for all K of extra (B, K, E)."""

    def __init__(self, features: int, extra: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.layer = nn.Linear(features + extra, outputs)

    def forward(self, features: Tensor, extra: Tensor) -> Tensor:
        of_features, of_extra = self.layer.weight.split([self.features, extra.shape[-1]], -1)
        known = linear(features, of_features, self.layer.bias).unsqueeze(1)
        return known + linear(extra.flatten(0, 1), of_extra).view(*extra.shape[:2], -1)


class Mixer(nn.Module):
    """Hidden layers where noise, or a latent, joins the features of x: (B, F), (B, K, E) -> (B, K, W)."""

    def __init__(self, features: int, extra: int, width: int, layers: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.joint = Joint(features, extra, width)
        self.hidden = MLP(width, width, layers - 1, activation)

    def forward(self, features: Tensor, extra: Tensor) -> Tensor:
        return self.hidden(self.activation(self.joint(features, extra)))


def normalised(layer: nn.Module) -> nn.Module:
    """Weights g v / ||v|| per output, g = 1 at the start."""
    weight_norm(layer)
    nn.init.ones_(layer.parametrizations.weight.original0)  # type: ignore[union-attr, arg-type]
    return layer


class Residual(nn.Module):
    """W activation(V x) + U x with normalised weights, of the layers V, U and W."""

    def __init__(self, *layers: nn.Module, activation: str) -> None:
        super().__init__()
        self.first, self.skip, self.second = layers
        self.activation = ACTIVATIONS[activation]

    def forward(self, *x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(*x))) + self.skip(*x)


class ResidualLinear(Residual):
    """Of (..., in) -> (..., out)."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(*(normalised(Dense(size, outputs)) for size in (inputs, inputs, outputs)), activation=activation)


class ResidualConv(Residual):
    """With 3 x 3 convolutions, the first and the skip with a ``stride``."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str) -> None:
        sizes = ((inputs, stride), (inputs, stride), (outputs, 1))
        super().__init__(*(normalised(nn.Conv2d(size, outputs, 3, step, 1)) for size, step in sizes), activation=activation)


class ResidualMixer(Residual):
    """A mixer as one residual block, then an activation: (B, F), (B, K, E) -> (B, K, W)."""

    def __init__(self, features: int, extra: int, width: int, activation: str) -> None:
        super().__init__(*(Joint(features, extra, width) for _ in range(2)), normalised(Dense(width, width)), activation=activation)
        for joint in (self.first, self.skip):
            normalised(joint.layer)  # type: ignore[arg-type]

    def forward(self, *x: Tensor) -> Tensor:
        return self.activation(super().forward(*x))


class _Function(nn.Module):
    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


_AS_IMAGE = partial(nn.Unflatten, 1, (1, 28, 28))


class Architecture:
    """The parts of an encoder and a decoder for x of ``pixels`` numbers, as multilayer perceptrons; every call makes fresh weights.

    ``trunk()``: x -> features (B, ``features``); with ``centred``, pixels in [0, 1] go to [-1, 1] first. ``own_trunks``: whether
    q(z | z0, x) and h(z0 | z, x) have one each, or share that of q(z0 | x).
    ``head()``: features -> hidden layer (B, ``width``). ``hidden_of_both``: whether what a hierarchical posterior says about x is
    the hidden layer of q(z0 | x) and that of q(z | z0, x), or the second alone, as the released code has it for each architecture.
    ``mixer(E)``: the same where E numbers join, (B, K, ``width``). ``implicit(E, D)``: mixer and last layer of an implicit posterior.
    ``decoder(D, P)``: z (N, D) -> (N, P).
    """

    own_trunks = False
    hidden_of_both = True

    def __init__(self, settings: NetworkSettings, pixels: int, *, centred: bool) -> None:
        self.settings, self.pixels, self.centred = settings, pixels, centred
        self.width, self.activation = settings.width, settings.activation
        self.features = self.width
        self.head_layers = settings.head_layers if settings.equal_depth else settings.head_layers - 1

    def trunk(self) -> nn.Module:
        return Centred(self._trunk()) if self.centred else self._trunk()

    def _trunk(self) -> nn.Module:
        return MLP(self.pixels, self.width, self.settings.encoder_layers, self.activation)

    def head(self) -> nn.Module:
        return MLP(self.features, self.width, self.head_layers, self.activation)

    def mixer(self, extra: int) -> nn.Module:
        return Mixer(self.features, extra, self.width, self.settings.head_layers, self.activation)

    def implicit(self, extra: int, dim: int) -> tuple[nn.Module, nn.Module]:
        return self.mixer(extra), Dense(self.width, dim)

    def decoder(self, dim: int, outputs: int) -> nn.Module:
        return nn.Sequential(MLP(dim, self.width, self.settings.decoder_layers, self.activation), Dense(self.width, outputs))


class ConvArchitecture(Architecture):
    """Three convolutions and the one dense layer before an output, all of them every network's own."""

    own_trunks = True

    def __init__(self, settings: NetworkSettings, pixels: int, *, centred: bool) -> None:
        super().__init__(settings, pixels, centred=centred)
        self.features, self.head_layers = 512, settings.head_layers

    def _trunk(self) -> nn.Module:
        """Three 5 x 5 convolutions of stride 2 to 512 features."""
        act = _Function(ACTIVATIONS[self.activation])
        convolutions = [nn.Conv2d(inputs, outputs, 5, 2, 2) for inputs, outputs in ((1, 16), (16, 32), (32, 32))]
        return nn.Sequential(_AS_IMAGE(), *(part for layer in convolutions for part in (layer, act)), nn.Flatten())

    def decoder(self, dim: int, outputs: int) -> nn.Module:
        """(N, D) -> 300 -> 512 -> 32 x 4 x 4 -> 32 x 7 x 7 -> 16 x 14 x 14 -> logits (N, 784)."""
        act = _Function(ACTIVATIONS[self.activation])
        back = partial(nn.ConvTranspose2d, kernel_size=5, stride=2, padding=2)
        return nn.Sequential(
            *(nn.Linear(dim, 300), act, nn.Linear(300, 512), act, nn.Unflatten(1, (32, 4, 4))),
            *(back(32, 32), act, back(32, 16, output_padding=1), act, back(16, 1, output_padding=1), nn.Flatten()),
        )


class ResConvArchitecture(Architecture):
    """Residual blocks with normalised weights, in an implicit posterior to the very end."""

    hidden_of_both = False

    def _trunk(self) -> nn.Module:
        """Five residual convolutions and a residual layer to ``width`` features."""
        act = _Function(ACTIVATIONS[self.activation])
        sizes = ((1, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 2))
        blocks = (part for size in sizes for part in (ResidualConv(*size, self.activation), act))
        return nn.Sequential(_AS_IMAGE(), *blocks, nn.Flatten(), ResidualLinear(512, self.width, self.activation), act)

    def implicit(self, extra: int, dim: int) -> tuple[nn.Module, nn.Module]:
        return ResidualMixer(self.features, extra, self.width, self.activation), ResidualLinear(self.width, dim, self.activation)

    def decoder(self, dim: int, outputs: int) -> nn.Module:
        """Bilinear upsampling between residual convolutions: (N, D) -> logits (N, 784)."""
        act, block = _Function(ACTIVATIONS[self.activation]), partial(ResidualConv, stride=1, activation=self.activation)
        dense = partial(ResidualLinear, activation=self.activation)
        twice = partial(nn.Upsample, scale_factor=2, mode="bilinear", align_corners=True)
        return nn.Sequential(
            *(dense(dim, self.width), act, dense(self.width, 512), act, nn.Unflatten(1, (32, 4, 4))),
            *(twice(), block(32, 32), act, block(32, 32), act, _Function(lambda h: h[..., :7, :7])),
            *(twice(), block(32, 16), act, block(16, 16), act, twice(), block(16, 1), nn.Flatten()),
        )


ARCHITECTURES = {"mlp": Architecture, "conv": ConvArchitecture, "resconv": ResConvArchitecture}

"""Networks for a score f(x; c, sigma): a scalar potential with its gradient in closed form, and a residual network.

Notation: B contexts, K samples per context, D dimension of a sample, C of a context, W width. x (B, K, D) and sigma (B, K, 1) are in
standardised coordinates (see ``standardise.py``), context (B, C) or None.
Identity: for psi = w . h_L, h_l = act(z_l), z_l = V_l h_{l-1} + b_l, the gradient is one backward sweep g_{l-1} = V_l^T (act'(z_l) g_l)
from g_L = w. Writing the sweep out makes the gradient an ordinary expression: training it needs single, not double, back-propagation.
That, too, is written out (``closed_form.py``).
Not here: losses, noise, standardisation.
"""

import math

import torch
from torch import Tensor, nn

from ardae_rl.nn.activations import smooth
from ardae_rl.nn.linear import linear
from ardae_rl.nn.mlp import Dense, mlp_layers
from ardae_rl.score import closed_form


class ScoreBody(nn.Module):
    """Hidden layers shared by both forms: encode x and c apart, add them (and sigma) in the first joint layer, go on.

    The first joint layer is linear in the concatenation [context, x, sigma], so its context part is computed once per context and
    added to all K samples, instead of being repeated for each. With ``sigma_unit`` it sees (sigma / sigma_unit)^2 in the place of sigma.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        *,
        layers: int,
        context_layers: int,
        input_layers: int,
        width: int,
        activation: str,
        sigma_unit: float | None = None,
    ) -> None:
        super().__init__()
        self.sigma_unit = sigma_unit
        self.act = smooth(activation)
        self.input_encoder = mlp_layers(dim, width, input_layers)
        self.context_encoder = mlp_layers(context_dim, width, context_layers if context_dim else 0)
        input_features = width if input_layers else dim
        context_features = (width if context_layers else context_dim) if context_dim else 0
        self.from_input = Dense(input_features, width, bias=False)
        self.from_context = Dense(context_features, width, bias=False) if context_dim else None
        self.from_sigma = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.joint = mlp_layers(width, width, layers - 1)
        self._reset_first_joint_layer(input_features + context_features + 1)

    def _reset_first_joint_layer(self, fan_in: int) -> None:
        """The default initialisation of the one linear layer that the three parts make together."""
        bound = 1 / math.sqrt(fan_in)
        parts = [self.from_input.weight, self.from_sigma, self.bias]
        for part in parts if self.from_context is None else [*parts, self.from_context.weight]:
            nn.init.uniform_(part, -bound, bound)

    def per_context(self, context: Tensor | None) -> Tensor:
        """Context part of the first joint layer, (B, W), or (W,) without a context."""
        if self.from_context is None:
            return self.bias
        features = context
        for layer in self.context_encoder:
            features = self.act.function(layer(features))
        return self.from_context(features) + self.bias

    def seen(self, sigma: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What the first joint layer sees of sigma; None: that it is 0."""
        if sigma is None:
            return None
        return (sigma if self.sigma_unit is None else (sigma / self.sigma_unit).square()).to(dtype)

    def forward(self, x: Tensor, of_context: Tensor, seen: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """Hidden values h and what they are act of, of every layer x passes through, each (B K, W), first layer first."""
        batch, samples, _ = x.shape
        hidden, pre = [x.reshape(batch * samples, -1)], []
        for layer in self.input_encoder:
            pre.append(layer(hidden[-1]))
            hidden.append(self.act.function(pre[-1]))
        z = self.from_input(hidden[-1]).view(batch, samples, -1) + of_context.view(-1, 1, self.bias.shape[0])
        if seen is not None:
            z = torch.addcmul(z, seen, self.from_sigma.to(z.dtype))
        pre.append(z.view(batch * samples, -1))
        hidden.append(self.act.function(pre[-1]))
        for layer in self.joint:
            pre.append(layer(hidden[-1]))
            hidden.append(self.act.function(pre[-1]))
        return hidden[1:], pre

    @property
    def chain(self) -> tuple[Dense, ...]:
        """The layers that x passes through."""
        return (*self.input_encoder, self.from_input, *self.joint)

    def sweep(self, seed: Tensor, hidden: list[Tensor], pre: list[Tensor]) -> Tensor:
        """Gradient in x of seed . h_L, (B K, D); seed (W,)."""
        slopes = [self.act.slope(z, h) for z, h in zip(pre, hidden, strict=True)]
        grad = seed * slopes[-1]
        for layer, slope in zip(reversed(self.chain[1:]), reversed(slopes[:-1]), strict=True):
            grad = linear(grad, layer.weight.t()) * slope
        return linear(grad, self.chain[0].weight.t())


class PotentialNet(nn.Module):
    """Gradient form: a scalar psi(x; c, sigma), an unnormalised log-density, and f = grad_x psi in closed form."""

    def __init__(self, body: ScoreBody, width: int) -> None:
        super().__init__()
        self.body = body
        self.out = nn.Linear(width, 1)

    def potential(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """psi, (B, K)."""
        hidden, _ = self.body(x, self.body.per_context(context), self.body.seen(sigma, x.dtype))
        return self.out(hidden[-1]).view(x.shape[:-1])

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """grad_x psi, (B, K, D)."""
        of_context, seen, seed = self.body.per_context(context), self.body.seen(sigma, x.dtype), self.out.weight[0]
        if _is_all_there_is(x):
            return closed_form.gradient_of_potential(self.body, x, of_context, seen, seed)
        hidden, pre = self.body(x, of_context, seen)
        return self.body.sweep(seed, hidden, pre).view(x.shape)


def _is_all_there_is(x: Tensor) -> bool:
    """Whether what is asked for are first derivatives, in the parameters alone, of one network in full precision."""
    plain = not (torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type) or torch._C._are_functorch_transforms_active())
    return plain and torch.is_grad_enabled() and not x.requires_grad


class ResidualNet(nn.Module):
    """Residual form: the network's D outputs are f itself (no potential, hence no log-density)."""

    def __init__(self, body: ScoreBody, width: int, dim: int) -> None:
        super().__init__()
        self.body = body
        self.out = nn.Linear(width, dim)

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """f, (B, K, D)."""
        hidden, _ = self.body(x, self.body.per_context(context), self.body.seen(sigma, x.dtype))
        return self.out(hidden[-1]).view(x.shape)


class GaussianResidual(nn.Module):
    """The score of N(0, (1 + sigma^2) I), that of whitened Gaussian samples with noise, plus a network that starts at zero.

    A Gaussian is then right from the first step, and what is left to learn is the departure from it.
    ``student_dof`` nu: Student's t in its place, (nu + D) / (nu (1 + sigma^2) + |x|^2) times -x. Around |x|^2 = D it is the Gaussian's,
    far out it falls as 1 / |x|. There samples are too few to correct a Gaussian's, whose entropy gradient drives them ever further out.
    """

    def __init__(self, network: PotentialNet | ResidualNet, student_dof: float | None = None) -> None:
        super().__init__()
        self.network, self.student_dof = network, student_dof
        nn.init.zeros_(network.out.weight)
        nn.init.zeros_(network.out.bias)

    def potential(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """psi, (B, K). Gradient form only."""
        assert isinstance(self.network, PotentialNet)
        variance = 1.0 if sigma is None else 1 + sigma.squeeze(-1).square()
        squares = x.square().sum(-1) / variance
        if self.student_dof is not None:
            squares = (self.student_dof + x.shape[-1]) * (squares / self.student_dof).log1p()
        return self.network.potential(x, context, sigma) - 0.5 * squares

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """f, (B, K, D)."""
        return self.network(x, context, sigma) + self.base(x, sigma)

    def base(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The score that f has without its network, (B, K, D)."""
        variance = 1.0 if sigma is None else 1 + sigma.square()
        if self.student_dof is not None:
            variance = (self.student_dof * variance + x.square().sum(-1, keepdim=True)) / (self.student_dof + x.shape[-1])
        return -x / variance


def in_closed_form(network: nn.Module) -> bool:
    """Whether ``closed_form.py`` has the gradients of a loss of f in all parameters."""
    return isinstance(network.network if isinstance(network, GaussianResidual) else network, PotentialNet)

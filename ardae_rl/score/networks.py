"""Networks for a score f(x; c, sigma): a scalar potential with its gradient in closed form, and a residual network.

Notation: B contexts, K samples per context, D dimension of a sample, C of a context, W width. x (B, K, D) and sigma (B, K, 1) are in
standardised coordinates (see ``standardise.py``), context (B, C) or None.
Identity: for psi = w . h_L, h_l = act(z_l), z_l = V_l h_{l-1} + b_l, the gradient is one backward sweep g_{l-1} = V_l^T (act'(z_l) g_l)
from g_L = w. Writing the sweep out makes the gradient an ordinary expression: training it needs single, not double, back-propagation.
That, too, is written out (``closed_form.py``).
Not here: losses, noise, standardisation.
"""

import torch
from torch import Tensor, nn

from ardae_rl.score import closed_form
from ardae_rl.score.body import ScoreBody


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

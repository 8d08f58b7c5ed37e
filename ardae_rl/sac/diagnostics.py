"""How spread out a policy's actions are: measured, for any policy alike, and not taken from what its entropy is estimated with.

Notation: B states, K samples per state, E noise and D action dimensions; obs (B, C), noise (B, K, E), x = g(noise, obs) the action
before tanh.
Not here: anything that an update needs. This is for a few states, once per report.
"""

import torch
from torch import Tensor

from ardae_rl.samplers import Sampler

WATCHED_STATES, WATCHED_SAMPLES = 64, 64


@torch.no_grad()
def action_std(policy: Sampler, obs: Tensor, noise: Tensor) -> Tensor:
    """Standard deviation of x over the K >= 2 samples of a state, averaged over coordinates; (B,)."""
    return policy.draw(obs, noise).std(1).mean(-1)


@torch.no_grad()
def sample_actions(policy: Sampler, obs: Tensor, generator: torch.Generator, *, samples: int) -> Tensor:
    """tanh x for so many draws of noise from ``generator`` at each of these states (B, C): (B, samples, D)."""
    return policy.draw(obs, torch.randn(len(obs), samples, policy.noise_dim, generator=generator)).tanh()


def smallest_singular_values(policy: Sampler, obs: Tensor, noise: Tensor) -> Tensor:
    """Of the Jacobian of tanh x in the noise, (D, E), at each of the points ``noise`` (B, K, E): exact, (B, K).

    Its square is the least squared stretch that Jacobian clamping could meet along a direction that moves the action at all. (Along a
    random direction the stretch is that of all singular values mixed, and where D is below E most of the direction is in the null space.)
    D backward passes.
    """
    noise = noise.detach().requires_grad_()
    with torch.enable_grad():
        action = policy.draw(obs, noise).tanh()
        rows = [torch.autograd.grad(action[..., i].sum(), noise, retain_graph=True)[0] for i in range(action.shape[-1])]
    return torch.linalg.svdvals(torch.stack(rows, -2))[..., -1]


def watch_policy(policy: Sampler, obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """``action_std`` and ``jacobian_singular_value_min`` at each of these states (B, C), with noise of ``generator``; (B,) both."""
    noise = torch.randn(len(obs), WATCHED_SAMPLES, policy.noise_dim, generator=generator)
    return {
        "action_std": action_std(policy, obs, noise),
        "jacobian_singular_value_min": smallest_singular_values(policy, obs, noise[:, :1]).squeeze(1),
    }

"""A trained policy on its own: weights in a safetensors file, everything else in a JSON file beside it.

Notation: B observations of O numbers, D action and E noise dimensions; obs (B, O), noise (B, E), action (B, D) in the environment's units.
Identity: action = low + (tanh x + 1) / 2 (high - low), x = g(noise, obs) the sampler's pre-tanh action; at noise 0 it is deterministic.
Not here: where policies come from (``ardae_rl.rllib.checkpoint``) and how they do (``ardae_rl.evaluation``).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ardae_rl.plain import rebuild
from ardae_rl.sac.build import build_policy
from ardae_rl.sac.config import SACConfig

FORMAT = "ardae-rl policy 1"
_SAMPLER_SETTINGS = ("policy", "implicit", "gaussian", "flow")  # of SACConfig, what decides the network


@dataclass(frozen=True, kw_only=True)
class PolicyDescription:
    """What the weights belong to: the environment (a Gymnasium id and its keyword arguments), how long it was trained there, its shapes.

    ``action_low`` and ``action_high`` bound the environment's actions; of ``sac`` only what decides the policy's network is kept.
    """

    env: str
    env_config: dict[str, Any]
    env_steps: int
    obs_dim: int
    action_low: list[float]
    action_high: list[float]
    sac: SACConfig


class TrainedPolicy(nn.Module):
    """Actions in the environment's units.

    Call: obs (B, O), noise (B, E) standard normal, or None for zero noise -> (B, D), within the bounds. ``noise_dim`` is E.
    """

    low: Tensor
    high: Tensor

    def __init__(self, description: PolicyDescription) -> None:
        super().__init__()
        self.description = description
        self.sampler = build_policy(description.obs_dim, len(description.action_low), description.sac)
        self.noise_dim = self.sampler.noise_dim
        self.register_buffer("low", torch.tensor(description.action_low), persistent=False)
        self.register_buffer("high", torch.tensor(description.action_high), persistent=False)

    @torch.no_grad()
    def forward(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        x = self.sampler.centre(obs) if noise is None else self.sampler.draw(obs, noise.unsqueeze(1)).squeeze(1)
        return self.low + (x.tanh() + 1) / 2 * (self.high - self.low)


def save_policy(policy: TrainedPolicy, path: Path) -> Path:
    """Write the weights to ``path``, NAME.safetensors, and the description to NAME.json; returns the latter."""
    described = asdict(policy.description)
    described["sac"] = {name: described["sac"][name] for name in _SAMPLER_SETTINGS}
    facts = {"format": FORMAT, **described, "noise_dim": policy.noise_dim}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in policy.state_dict().items()}, path)
    return path.with_suffix(".json")


def load_policy(path: Path) -> TrainedPolicy:
    """The policy that :func:`save_policy` wrote to ``path``, on the CPU. Runs no code of the files': there is no pickle in them.

    Raises:
        FileNotFoundError: the weights or their description are not there.
        ValueError: the description is of another format.
    """
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if facts.pop("format", None) != FORMAT:
        raise ValueError(
            f"format must be {FORMAT!r} in {path.with_suffix('.json')}; export the policy again with scripts/evaluate.py --export"
        )
    policy = TrainedPolicy(rebuild(PolicyDescription, facts))
    policy.load_state_dict(load_file(path))
    return policy.eval()

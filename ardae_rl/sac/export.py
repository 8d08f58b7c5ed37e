"""A trained policy on its own: weights in a safetensors file, everything else in a JSON file beside it.

Notation: B observations of O numbers, D action and E noise dimensions; obs (B, O), noise (B, E), action (B, D) in the environment's units.
Identity: action = low + (tanh x + 1) / 2 (high - low), x = g(noise, obs) the sampler's pre-tanh action; at noise 0 it is deterministic.
Not here: where policies come from (``ardae_rl.rllib.checkpoint``) and how they do (``ardae_rl.rllib.evaluation``).
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ardae_rl.nn.settings import Rule, Settings, build, misfits, setting
from ardae_rl.sac.config import SACConfig, build_policy

FORMAT = "ardae-rl policy 2"
_SAMPLER_SETTINGS = ("policy", "implicit", "gaussian", "flow")  # of SACConfig, what decides the network
_AGAIN = "Export the policy again: scripts/evaluate.py CHECKPOINT --export POLICY.safetensors"


@dataclass(frozen=True, kw_only=True)
class PolicyDescription(Settings):
    """What the weights belong to: the environment (a Gymnasium id and its keyword arguments), how long it was trained there, its shapes.

    ``action_low`` and ``action_high`` bound the environment's actions; ``max_episode_steps`` of an evaluation count where the environment
    has no time limit of its own; of ``sac`` only what decides the policy's network is kept.
    """

    env: str
    env_config: dict[str, Any]
    env_steps: int
    obs_dim: int = setting(at_least=1)
    action_low: list[float]
    action_high: list[float]
    action_dtype: Literal["float32", "float64"] = "float32"
    max_episode_steps: int = setting(1000, at_least=1)
    sac: SACConfig

    def rules(self) -> Iterator[Rule]:
        low, high = self.action_low, self.action_high
        bounded = len(low) == len(high) > 0 and all(a <= b for a, b in zip(low, high, strict=True))
        yield bounded, "action_low", f"a number for each action, none above that of action_high = {high}"


class TrainedPolicy(nn.Module):
    """Actions in the environment's units.

    Call: obs (B, O), noise (B, E) standard normal, or None for zero noise -> (B, D), within the bounds, of the environment's type of
    actions. ``noise_dim`` is E. Tensors, arrays or lists of any real type will do; without B in obs there is none in noise and actions.
    Raises ValueError for other shapes.
    """

    low: Tensor
    high: Tensor

    def __init__(self, description: PolicyDescription) -> None:
        super().__init__()
        self.description = description
        self.sampler = build_policy(description.obs_dim, len(description.action_low), description.sac)
        self.noise_dim = self.sampler.noise_dim
        dtype = getattr(torch, description.action_dtype)
        self.register_buffer("low", torch.tensor(description.action_low, dtype=dtype), persistent=False)
        self.register_buffer("high", torch.tensor(description.action_high, dtype=dtype), persistent=False)

    @torch.no_grad()
    def forward(self, obs: Any, noise: Any = None) -> Tensor:
        obs = self._given("obs", obs, self.description.obs_dim)
        batch = obs.reshape(-1, self.description.obs_dim)
        if not len(batch):
            return self.low.new_empty(0, len(self.low))
        if noise is None:
            x = self.sampler.centre(batch)
        else:
            noise = self._given("noise", noise, self.noise_dim)
            if noise.shape[:-1] != obs.shape[:-1]:
                raise ValueError(
                    f"noise must be of shape {(*obs.shape[:-1], self.noise_dim)} for these observations, got {tuple(noise.shape)}."
                )
            x = self.sampler.draw(batch, noise.reshape(-1, 1, self.noise_dim)).squeeze(1)
        actions = self.low + (x.tanh().to(self.low.dtype) + 1) / 2 * (self.high - self.low)
        return actions.clamp(self.low, self.high).reshape(*obs.shape[:-1], len(self.low))  # rounding may lead a little outside

    def _given(self, name: str, values: Any, width: int) -> Tensor:
        tensor = torch.as_tensor(values)
        if tensor.ndim not in (1, 2) or tensor.shape[-1] != width or tensor.is_complex():
            raise ValueError(
                f"{name} must hold real numbers of shape (B, {width}) or ({width},), got {tensor.dtype} of {tuple(tensor.shape)}."
            )
        parameter = next(self.sampler.parameters())
        return tensor.to(parameter.device, parameter.dtype)


def save_policy(policy: TrainedPolicy, path: Path) -> Path:
    """Write the weights to ``path``, NAME.safetensors, and the description to NAME.json; returns the latter."""
    described = asdict(policy.description)
    described["sac"] = {name: described["sac"][name] for name in _SAMPLER_SETTINGS}
    facts = {"format": FORMAT, **described, "noise_dim": policy.noise_dim}
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in policy.state_dict().items()}))
    _replace(path.with_suffix(".json"), f"{json.dumps(facts, indent=2)}\n".encode())
    return path.with_suffix(".json")


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    os.replace(aside, path)


def load_policy(path: Path) -> TrainedPolicy:
    """The policy that :func:`save_policy` wrote to ``path``, on the CPU. Runs no code of the files': there is no pickle in them.

    Raises:
        OSError: the weights or their description are not there, or cannot be read.
        ValueError: one of them is damaged, of another format, or they do not belong together.
    """
    described = path.with_suffix(".json")
    description, weights = _description(described), _weights(path)
    try:
        difference = _shape_difference(_without_memory(description).state_dict(), weights)
        policy = None if difference else TrainedPolicy(description)
    except (RuntimeError, TypeError, ValueError) as error:  # torch's: numbers beyond its integers, or beyond the memory there is
        raise ValueError(f"{described} describes a network that cannot be made: {in_a_line(error)}. {_AGAIN}") from error
    if policy is None:
        raise ValueError(f"{path} is not what {described} describes: {difference}. {_AGAIN}")
    policy.load_state_dict(weights)
    return policy.eval()


def _without_memory(description: PolicyDescription) -> TrainedPolicy:
    """The shapes of what is described, so that a description of far too much costs neither time nor memory."""
    try:
        with torch.device("meta"):
            return TrainedPolicy(description)
    except NotImplementedError:  # a spline flow's masks are computed from numbers
        return TrainedPolicy(description)


def in_a_line(error: BaseException) -> str:
    """What it says, on one line of at most 300 characters, without the last full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")


def _shape_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """The first name at which two state dicts differ, and how; None if one can be loaded where the other is expected."""
    for name in [*expected, *(found.keys() - expected.keys())]:
        shapes = [tuple(tensors[name].shape) if name in tensors else "absent" for tensors in (expected, found)]
        if shapes[0] != shapes[1]:
            return f"{name} should be {shapes[0]}, got {shapes[1]}"
    return None


def _description(path: Path) -> PolicyDescription:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: it says what the weights beside it belong to. {_AGAIN}") from None
    except ValueError as error:  # JSON's own, and that of the encoding
        raise ValueError(f"{path} is not JSON: {error}. {_AGAIN}") from error
    found = facts.get("format") if isinstance(facts, dict) else facts
    if found != FORMAT:
        raise ValueError(f"format must be {FORMAT!r} in {path}, got {found!r:.100}. {_AGAIN}")
    try:
        broken = next(misfits(PolicyDescription, facts, strangers=False), None)
        if broken is not None:
            raise ValueError(str(broken))
        description: PolicyDescription = build(PolicyDescription, facts)
        return description
    except ValueError as error:
        raise ValueError(f"{path}: {error}. {_AGAIN}") from error


def _weights(path: Path) -> dict[str, Tensor]:
    content = path.read_bytes()
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({len(content)} bytes): {error}. {_AGAIN}") from error

"""An exported policy is the policy: the same actions, bit for bit, from two files that need neither Ray nor a pickle to be read."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from ardae_rl.sac import FlowPolicyConfig, GaussianPolicyConfig, ImplicitPolicyConfig, SACConfig
from ardae_rl.sac.export import FORMAT, PolicyDescription, TrainedPolicy, in_a_line, load_policy, save_policy

ROOT = Path(__file__).parents[2]
GAUSSIAN = GaussianPolicyConfig(width=8)
CONFIGS = {
    "gaussian": SACConfig(policy="gaussian", gaussian=GAUSSIAN),
    "radial": SACConfig(policy="flow", gaussian=GAUSSIAN, flow=FlowPolicyConfig(flows=2)),
    "spline": SACConfig(policy="flow", gaussian=GAUSSIAN, flow=FlowPolicyConfig(kind="spline", flows=2, bins=4, width=8)),
    "implicit": SACConfig(implicit=ImplicitPolicyConfig(noise_dim=4, encoder_layers=2, head_layers=3, width=8, activation="silu")),
    "implicit_head": SACConfig(implicit=ImplicitPolicyConfig(noise_dim=4, encoder_layers=2, head_layers=3, width=8, head_width=5)),
}
KINDS = pytest.mark.parametrize("kind", CONFIGS)


def policy_of(kind: str) -> TrainedPolicy:
    description = PolicyDescription(
        env="Hopper-v5",
        env_config={"max_episode_steps": 7},
        env_steps=1234,
        obs_dim=3,
        action_low=[-0.4000000059604645, -1.0],
        action_high=[0.4000000059604645, 2.0],
        sac=CONFIGS[kind],
    )
    policy = TrainedPolicy(description)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # far from how it starts
    return policy.eval()


@KINDS
def test_what_is_given_may_be_of_any_real_type_with_a_batch_or_without(kind: str) -> None:
    policy = policy_of(kind)
    obs, noise = torch.randn(5, 3), torch.randn(5, policy.noise_dim)
    expected = policy(obs, noise)
    for cast in (torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist):
        assert torch.equal(policy(cast(obs), cast(noise)), expected)
    torch.testing.assert_close(policy(obs[0], noise[0]), expected[0])
    assert policy(torch.zeros(0, 3)).shape == (0, 2) and policy([1, 2, 3]).shape == (2,)


@KINDS
def test_shapes_that_do_not_fit_are_refused_in_one_line(kind: str) -> None:
    policy, obs = policy_of(kind), torch.zeros(5, 3)
    width = policy.noise_dim
    for noise in (torch.zeros(5, width + 1), torch.zeros(5, 1), torch.zeros(1, 5, width), torch.zeros(5)):
        with pytest.raises(
            ValueError, match=rf"noise must hold real numbers of shape \(B, {width}\) or \({width},\), got torch.float32 of "
        ):
            policy(obs, noise)
    for noise in (torch.zeros(4, width), torch.zeros(width)):
        with pytest.raises(ValueError, match=rf"noise must be of shape \(5, {width}\) for these observations, got "):
            policy(obs, noise)
    for wrong in (torch.zeros(5, 4), torch.zeros(()), torch.zeros(5, 3, dtype=torch.complex64)):
        with pytest.raises(ValueError, match=r"obs must hold real numbers of shape \(B, 3\) or \(3,\), got "):
            policy(wrong)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.7), (-1.0, 0.1), (-3.0, 0.4), (0.0, 0.1)])
def test_saturated_actions_lie_in_the_box_and_are_of_its_type(low: float, high: float, dtype: Any) -> None:
    box = gym.spaces.Box(low, high, (1,), getattr(np, dtype))
    description = PolicyDescription(
        env="x",
        env_config={},
        env_steps=0,
        obs_dim=3,
        action_low=box.low.tolist(),
        action_high=box.high.tolist(),
        action_dtype=dtype,
        sac=CONFIGS["gaussian"],
    )
    policy = TrainedPolicy(description)
    for end in (-100.0, 100.0):
        with torch.no_grad():
            [*policy.sampler.parameters()][-1][0] = end
        action = policy(torch.zeros(3)).numpy()
        assert action.dtype == box.dtype and box.low <= action <= box.high and box.contains(action)


@KINDS
def test_the_loaded_policy_acts_as_the_saved_one(kind: str, tmp_path: Path) -> None:
    policy, path = policy_of(kind), tmp_path / "exports" / "policy.safetensors"
    assert save_policy(policy, path) == path.with_suffix(".json")
    loaded = load_policy(path)
    obs, noise = torch.randn(64, 3), torch.randn(64, policy.noise_dim)
    assert torch.equal(loaded(obs), policy(obs)) and torch.equal(loaded(obs, noise), policy(obs, noise))
    assert not torch.equal(loaded(obs, noise), loaded(obs))
    assert (loaded.description.env, loaded.description.env_config, loaded.description.env_steps) == (
        "Hopper-v5",
        {"max_episode_steps": 7},
        1234,
    )


@KINDS
def test_actions_are_the_samplers_squashed_into_the_bounds(kind: str) -> None:
    policy, obs = policy_of(kind), 3 * torch.randn(500, 3)
    low, high = torch.tensor([-0.4, -1.0]), torch.tensor([0.4, 2.0])
    torch.testing.assert_close(policy(obs), (low + high) / 2 + (high - low) / 2 * policy.sampler.centre(obs).tanh())
    noise = torch.randn(500, policy.noise_dim)
    drawn = policy.sampler.draw(obs, noise.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(policy(obs, noise), (low + high) / 2 + (high - low) / 2 * drawn.tanh())
    one_by_one = torch.cat([policy(obs[row : row + 1], noise[row : row + 1]) for row in range(500)])
    torch.testing.assert_close(policy(obs, noise), one_by_one, rtol=1e-5, atol=1e-4)  # products of another shape, in float32
    assert ((one_by_one >= low - 1e-6) & (one_by_one <= high + 1e-6)).all()


def test_the_description_says_what_the_weights_belong_to(tmp_path: Path) -> None:
    described = json.loads(save_policy(policy_of("implicit"), tmp_path / "p.safetensors").read_text())
    assert described["format"] == FORMAT
    assert (described["env"], described["obs_dim"], described["noise_dim"]) == ("Hopper-v5", 3, 4)
    assert described["action_high"] == [0.4000000059604645, 2.0]
    assert described["sac"].keys() == {"policy", "implicit", "gaussian", "flow"} and described["sac"]["implicit"]["encoder_layers"] == 2


@pytest.mark.parametrize("kind", ["gaussian", "radial", "implicit"])
def test_loading_needs_torch_and_safetensors_only(kind: str, tmp_path: Path) -> None:
    policy, path = policy_of(kind), tmp_path / "p.safetensors"
    save_policy(policy, path)
    script = f"""
import sys
for name in ("ray", "gymnasium", "mujoco", "zuko", "scipy", "pandas", "sklearn", "matplotlib", "pydantic", "yaml", "typer", "rich"):
    sys.modules[name] = None  # importing it is an error
from pathlib import Path
import torch
from ardae_rl.sac.export import load_policy
print(load_policy(Path({str(path)!r}))(torch.ones(1, 3)).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), policy(torch.ones(1, 3)))


@pytest.mark.parametrize("kind", ["implicit", "implicit_head", "gaussian"])
def test_the_lines_in_the_docs_read_a_policy_with_torch_alone(kind: str, tmp_path: Path) -> None:
    """Where neither this package nor safetensors can be imported."""
    policy = policy_of(kind)
    save_policy(policy, tmp_path / "policy.safetensors")
    shown, gaussian = [block.split("```")[0] for block in (ROOT / "docs/using-a-policy.md").read_text().split("```python\n")[1:]]
    lines = shown if kind != "gaussian" else shown.replace("\nweights, facts = load", f"{gaussian}\nweights, facts = load")
    script = f"""
import sys
sys.modules |= dict.fromkeys(["ardae_rl", "safetensors", "ray", "gymnasium"])  # importing them is an error
{lines}
print(json.dumps(act(torch.ones(2, 3), torch.full((2, facts["noise_dim"]), 0.5)).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    printed, actions = done.stdout.splitlines()
    assert printed.startswith("Hopper-v5 tensor(")
    expected = policy(torch.ones(2, 3), torch.full((2, policy.noise_dim), 0.5))
    torch.testing.assert_close(torch.tensor(json.loads(actions)), expected)


def test_files_that_are_missing_or_of_another_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(FileNotFoundError, match=r"p\.json"):
        load_policy(path)
    described: dict[str, Any] = json.loads(save_policy(policy_of("gaussian"), path).read_text())
    path.with_suffix(".json").write_text(json.dumps({**described, "format": "another"}))
    with pytest.raises(ValueError, match="format must be 'ardae-rl policy 2'"):
        load_policy(path)


def test_what_does_not_belong_together_is_named_as_described_and_as_found(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    described = json.loads(save_policy(policy_of("gaussian"), path).read_text())
    described["obs_dim"] = 5
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"body\.layers\.0\.weight should be \(\d+, 5\), got \(\d+, 3\)"):
        load_policy(path)


def test_a_description_without_actions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    described = json.loads(save_policy(policy_of("gaussian"), path).read_text())
    path.with_suffix(".json").write_text(json.dumps({**described, "action_low": [], "action_high": []}))
    with pytest.raises(ValueError, match="action_low must be a number for each action"):
        load_policy(path)


def test_an_error_in_a_line_keeps_its_words() -> None:
    assert in_a_line(ValueError("too\n  wide.")) == "too wide"

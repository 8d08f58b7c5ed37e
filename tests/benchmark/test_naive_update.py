"""The naive baseline computes what the library computes: same weights and same noise give the same numbers."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.samplers import ImplicitSampler
from ardae_rl.score import ARDAE
from benchmark.naive_update import NaiveConfig, NaiveUpdate

B, K, N_Z, SCALE = 5, 4, 3, 3.0


class Pair(NamedTuple):
    naive: NaiveUpdate
    policy: ImplicitSampler
    entropy: ScoreEntropy


@pytest.fixture
def pair() -> Pair:
    """A naive update, and the library's policy and entropy, of the same small size with the same weights, in float64."""
    torch.manual_seed(0)
    naive = NaiveUpdate(NaiveConfig(width=16, score_layers=2, scale=SCALE, samples_per_state=K, importance_samples=N_Z))
    policy = ImplicitSampler(17, 6, width=16)
    estimator = ARDAE(6, 17, layers=2, context_layers=2, input_layers=2, width=16, standardisation="fixed", scale=SCALE, antithetic=False)
    naive.policy.load_state_dict(_naive_policy_weights(policy.state_dict()))
    naive.potential.load_state_dict(_naive_potential_weights(estimator.network.state_dict()))
    for module in (naive.policy, naive.potential, policy, estimator):
        module.double()
    return Pair(naive, policy, ScoreEntropy(estimator, samples_per_context=K, importance_samples=N_Z))


def test_policies_agree(pair: Pair) -> None:
    obs, noise = _randn(B, 17), _randn(B, 1, 10)
    torch.testing.assert_close(pair.policy.draw(obs, noise).squeeze(1), pair.naive.policy(obs, noise.squeeze(1)))


def test_score_losses_and_their_gradients_agree(pair: Pair) -> None:
    estimator, naive = pair.entropy.estimator, pair.naive
    obs, samples, sigma, u = _randn(B, 17), _randn(B, K, 6), _randn(B, K, 1), _randn(B, K, 6)
    noise = {tuple(sigma.shape): sigma, tuple(u.shape): u}
    frame = estimator.frame(samples, context=obs, centre=pair.policy.centre(obs))
    assert frame.spread is not None
    ours = estimator.loss(samples, obs, frame=frame, normal=lambda *shape: noise[shape])
    x, delta = frame.standardise(samples).flatten(0, 1), naive.config.delta_scale * frame.spread
    theirs = naive.potential.denoising_loss(x, obs.repeat_interleave(K, 0), (delta * sigma).flatten(0, 1), u.flatten(0, 1))
    torch.testing.assert_close(ours, theirs)
    (ours + theirs).backward()
    our_gradients = {name: p.grad for name, p in estimator.network.named_parameters()}
    their_gradients = {name: p.grad for name, p in naive.potential.named_parameters()}
    for name in ("input_encoder.0.weight", "context_encoder.0.weight", "joint.2.weight"):
        torch.testing.assert_close(our_gradients[_OURS[name]], their_gradients[name])


def test_log_probabilities_agree(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    obs, proposals, noise = _randn(B, 17), _randn(B, N_Z, 6), _randn(B, 1, 10)
    drawn = pair.entropy.draw_with_log_prob(pair.policy, obs, noise, lambda *shape: proposals)
    pre_tanh = drawn.x.squeeze(1)
    ours = drawn.value.squeeze(1) - log_det_tanh(pre_tanh)
    monkeypatch.setattr(torch, "randn", lambda *shape: proposals)
    torch.testing.assert_close(ours, pair.naive.log_prob(obs, pre_tanh))


def test_an_update_moves_every_network_and_the_targets_a_little() -> None:
    torch.manual_seed(0)
    naive = NaiveUpdate(NaiveConfig(width=16, score_layers=2, samples_per_state=K, importance_samples=N_Z))
    modules = (naive.policy, naive.potential, naive.critics, naive.targets)
    before = [torch.cat([p.detach().flatten() for p in module.parameters()]) for module in modules]
    batch = {"obs": torch.randn(B, 17), "actions": torch.rand(B, 6), "rewards": torch.ones(B), "new_obs": torch.randn(B, 17)}
    losses = naive.update({**batch, "terminateds": torch.zeros(B)})
    moved = [
        (torch.cat([p.detach().flatten() for p in m.parameters()]) - old).abs().max().item() for m, old in zip(modules, before, strict=True)
    ]
    assert all(torch.isfinite(torch.tensor(list(losses.values()))))
    assert min(moved) > 0
    assert moved[3] == pytest.approx(naive.config.tau * moved[2], rel=1e-2)


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


# naive name: ours. The naive joint.0 is one matrix where ours is three.
_OURS = {
    **{f"input_encoder.{2 * i}.{part}": f"body.input_encoder.{i}.{part}" for i in range(2) for part in ("weight", "bias")},
    **{f"context_encoder.{2 * i}.{part}": f"body.context_encoder.{i}.{part}" for i in range(2) for part in ("weight", "bias")},
    **{f"joint.2.{part}": f"body.joint.0.{part}" for part in ("weight", "bias")},
    **{f"joint.4.{part}": f"out.{part}" for part in ("weight", "bias")},
}


def _naive_potential_weights(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = [ours["body.from_input.weight"], ours["body.from_context.weight"], ours["body.from_sigma"][:, None]]
    return {"joint.0.weight": torch.cat(parts, 1), "joint.0.bias": ours["body.bias"], **{k: ours[v] for k, v in _OURS.items()}}


def _naive_policy_weights(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "encoder.0.weight": ours["encoder.0.weight"],
        "encoder.0.bias": ours["encoder.0.bias"],
        "head.0.weight": torch.cat([ours["from_context.weight"], ours["from_noise.weight"]], 1),
        "head.0.bias": ours["from_context.bias"],
        "head.2.weight": ours["out.weight"],
        "head.2.bias": ours["out.bias"],
    }

"""One update, piece by piece: the critic's target by hand, who moves and who must not, and what happens to numbers that are not."""

import doctest
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ardae_rl.sac
from ardae_rl.sac import SAC, JacobianClampingConfig, NonFiniteError, ScoreConfig, Transitions
from ardae_rl.sac.update import OF_TURNS
from ardae_rl.samplers import ImplicitSampler, clamping_loss, jacobian_stretch
from tests.sac.problem import POLICIES, SHARED, PolicyName, changed_parts, make_batch, make_config, make_sac, no_noise, weights

pytestmark = pytest.mark.usefixtures("float64")

EVERY = pytest.mark.parametrize("policy", POLICIES)


# the critic's target


def by_hand(sac: SAC, batch: Transitions) -> tuple[Tensor, Tensor]:
    """(value part, entropy part) of y for the Gaussian policy's mean action, from torch.distributions and the naive tanh correction."""
    mean, log_std = sac.policy.parameters_of(batch.next_obs)  # type: ignore[operator]
    log_prob = (torch.distributions.Normal(mean, log_std.exp()).log_prob(mean) - (1 - mean.tanh().square()).log()).sum(-1)
    first, second = sac.networks.target_critic(batch.next_obs, mean.tanh())
    alive = 0.9 * (1 - batch.terminateds)
    return (batch.rewards + alive * torch.minimum(first, second)).detach(), (-alive * 0.3 * log_prob).detach()


def one_transition(*, terminated: bool) -> Transitions:
    batch = make_batch(1)
    return replace(batch, terminateds=torch.full((1,), float(terminated)))


def gaussian_without_noise(**options: object) -> SAC:
    return make_sac(make_config("gaussian", alpha=0.3, gamma=0.9, **options), normal=no_noise)


def test_a_time_limit_bootstraps() -> None:
    sac, batch = gaussian_without_noise(), one_transition(terminated=False)
    target = sac._target(batch)[0]
    value_part, entropy_part = by_hand(sac, batch)
    torch.testing.assert_close(target, value_part + entropy_part)
    assert abs(float(target - batch.rewards)) > 0.01


def test_an_end_does_not_bootstrap() -> None:
    batch = one_transition(terminated=True)
    target = gaussian_without_noise()._target(batch)[0]
    assert torch.equal(target, batch.rewards)


def test_critic_loss_is_the_sum_of_both_mean_squares() -> None:
    sac, batch = gaussian_without_noise(), make_batch()
    target = sum(by_hand(sac, batch))
    first, second = sac.critic(batch.obs, batch.actions)
    expected = (first - target).square().mean() + (second - target).square().mean()
    metrics = sac._update_critics(batch, sac._target(batch)[0])
    torch.testing.assert_close(metrics["critic_loss"], expected.detach())


def test_the_target_uses_the_target_critics() -> None:
    sac, batch = gaussian_without_noise(), make_batch()
    before = sac._target(batch)[0]
    with torch.no_grad():
        for parameter in sac.critic.parameters():
            parameter.add_(1)
    assert torch.equal(sac._target(batch)[0], before)


def test_calibration_is_the_cumulative_mean_of_the_entropy_part() -> None:
    sac, seen = gaussian_without_noise(target_calibration=True), []
    for seed in range(5):
        batch = make_batch(seed=seed)
        seen.append(by_hand(sac, batch)[1].numpy())
        sac.update(batch)
        np.testing.assert_allclose(float(sac.networks.calibration_mean), np.concatenate(seen).mean(), rtol=1e-5)


def test_calibration_is_part_of_the_value_online_and_target_alike(float64: None) -> None:
    plain, calibrated, batch = gaussian_without_noise(), gaussian_without_noise(target_calibration=True), make_batch()
    uncalibrated = plain._target(batch)[0]
    target = calibrated._target(batch)[0]
    offset, discount = calibrated.networks.calibration_mean.clone(), calibrated.config.gamma * (1 - batch.terminateds)
    assert offset.abs() > 0.01
    torch.testing.assert_close(target, uncalibrated + discount * offset)
    again = gaussian_without_noise(target_calibration=True)
    values = again.critic(batch.obs, batch.actions)
    metrics = again._update_critics(batch, again._target(batch)[0])
    torch.testing.assert_close(metrics["critic_loss"], (values + offset - target).square().mean(1).sum().detach())


# who moves


def steps(sac: SAC, batch: Transitions) -> dict[str, object]:
    return {
        "score": lambda: sac.entropy.fit(sac.optimisers.get("score"), sac.policy, batch.obs, sac.normal, steps=1),
        "critic": lambda: sac._update_critics(batch, sac._target(batch)[0]),
        "actor": lambda: sac._update_policy(batch.obs),
        "temperature": lambda: sac._update_temperature(torch.ones(8)),
        "targets": sac._update_target_critics,
    }


@pytest.mark.parametrize(
    ("policy", "step", "moves"),
    [
        ("implicit", "score", {"entropy"}),
        ("implicit", "critic", {"critic"}),
        ("implicit", "actor", {"policy"}),
        ("implicit", "temperature", {"temperature"}),
        ("gaussian", "score", set()),
        ("gaussian", "critic", {"critic"}),
        ("gaussian", "actor", {"policy"}),
        ("gaussian", "temperature", {"temperature"}),
        ("radial", "score", set()),
        ("radial", "critic", {"critic"}),
        ("radial", "actor", {"policy"}),
    ],
)
def test_each_loss_moves_its_own_network_only(policy: PolicyName, step: str, moves: set[str]) -> None:
    sac, batch = make_sac(make_config(policy, alpha="auto")), make_batch()
    before = weights(sac)
    steps(sac, batch)[step]()  # type: ignore[operator]
    assert changed_parts(before, sac) == moves


@EVERY
def test_every_trained_parameter_moves_and_has_one_optimiser(policy: PolicyName) -> None:
    sac = make_sac(make_config(policy, alpha="auto"))
    before = weights(sac)
    for seed in range(3):  # the score network's last layer starts at zero: what is below it moves from the second update on
        sac.update(make_batch(64, seed=seed))
    after = weights(sac)
    fixed = ("target", "calibration", ".mask", ".order")  # the last two are zuko's record of which input each coordinate may see
    still = {name for name in after if not any(part in name for part in fixed) and torch.equal(after[name], before[name])}
    # The additive constant of a potential: its score does not know it.
    assert still <= {"networks.entropy.estimator.network.network.out.bias"}
    owned = [id(p) for optimiser in sac.optimisers.values() for group in optimiser.optimiser.param_groups for p in group["params"]]
    trainable = [id(p) for module in (sac.policy, sac.networks) for p in module.parameters() if p.requires_grad]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(trainable)


@EVERY
def test_target_critics_move_by_polyak_averaging_only(policy: PolicyName) -> None:
    sac, batch = make_sac(make_config(policy, tau=0.1)), make_batch()
    old = [p.clone() for p in sac.networks.target_critic.parameters()]
    assert not any(p.requires_grad for p in sac.networks.target_critic.parameters())
    sac.update(batch)
    for before, target, online in zip(old, sac.networks.target_critic.parameters(), sac.critic.parameters(), strict=True):
        torch.testing.assert_close(target, 0.9 * before + 0.1 * online)
        assert not torch.equal(target, before)


def test_target_critics_start_as_the_critics() -> None:
    networks = make_sac(make_config()).networks
    for name, value in networks.critic.state_dict().items():
        assert torch.equal(networks.target_critic.state_dict()[name], value)


def test_adam_steps_once_per_update_and_loss() -> None:
    config = make_config(alpha="auto")
    sac = make_sac(replace(config, score=replace(SHARED, fits_per_step=2)))
    for _ in range(3):
        sac.update(make_batch())
    counts = {name: {int(state["step"]) for state in optimiser.optimiser.state.values()} for name, optimiser in sac.optimisers.items()}
    assert counts == {"score": {3, 6}, "critic": {3}, "actor": {3}, "temperature": {3}}  # its coordinates learn once, from all shares
    assert int(sac.networks.num_updates) == 3


@EVERY
def test_score_policy_and_temperature_wait_for_their_turn(policy: PolicyName) -> None:
    sac = make_sac(make_config(policy, alpha="auto", policy_delay=3))
    of_turns: Any = set()
    every, now_and_then = (
        {"critic", "target_critic", "num_updates"},
        {"policy", "temperature"} | ({"entropy"} if policy == "implicit" else set()),
    )
    for number in range(7):
        before = weights(sac)
        metrics = sac.update(make_batch())
        turn = number % 3 == 0
        assert changed_parts(before, sac) == (every | now_and_then if turn else every)
        assert metrics.keys() & OF_TURNS == (metrics.keys() & OF_TURNS if turn else set()) and metrics.keys() >= {"critic_loss", "entropy"}
        of_turns = metrics.keys() if turn else of_turns
    assert of_turns - sac.update(make_batch()).keys() <= OF_TURNS and {"actor_loss", "temperature_loss"} <= of_turns


def test_critics_do_not_see_each_others_gradient() -> None:
    """Change the second critic: the first takes the very same step."""
    ours, other = (make_sac(make_config("gaussian")) for _ in range(2))
    with torch.no_grad():
        next(other.critic.second.parameters()).add_(1)
    for sac in (ours, other):
        sac._update_critics(make_batch(), torch.zeros(8))
    for name, value in ours.critic.first.state_dict().items():
        assert torch.equal(value, other.critic.first.state_dict()[name])


# the policy's loss


def test_actor_loss_is_alpha_log_pi_minus_the_smaller_value() -> None:
    sac, batch = gaussian_without_noise(), make_batch()
    mean, log_std = sac.policy.parameters_of(batch.obs)  # type: ignore[operator]
    log_prob = (torch.distributions.Normal(mean, log_std.exp()).log_prob(mean) - (1 - mean.tanh().square()).log()).sum(-1)
    first, second = sac.critic(batch.obs, mean.tanh())
    metrics = sac._update_policy(batch.obs)
    torch.testing.assert_close(metrics["actor_loss"], (0.3 * log_prob - torch.minimum(first, second)).mean().detach())


def clamped_gradient(weight_max: float, updates: int) -> tuple[Tensor, Tensor]:
    """Flat actor gradient with Jacobian clamping on, and that of the clamping loss alone, on the same noise."""
    clamping = JacobianClampingConfig(eta=50.0, weight_max=weight_max)
    sac, obs = make_sac(make_config(jacobian_clamping=clamping), normal=lambda *shape: torch.ones(shape) / 2), make_batch().obs
    sac.networks.num_updates.fill_(updates)
    policy = sac.policy
    assert isinstance(policy, ImplicitSampler)
    noise, directions = torch.ones(8, 1, 4) / 2, torch.ones(8, clamping.perturbations, 4) / 2
    stretch = jacobian_stretch(lambda eps: policy.draw(obs, eps).tanh(), noise, directions, clamping.xi)
    alone = torch.autograd.grad(clamping_loss(stretch, clamping.eta), list(policy.parameters()))
    sac._update_policy(obs)
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]), torch.cat([g.flatten() for g in alone])


@pytest.mark.parametrize(("updates", "cap", "extra"), [(10_000, 1e5, 10_000**1.1 / 1000), (10_000, 7.0, 6.0)])
def test_clamping_loss_counts_with_its_growing_weight_on_the_squashed_action(updates: int, cap: float, extra: float) -> None:
    late, alone = clamped_gradient(cap, updates)
    early, _ = clamped_gradient(cap, 0)  # weight 1
    torch.testing.assert_close(late - early, extra * alone, rtol=1e-5, atol=1e-5 * float(alone.abs().max()))


# the temperature


@pytest.mark.parametrize(("excess", "direction"), [(1.0, -1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("target_entropy", [None, -3.5])
def test_temperature_rises_below_the_target_entropy_and_falls_above(excess: float, direction: float, target_entropy: float | None) -> None:
    sac = make_sac(make_config("gaussian", alpha="auto", target_entropy=target_entropy, alpha_lr=0.01))
    entropy = (-2.0 if target_entropy is None else target_entropy) + excess  # minus the action dimension by default
    sac._update_temperature(torch.full((8,), -entropy))
    assert sac.temperature.log_alpha.item() == pytest.approx(0.01 * direction, rel=1e-6)


def test_temperature_rests_at_the_target_entropy() -> None:
    sac = make_sac(make_config("gaussian", alpha="auto"))
    sac._update_temperature(torch.tensor([1.0, 3.0]))
    assert float(sac.temperature()) == 1


@EVERY
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_a_fixed_temperature_never_moves(policy: PolicyName, alpha: float) -> None:
    sac = make_sac(make_config(policy, alpha=alpha))
    assert "temperature" not in sac.optimisers
    metrics = [sac.update(make_batch(seed=seed)) for seed in range(3)]
    torch.testing.assert_close(sac.temperature(), torch.tensor(alpha))
    assert all(math.isclose(m["alpha"], alpha, abs_tol=1e-12) for m in metrics)


# numbers that are not


def all_finite(sac: SAC) -> bool:
    moments = [v for optimiser in sac.optimisers.values() for state in optimiser.optimiser.state.values() for v in state.values()]
    return all(value.isfinite().all() for value in [*weights(sac).values(), *moments] if value.is_floating_point())


@EVERY
@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e300])
def test_a_poisoned_reward_skips_the_critic_and_nothing_else(policy: PolicyName, poison: float) -> None:
    sac = make_sac(make_config(policy, target_calibration=True))
    sac.update(make_batch())
    critic = {name: value for name, value in weights(sac).items() if ".critic." in name}
    batch = make_batch(seed=2)
    batch.rewards[3] = poison
    metrics = sac.update(batch)
    assert all_finite(sac)
    assert int(metrics["non_finite_skipped"]) == 1
    assert all(torch.equal(weights(sac)[name], value) for name, value in critic.items())
    assert not metrics["critic_loss"].isfinite()


@EVERY
@pytest.mark.parametrize("column", ["obs", "next_obs"])
def test_a_poisoned_observation_leaves_every_weight_finite(policy: PolicyName, column: str) -> None:
    sac = make_sac(make_config(policy, alpha="auto", target_calibration=True))
    sac.update(make_batch())
    batch = make_batch(seed=2)
    getattr(batch, column)[3, 0] = math.nan
    assert int(sac.update(batch)["non_finite_skipped"]) > 0
    assert all_finite(sac)
    assert all(metric.isfinite() for metric in sac.update(make_batch(seed=3)).values())


def poisoned_batch() -> Transitions:
    batch = make_batch()
    batch.rewards[0] = math.nan
    return batch


def test_too_many_in_a_row_stop_with_the_name_and_the_last_finite_update() -> None:
    sac = make_sac(make_config("gaussian", max_non_finite=3))
    for _ in range(5):
        sac.update(make_batch())
    for _ in range(2):
        sac.update(poisoned_batch())
    with pytest.raises(NonFiniteError, match=r"the critic loss .* not finite 3 times in a row, last finite at its step 5: look"):
        sac.update(poisoned_batch())
    assert all_finite(sac)


def test_a_finite_update_starts_the_count_again() -> None:
    sac = make_sac(make_config("gaussian", max_non_finite=2))
    for _ in range(3):
        sac.update(poisoned_batch())
        metrics = sac.update(make_batch())
    assert int(metrics["non_finite_skipped"]) == 3


# what is reported


@EVERY
def test_metrics_are_finite_scalar_tensors(policy: PolicyName) -> None:
    config = make_config(policy, alpha="auto", target_calibration=True, jacobian_clamping=JacobianClampingConfig())
    metrics = make_sac(config).update(make_batch())
    expected = {"critic_loss", "actor_loss", "temperature_loss", "q_mean", "entropy", "alpha", "calibration", "non_finite_skipped"}
    expected |= {"pre_tanh_max", "pre_tanh_p99", "saturated"}
    if policy == "implicit":
        expected |= {"outward_force"}
        expected |= {"score_loss", "whitening_loss", "log_z_std", "log_z_error", "importance_ess", "stein_ratio"}
        expected |= {"clamping_loss", "clamping_weight", "jacobian_stretch"}
    assert set(metrics) == expected
    assert all(metric.shape == () and metric.isfinite() and not metric.requires_grad for metric in metrics.values())


def test_the_same_seed_gives_the_same_update_and_another_does_not() -> None:
    losses = [float(make_sac(make_config(), seed=seed).update(make_batch())["actor_loss"]) for seed in (0, 0, 1)]
    assert [a == b for a, b in pairwise(losses)] == [True, False]


def test_documented_example_runs() -> None:
    assert doctest.testmod(ardae_rl.sac) == (0, 5)


def test_every_step_is_adams_along_the_gradient_itself() -> None:
    """The first step is -lr sign(g). Where oneDNN multiplies (AVX-512, float32, this size) gradients lie transposed, which fused optimisers
    do not see."""
    torch.set_default_dtype(torch.float32)
    score = ScoreConfig(layers=2, context_layers=1, input_layers=1, width=256, samples_per_context=64, standardisation="fixed", scale=1.0)
    ours, theirs = make_sac(make_config(score=score)), make_sac(make_config(score=score))
    losses = next(theirs.entropy.fit_losses(theirs.policy, make_batch().obs, theirs.normal))
    torch.stack(list(losses.values())).sum().backward()
    ours.entropy.fit(ours.optimisers["score"], ours.policy, make_batch().obs, ours.normal, steps=1)
    for after, before in zip(ours.entropy.parameters(), theirs.entropy.parameters(), strict=True):
        if before.grad is not None:
            large = before.grad.abs() > 1e-6  # far above Adam's 1e-8
            torch.testing.assert_close((after - before)[large], -score.lr * before.grad.sign()[large], rtol=1e-2, atol=0)

"""Which state, which sample and which sign goes into which part of a whole update: ``SAC.update`` from outside, on chosen mini-batches."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.sac import SAC, JacobianClampingConfig, Transitions
from ardae_rl.sac.diagnostics import smallest_singular_values
from ardae_rl.samplers import ImplicitSampler, jacobian_stretch
from ardae_rl.score import ScoreEstimator
from tests.sac.problem import (
    ACTION_DIM,
    OBS_DIM,
    POLICIES,
    PolicyName,
    changed_parts,
    log_prob_of_draws,
    make_batch,
    make_config,
    make_sac,
    weights,
)
from tests.spies import calls_of

pytestmark = pytest.mark.usefixtures("float64")
EVERY = pytest.mark.parametrize("policy", POLICIES)


def fixed_noise(*shape: int) -> Tensor:
    """The same for the same shape, another for every row."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def ended(batch: Transitions) -> Transitions:
    return replace(batch, terminateds=torch.ones(len(batch.obs)))


# states


@EVERY
def test_where_every_episode_ended_the_next_states_teach_nothing(policy: PolicyName) -> None:
    """Score, critic and policy are those of the states themselves: with others to follow, every weight comes out the same."""
    one, other = (make_sac(make_config(policy, alpha=0.3)) for _ in range(2))
    batch = ended(make_batch())
    one.update(batch), other.update(replace(batch, next_obs=batch.next_obs.flip(0) + 1))
    assert changed_parts(weights(one), other) == set()


@EVERY
def test_where_episodes_go_on_the_next_states_teach_the_critic(policy: PolicyName) -> None:
    """And through it the policy; the score is fitted before, to the states themselves."""
    one, other = (make_sac(make_config(policy, alpha=0.3)) for _ in range(2))
    batch = replace(make_batch(), terminateds=torch.zeros(8))
    one.update(batch), other.update(replace(batch, next_obs=batch.next_obs.flip(0) + 1))
    assert changed_parts(weights(one), other) == {"critic", "target_critic", "policy"}


@EVERY
def test_actions_and_rewards_teach_the_critic_alone(policy: PolicyName) -> None:
    for column in ("actions", "rewards"):
        one, other = (make_sac(make_config(policy, alpha=0.3, actor_lr=1e-30)) for _ in range(2))
        batch = make_batch()
        one.update(batch), other.update(replace(batch, **{column: getattr(batch, column).flip(0) / 2}))
        assert changed_parts(weights(one), other) - {"policy"} == {"critic", "target_critic"}


@EVERY
def test_rows_of_a_batch_are_exchangeable(policy: PolicyName) -> None:
    """Every state meets its own action, reward and noise: turning all of them round changes nothing."""
    batch = make_batch()
    turned = Transitions(*(getattr(batch, name).flip(0) for name in ("obs", "actions", "rewards", "next_obs", "terminateds")))
    one = make_sac(make_config(policy, alpha="auto"), normal=fixed_noise)
    other = make_sac(make_config(policy, alpha="auto"), normal=lambda *shape: fixed_noise(*shape).flip(0))
    one.update(batch), other.update(turned)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=1e-8, atol=1e-10, msg=name)


# the fit of the score


@pytest.mark.parametrize("standardisation", ["fixed", "per_context", "amortised"])
def test_the_score_is_fitted_about_the_policys_point_at_zero_noise_of_each_state(standardisation: str) -> None:
    """Or about the mean, where that is learned."""
    score = replace(make_config().score, standardisation=standardisation, scale=3.0, delta_scale=1.0)  # type: ignore[arg-type]
    learner, obs = make_sac(make_config(score=score)), make_batch().obs
    policy, estimator = learner.policy, learner.entropy.estimator
    assert isinstance(estimator, ScoreEstimator) and isinstance(learner.entropy, ScoreEntropy)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    samples, b = policy.draw(obs, fixed_noise(8, 6, policy.noise_dim)).detach(), policy.centre(obs).detach()
    about = {"b": b, "of another state": b.roll(1, 0), "nothing": None}
    expected = {
        name: copy.deepcopy(estimator).losses(samples, obs, centre=centre, normal=fixed_noise)["score"] for name, centre in about.items()
    }
    found = next(learner.entropy.fit_losses(policy, obs, fixed_noise))["score"]
    right = "nothing" if standardisation == "amortised" else "b"
    torch.testing.assert_close(found, expected.pop(right))
    assert all(not torch.isclose(found, other, rtol=1e-4) for other in expected.values())


def test_the_score_is_fitted_to_actions_before_the_tanh_of_many_draws_per_state(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_sac(make_config())
    with torch.no_grad():
        learner.policy.out.bias.fill_(5.0)  # type: ignore[union-attr, operator]
    fits = calls_of(monkeypatch, learner.entropy.estimator, "losses")
    learner.update(make_batch())
    (((samples, _), _, _),) = fits
    assert samples.shape == (8, 6, ACTION_DIM) and samples.min() > 1 and (samples.std(1) > 0.01).all()


@EVERY
def test_every_state_has_noise_of_its_own(policy: PolicyName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a state that comes twice the draws differ: those for the fit, for the critic's target and for the policy's loss."""
    learner, obs = make_sac(make_config(policy)), torch.ones(5, OBS_DIM)
    drawn = [learner._one_each(draw, obs).x for draw in (learner.entropy.draw_with_log_prob, learner.entropy.draw_with_entropy)]
    if isinstance(learner.entropy, ScoreEntropy):
        fits = calls_of(monkeypatch, learner.entropy.estimator, "losses")
        next(learner.entropy.fit_losses(learner.policy, obs, learner.normal))
        drawn += [fits[0].arguments[0]]
    for actions in drawn:
        assert len(actions.detach().flatten(0, 1).unique(dim=0)) == actions.shape[0] * actions.shape[1]


@pytest.mark.parametrize("standardisation", ["fixed", "per_context", "amortised"])
def test_the_estimated_log_density_is_the_potentials_less_log_z_and_less_the_tanhs(standardisation: str) -> None:
    """On states of which each has its own log Z and centre."""
    config = make_config()
    score = replace(config.score, standardisation=standardisation, scale=3.0, proposal_std=0.9)  # type: ignore[arg-type]
    learner, obs = make_sac(replace(config, score=score), normal=fixed_noise), make_batch().obs
    policy, estimator = learner.policy, learner.entropy.estimator
    assert isinstance(estimator, ScoreEstimator)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        samples, u = policy.draw(obs, fixed_noise(8, 6, policy.noise_dim)), policy.draw(obs, fixed_noise(8, 1, policy.noise_dim)).squeeze(1)
        frame = estimator.frame(samples, centre=None if standardisation == "amortised" else policy.centre(obs), context=obs)
        log_z = estimator.log_partition(obs, samples=5, proposal_std=0.9, normal=fixed_noise).log_z
        expected = estimator.log_density(u.unsqueeze(1), obs, frame=frame).squeeze(1) - log_z - (1 - u.tanh().square()).log().sum(-1)
    assert log_z.std() > 1e-3
    torch.testing.assert_close(log_prob_of_draws(learner, obs), expected)


# the temperature


@EVERY
@pytest.mark.parametrize("target", [-30.0, 30.0])
def test_a_whole_update_moves_the_temperature_towards_the_target_entropy(policy: PolicyName, target: float) -> None:
    """The slope of its loss in log alpha is the entropy less its target: below it alpha rises."""
    learner = make_sac(make_config(policy, alpha="auto", target_entropy=target, alpha_lr=0.01))
    metrics = learner.update(make_batch())
    slope = learner.temperature.log_alpha.grad
    assert slope is not None
    torch.testing.assert_close(slope, metrics["entropy"] - target)
    assert float(learner.temperature.log_alpha.detach()) == pytest.approx(math.copysign(0.01, target), rel=1e-6)


@EVERY
def test_by_default_the_target_entropy_is_minus_the_number_of_actions(policy: PolicyName) -> None:
    """However many numbers of noise the policy takes."""
    learner = make_sac(make_config(policy, alpha="auto"))
    metrics = learner.update(make_batch())
    assert learner.temperature.log_alpha.grad is not None
    torch.testing.assert_close(learner.temperature.log_alpha.grad, metrics["entropy"] + ACTION_DIM)


@EVERY
def test_the_temperature_in_use_is_the_one_before_the_update(policy: PolicyName) -> None:
    learner = make_sac(make_config(policy, alpha="auto", initial_alpha=0.7, target_entropy=30.0, alpha_lr=0.1))
    alphas = [float(learner.update(make_batch())["alpha"]) for _ in range(2)]
    assert alphas[0] == pytest.approx(0.7) and alphas[1] == pytest.approx(0.7 * math.exp(0.1), rel=1e-4)


# target critics and calibration


def test_the_targets_follow_the_critics_of_the_same_update() -> None:
    learner = make_sac(make_config("gaussian", tau=1.0, critic_lr=0.1))
    learner.update(make_batch())
    for target, online in zip(learner.networks.target_critic.parameters(), learner.critic.parameters(), strict=True):
        assert torch.equal(target, online)


@EVERY
def test_calibration_leaves_the_policys_gradient_alone(policy: PolicyName) -> None:
    """A constant added to the value has no slope in the action."""
    learners = [make_sac(make_config(policy, alpha=0.3, target_calibration=chosen, critic_lr=1e-30)) for chosen in (False, True)]
    for learner in learners:
        learner.update(make_batch())
    for one, other in zip(*(learner.policy.parameters() for learner in learners), strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad, other.grad)
    assert learners[1].networks.calibration_mean != 0 and int(learners[1].networks.calibration_count) == 1


def test_calibration_is_of_the_discounted_entropy_of_transitions_that_go_on() -> None:
    """After one mini-batch it is alpha gamma times the entropy, averaged over all, those that ended counting 0."""
    learner = make_sac(make_config("gaussian", alpha=0.3, gamma=0.9, target_calibration=True), normal=fixed_noise)
    batch = make_batch()
    log_prob = log_prob_of_draws(learner, batch.next_obs)
    learner.update(batch)
    torch.testing.assert_close(learner.networks.calibration_mean, -(0.9 * 0.3 * (1 - batch.terminateds) * log_prob).mean().detach())


# the policy's loss


def actor_gradient(learner: SAC, obs: Tensor) -> list[Tensor]:
    learner._update_policy(obs)
    return [parameter.grad.clone() for parameter in learner.policy.parameters() if parameter.grad is not None]


@EVERY
def test_alpha_weighs_the_entropy_and_not_the_value(policy: PolicyName) -> None:
    """The actor's gradient is affine in alpha; at 0 it is that of minus the smaller value."""
    learners = [make_sac(make_config(policy, alpha=alpha, jacobian_clamping=None), normal=fixed_noise) for alpha in (0.0, 0.4, 0.8)]
    obs, policy_of_first = make_batch().obs, learners[0].policy
    action = policy_of_first.draw(obs, fixed_noise(8, 1, policy_of_first.noise_dim)).squeeze(1).tanh()
    value = learners[0].critic(obs, action, fixed=True).amin(0).mean()
    exact = torch.autograd.grad(-value, list(policy_of_first.parameters()))
    none, some, twice = (actor_gradient(learner, obs) for learner in learners)
    torch.testing.assert_close(none, list(exact))
    torch.testing.assert_close([a + c for a, c in zip(none, twice, strict=True)], [2 * b for b in some])
    assert any(not torch.allclose(a, b) for a, b in zip(none, some, strict=True))


def test_entropy_alone_widens_the_policy_of_every_kind() -> None:
    """Critics that are constant, and a large alpha: the action's log-density falls."""
    for policy in ("gaussian", "radial", "spline"):
        learner = make_sac(make_config(policy, alpha=10.0, actor_lr=1e-3, flow_lr=1e-3), normal=fixed_noise)
        with torch.no_grad():
            for parameter in learner.critic.parameters():
                parameter.zero_()
        entropies = []
        for _ in range(30):
            learner._update_policy(make_batch(64).obs)
            entropies.append(-float(log_prob_of_draws(learner, make_batch(64).obs).detach().mean()))
        assert entropies[-1] > entropies[0]


def test_the_implicit_term_is_log_det_and_path_derivative() -> None:
    """Of a policy that is linear in its bias: d H / d bias = -mean over states of (score + 2 tanh u).

    What is watched of the score is its product with u less the learned mean, not with u.
    """
    learner, obs = make_sac(make_config(alpha=1.0, jacobian_clamping=None), normal=fixed_noise), make_batch().obs
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
    policy, estimator = learner.policy, learner.entropy.estimator
    assert isinstance(policy, ImplicitSampler) and isinstance(estimator, ScoreEstimator)
    action = policy.draw(obs, fixed_noise(8, 1, 4)).squeeze(1).detach()
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    frame = estimator.frame(context=obs)
    score = estimator.score(action.unsqueeze(1), obs, frame=frame).squeeze(1)
    away = action - frame.centre.squeeze(1)
    metrics = learner._update_policy(obs)
    torch.testing.assert_close(policy.out.bias.grad, (score + 2 * action.tanh()).mean(0))
    torch.testing.assert_close(metrics["stein_ratio"], -(away * score).sum(-1).mean().detach() / ACTION_DIM)


def test_what_is_watched_of_actions_far_out_is_their_size_and_the_force_on_the_outermost() -> None:
    learner, obs = make_sac(make_config(alpha=1.0, jacobian_clamping=None)), make_batch(40).obs
    estimator = learner.entropy.estimator
    assert isinstance(estimator, ScoreEstimator)
    with torch.no_grad():
        for parameter in (*learner.policy.parameters(), *estimator.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
        learner.policy.out.weight.mul_(4)  # type: ignore[union-attr, operator]
    learner.normal = fixed_noise
    u = learner.policy.draw(obs, fixed_noise(40, 1, 4)).squeeze(1).detach()
    score = estimator.score(u.unsqueeze(1), obs).squeeze(1)
    metrics = learner._update_policy(obs)
    far = u.norm(dim=-1).argsort()[-2:]  # 5% of 40
    outward = (-(score + 2 * u.tanh()) * u / u.norm(dim=-1, keepdim=True)).sum(-1)[far].mean()
    torch.testing.assert_close(metrics["outward_force"], outward.detach())
    sizes = u.abs().flatten().sort().values
    assert metrics["pre_tanh_max"] == sizes[-1] and metrics["pre_tanh_p99"] == sizes[79]
    saturated = float((u.tanh().abs() > 0.99).double().mean())
    assert 0 < saturated < 1 and float(metrics["saturated"]) == pytest.approx(saturated, rel=1e-6)


# clamping


def clamping_draws(learner: SAC, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Base noise (B, 1, E) of the clamping loss, and its directions (B, P, E), from what the policy is asked to draw."""
    with pytest.MonkeyPatch.context() as patch:
        draws = calls_of(patch, learner.policy, "draw")
        clamp = learner.config.jacobian_clamping
        assert clamp is not None
        learner._clamping(clamp, obs)
    base, moved = sorted((call.arguments[1] for call in draws), key=lambda noise: noise.shape[1])
    return base, (moved - base) / clamp.xi


def test_every_state_is_clamped_at_noise_and_along_directions_of_its_own() -> None:
    config = make_config(jacobian_clamping=JacobianClampingConfig(perturbations=7, xi=0.1))
    base, directions = clamping_draws(make_sac(config), torch.randn(200, OBS_DIM))
    assert base.shape == (200, 1, 4) and directions.shape == (200, 7, 4)
    everything = torch.cat([base, directions], 1).flatten()
    assert abs(everything.mean()) < 4 / len(everything) ** 0.5 and abs(everything.var() - 1) < 4 * (2 / len(everything)) ** 0.5
    for products in (base[:-1] * base[1:], directions[:-1] * directions[1:], base * directions):  # of what is independent
        assert abs(products.mean()) < 4 / products.numel() ** 0.5


def test_clamping_looks_at_the_action_after_the_tanh_and_widens_what_is_too_narrow() -> None:
    learner = make_sac(make_config(alpha=0.0, actor_lr=1e-2, jacobian_clamping=JacobianClampingConfig(eta=0.05, perturbations=16)))
    obs, noise = make_batch(64).obs, fixed_noise(64, 1, 4)
    with torch.no_grad():
        learner.policy.out.weight.mul_(0.01)  # type: ignore[union-attr, operator]
        for parameter in learner.critic.parameters():
            parameter.zero_()
    before = smallest_singular_values(learner.policy, obs, noise).mean()
    metrics = [learner._update_policy(obs) for _ in range(60)]
    assert smallest_singular_values(learner.policy, obs, noise).mean() > 5 * before
    assert metrics[-1]["clamping_loss"] < 0.8 * metrics[0]["clamping_loss"]


def test_saturated_actions_do_not_stretch() -> None:
    learner = make_sac(make_config())
    with torch.no_grad():
        learner.policy.out.bias.fill_(30.0)  # type: ignore[union-attr, operator]
    _, metrics = learner._clamping(JacobianClampingConfig(), make_batch().obs)
    assert metrics["jacobian_stretch"] < 1e-12
    assert float(metrics["clamping_loss"]) == pytest.approx(0.1**2)


def test_the_stretch_that_is_watched_is_the_mean_over_states_and_directions() -> None:
    learner, obs, clamp = make_sac(make_config(), normal=fixed_noise), make_batch().obs, JacobianClampingConfig(perturbations=3)
    noise, directions = fixed_noise(8, 1, 4), fixed_noise(8, 3, 4)
    stretch = jacobian_stretch(lambda eps: learner.policy.draw(obs, eps).tanh(), noise, directions, clamp.xi)
    _, metrics = learner._clamping(clamp, obs)
    torch.testing.assert_close(metrics["jacobian_stretch"], stretch.mean().detach())

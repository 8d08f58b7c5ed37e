"""Entropy from a score equals entropy from a density, when the score is that of the density."""

import math

import pytest
import torch
from torch import Tensor

from ardae_rl.sac import ScoreConfig, ScoreEntropy, TractableEntropy
from ardae_rl.samplers import GaussianSampler, ImplicitSampler
from ardae_rl.score import ARDAE, Frame, LogPartition
from ardae_rl.score.estimator import Normal
from ardae_rl.score.settings import Standardisation
from tests.score.concave import concave

pytestmark = pytest.mark.usefixtures("float64")

OBS_DIM, DIM = 3, 2


class GaussianOracle(ARDAE):
    """The estimator that AR-DAE would become: exact score, and log-density up to a constant of the context."""

    def __init__(self, policy: GaussianSampler) -> None:
        super().__init__(policy.dim, OBS_DIM, width=4)
        self.law = [policy]  # in a list: the oracle reads the policy, it does not own its parameters

    def score(self, x: Tensor, context: Tensor | None = None, *, centre: Tensor | None = None, frame: Frame | None = None) -> Tensor:
        assert context is not None
        mean, log_std = (part.unsqueeze(1) for part in self.law[0].parameters_of(context))
        return -(x - mean) / (2 * log_std).exp()

    def log_density(self, x: Tensor, context: Tensor | None = None, *, centre: Tensor | None = None, frame: Frame | None = None) -> Tensor:
        assert context is not None
        return self.law[0].log_prob(context, x) + 5 * context.sum(-1, keepdim=True)

    def log_partition(
        self,
        context: Tensor | None = None,
        *,
        samples: int,
        proposal_std: float | None = None,
        contexts: int = 1,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
    ) -> LogPartition:
        assert context is not None
        return LogPartition(5 * context.sum(-1), torch.full((len(context),), float(samples)), torch.zeros(len(context)))


def make_policy(dim: int = DIM) -> GaussianSampler:
    return GaussianSampler(OBS_DIM, dim, width=16)


def with_oracle(policy: GaussianSampler) -> ScoreEntropy:
    return ScoreEntropy(GaussianOracle(policy), ScoreConfig(samples_per_context=4, importance_samples=3))


def normal(*shape: int) -> Tensor:
    return torch.randn(shape)


def alone(tensors: list[Tensor]) -> None:
    """One learner, whose means are those of all."""


def corners(batch: int, samples: int, dim: int) -> Tensor:
    """All sign patterns: like the normal law, of mean 0 and covariance I, but without sampling error."""
    if samples > 1:
        return torch.randn(batch, samples, dim)
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * dim).view(-1, 1, dim)


def policy_gradient(entropy: TractableEntropy | ScoreEntropy, policy: GaussianSampler, obs: Tensor, noise: Normal) -> tuple[Tensor, ...]:
    _, term, _ = entropy.sample_with_policy_term(policy, obs, noise)  # type: ignore[arg-type]
    return torch.autograd.grad(term, list(policy.parameters()))


def test_policy_gradients_agree_where_the_noise_has_exact_moments() -> None:
    """They differ by E[grad_phi log pi(u; phi)] = 0, an average over two moments of the noise only."""
    policy, obs = make_policy(), torch.randn(1, OBS_DIM).expand(4, -1)
    through_score = policy_gradient(with_oracle(policy), policy, obs, corners)
    torch.testing.assert_close(through_score, policy_gradient(TractableEntropy(), policy, obs, corners))


def test_the_true_score_of_a_policy_has_a_stein_ratio_of_one() -> None:
    """About b(s), the mean of a Gaussian; to the last digit where the noise has exact moments."""
    policy, obs = make_policy(), torch.randn(1, OBS_DIM).expand(4, -1)
    metrics = with_oracle(policy).sample_with_policy_term(policy, obs, corners).metrics
    assert float(metrics["stein_ratio"]) == pytest.approx(1, abs=1e-9)


def test_policy_gradients_agree_in_the_mean() -> None:
    policy, obs = make_policy(), torch.randn(500, OBS_DIM)
    entropies = with_oracle(policy), TractableEntropy()
    pairs = [[policy_gradient(entropy, policy, obs, normal)[-1] for entropy in entropies] for _ in range(60)]
    difference = torch.stack([through_score - through_density for through_score, through_density in pairs])
    assert (difference.mean(0).abs() < 4 * difference.std(0) / 60**0.5).all()
    assert (difference.std(0) / 60**0.5 < 0.02).all()


def test_log_probs_agree() -> None:
    policy, obs, u = make_policy(), torch.randn(7, OBS_DIM), 3 * torch.randn(7, DIM)
    ours = with_oracle(policy).log_prob(policy, obs, u, normal)
    exact = TractableEntropy().log_prob(policy, obs, u, normal)
    torch.testing.assert_close(ours, exact)
    mean, log_std = policy.parameters_of(obs)
    by_hand = torch.distributions.Normal(mean, log_std.exp()).log_prob(u) - (1 - u.tanh().square()).log()
    torch.testing.assert_close(exact, by_hand.sum(-1), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("from_score", [False, True])
def test_sampled_log_prob_is_the_log_prob_of_the_sample(from_score: bool) -> None:
    policy, obs = make_policy(), torch.randn(7, OBS_DIM)
    entropy = with_oracle(policy) if from_score else TractableEntropy()
    action, log_prob, _ = entropy.sample_with_log_prob(policy, obs, normal)
    torch.testing.assert_close(log_prob, entropy.log_prob(policy, obs, action, normal))


def test_tractable_density_of_the_action_integrates_to_one() -> None:
    step = 1e-4
    action = torch.arange(-1 + step / 2, 1, step).view(-1, 1)
    policy, obs = make_policy(1), torch.randn(1, OBS_DIM).expand(len(action), -1)
    mass = TractableEntropy().log_prob(policy, obs, action.atanh(), normal).exp().sum() * step
    assert abs(float(mass.detach()) - 1) < 1e-3


def same_for_every_state(batch: int, *shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(len(shape))).expand(batch, *shape)


def test_estimated_density_of_the_action_integrates_to_one() -> None:
    count, step = 4000, 0.005
    action = torch.arange(-1 + step / 2, 1, step).view(-1, 1)
    estimator = concave(ARDAE(1, OBS_DIM, layers=1, width=8, activation="softplus", standardisation="per_context", gaussian_residual=False))
    with torch.no_grad():
        estimator.network.out.weight.mul_(6)
    policy, obs = ImplicitSampler(OBS_DIM, 1, noise_dim=2, width=8), torch.randn(1, OBS_DIM).expand(len(action), -1)
    with torch.no_grad():
        policy.out.weight.mul_(0.2)
    entropy = ScoreEntropy(estimator, ScoreConfig(samples_per_context=50, importance_samples=count))
    mass = entropy.log_prob(policy, obs, action.atanh(), same_for_every_state).exp().sum() * step
    with torch.no_grad():
        ess = estimator.log_partition(obs[:1], samples=count, normal=same_for_every_state).effective_sample_size
    assert abs(float(mass) - 1) < 4 * math.sqrt(float(1 / ess - 1 / count)) < 0.1


@pytest.mark.parametrize("standardisation", ["fixed", "per_context", "amortised"])
def test_policy_term_is_the_score_pushed_through_the_sampler(standardisation: Standardisation) -> None:
    """d(term)/du = (f(u) + 2 tanh u) / B, f a constant; and no gradient for the estimator."""
    policy = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8)
    estimator = ARDAE(DIM, OBS_DIM, width=8, standardisation=standardisation)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    entropy = ScoreEntropy(estimator, ScoreConfig(samples_per_context=6, importance_samples=3))
    obs = torch.randn(5, OBS_DIM)
    action, term, _ = entropy.sample_with_policy_term(policy, obs, same_for_every_state)
    frame = estimator.frame(policy.draw(obs, same_for_every_state(5, 6, 4)), context=obs, centre=policy.centre(obs))
    expected = estimator.score(action.unsqueeze(1), obs, frame=frame).squeeze(1) + 2 * action.tanh()
    parameters = list(policy.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(term, parameters, retain_graph=True), torch.autograd.grad(action, parameters, expected.detach() / 5)
    )
    assert all(grad is None for grad in torch.autograd.grad(term, list(estimator.parameters()), allow_unused=True))


@pytest.mark.parametrize("standardisation", ["fixed", "amortised"])
def test_known_coordinates_cost_no_samples_of_the_policy(standardisation: Standardisation) -> None:
    """n_a samples per state are for the fit; the actor and the target draw their one action only."""
    policy, drawn = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), []

    def counting(*shape: int) -> Tensor:
        drawn.append(shape)
        return torch.randn(shape)

    entropy = ScoreEntropy(
        ARDAE(DIM, OBS_DIM, width=8, standardisation=standardisation), ScoreConfig(samples_per_context=6, importance_samples=3)
    )
    obs = torch.randn(5, OBS_DIM)
    entropy.sample_with_policy_term(policy, obs, counting)
    entropy.sample_with_log_prob(policy, obs, counting)
    assert drawn == [(5, 1, 4), (5, 1, 4), (5, 3, DIM)]


def test_fitting_the_score_leaves_the_policy_alone() -> None:
    policy = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8)
    entropy = ScoreEntropy(ARDAE(DIM, OBS_DIM, width=8), ScoreConfig(samples_per_context=6, importance_samples=3))
    losses = entropy.fit_losses(policy, torch.randn(5, OBS_DIM), normal, alone)
    assert losses.keys() == {"score", "whitening"}
    assert all(grad is None for grad in torch.autograd.grad(list(losses.values()), list(policy.parameters()), allow_unused=True))


def test_a_density_needs_no_fit() -> None:
    assert TractableEntropy().fit_losses(make_policy(), torch.randn(5, OBS_DIM), normal, alone) == {}


def test_critic_targets_carry_no_gradient() -> None:
    policy, obs = make_policy(), torch.randn(5, OBS_DIM)
    action, log_prob, watched = with_oracle(policy).sample_with_log_prob(policy, obs, normal)
    assert not action.requires_grad and not log_prob.requires_grad
    assert watched["importance_ess"] == 3 and watched["log_z_error"] == 0

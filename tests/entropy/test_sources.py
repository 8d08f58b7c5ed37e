"""Entropy from a score equals entropy from a density, when the score is that of the density."""

import copy
import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from ardae_rl.entropy import AuxiliaryEntropy, DensityEntropy, EntropyName, EntropySource, ScoreEntropy, build_entropy
from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.samplers import GaussianSampler, HierarchicalSampler, ImplicitSampler, Sampler
from ardae_rl.samplers.autoregressive_flow import spline_flow
from ardae_rl.score import ARDAE, Frame, LogPartition, ardae
from ardae_rl.score.estimator import Normal
from ardae_rl.score.settings import FitSettings, Standardisation
from tests.score.concave import concave
from tests.spies import calls_of

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

    def log_prob(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        samples: int,
        proposal_std: float | None = None,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, LogPartition]:
        assert context is not None
        log_z = LogPartition(5 * context.sum(-1), torch.full((len(context),), float(samples)), torch.zeros(len(context)))
        return self.log_density(x, context) - log_z.log_z.unsqueeze(-1), log_z


def make_policy(dim: int = DIM) -> GaussianSampler:
    return GaussianSampler(OBS_DIM, dim, width=16)


def with_oracle(policy: GaussianSampler) -> ScoreEntropy:
    return ScoreEntropy(GaussianOracle(policy), samples_per_context=4, importance_samples=3, origin="centre")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape)


def corners(batch: int, dim: int) -> Tensor:
    """All sign patterns: like the normal law, of mean 0 and covariance I, but without sampling error. (2^D, 1, D)."""
    assert batch == 2**dim
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * dim).view(-1, 1, dim)


def entropy_gradient(entropy: EntropySource, policy: GaussianSampler, obs: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    drawn = entropy.draw_with_entropy(policy, obs, noise, normal)
    return torch.autograd.grad(drawn.value, list(policy.parameters()))


def test_entropy_gradients_agree_where_the_noise_has_exact_moments() -> None:
    """They differ by E[grad_phi log pi(u; phi)] = 0, an average over two moments of the noise only."""
    policy, obs, noise = make_policy(), torch.randn(1, OBS_DIM).expand(4, -1), corners(4, DIM)
    through_score = entropy_gradient(with_oracle(policy), policy, obs, noise)
    torch.testing.assert_close(through_score, entropy_gradient(DensityEntropy(), policy, obs, noise))


def test_the_true_score_of_a_policy_has_a_stein_ratio_of_one() -> None:
    """About b(s), the mean of a Gaussian; to the last digit where the noise has exact moments."""
    policy, obs = make_policy(), torch.randn(1, OBS_DIM).expand(4, -1)
    metrics = with_oracle(policy).draw_with_entropy(policy, obs, corners(4, DIM), normal).metrics
    assert float(metrics["stein_ratio"]) == pytest.approx(1, abs=1e-9)


def test_entropy_gradients_agree_in_the_mean() -> None:
    policy, obs = make_policy(), torch.randn(500, OBS_DIM)
    sources = with_oracle(policy), DensityEntropy()
    pairs = [[entropy_gradient(source, policy, obs, torch.randn(500, 1, DIM))[-1] for source in sources] for _ in range(60)]
    difference = torch.stack([through_score - through_density for through_score, through_density in pairs])
    assert (difference.mean(0).abs() < 4 * difference.std(0) / 60**0.5).all()
    assert (difference.std(0) / 60**0.5 < 0.02).all()


@pytest.mark.parametrize("from_score", [False, True])
def test_the_log_prob_of_a_draw_is_that_of_the_density(from_score: bool) -> None:
    policy, obs, noise = make_policy(), torch.randn(7, OBS_DIM), torch.randn(7, 3, DIM)
    source = with_oracle(policy) if from_score else DensityEntropy()
    drawn = source.draw_with_log_prob(policy, obs, noise, normal)
    torch.testing.assert_close(drawn.x, policy.draw(obs, noise))
    mean, log_std = (part.unsqueeze(1) for part in policy.parameters_of(obs))
    torch.testing.assert_close(drawn.value, torch.distributions.Normal(mean, log_std.exp()).log_prob(drawn.x).sum(-1))


def test_the_value_of_an_exact_source_is_the_entropy() -> None:
    policy, obs = make_policy(), torch.randn(2000, OBS_DIM)
    with torch.no_grad():
        exact = (policy.parameters_of(obs)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).mean()
        found = DensityEntropy().draw_with_entropy(policy, obs, torch.randn(2000, 20, DIM), normal).value
    assert DensityEntropy.is_exact and not ScoreEntropy.is_exact
    assert abs(float(found - exact)) < 5 * (DIM / 2 / 40_000) ** 0.5


def same_for_every_state(batch: int, *shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(len(shape))).expand(batch, *shape)


class Line(ImplicitSampler):
    """What is drawn is the noise itself, wherever the centre: points to ask a density at."""

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return noise[..., :1]


def test_an_estimated_density_integrates_to_one() -> None:
    count, step = 4000, 0.01
    points = torch.arange(-8 + step / 2, 8, step).view(-1, 1)
    estimator = concave(ARDAE(1, OBS_DIM, layers=1, width=8, activation="softplus", standardisation="amortised", gaussian_residual=False))
    estimator.losses(torch.randn(20, 30, 1), torch.randn(20, OBS_DIM), centre=torch.zeros(20, 1))
    policy, obs = Line(OBS_DIM, 1, noise_dim=2, width=8), torch.randn(1, OBS_DIM).expand(len(points), -1)
    noise = torch.cat([points, torch.zeros_like(points)], -1).unsqueeze(1)
    source = ScoreEntropy(estimator, samples_per_context=50, importance_samples=count, origin="centre")
    mass = source.draw_with_log_prob(policy, obs, noise, same_for_every_state).value.exp().sum() * step
    with torch.no_grad():
        ess = estimator.log_partition(obs[:1], samples=count, normal=same_for_every_state).effective_sample_size
    assert abs(float(mass) - 1) < 4 * math.sqrt(float(1 / ess - 1 / count)) < 0.1


@pytest.mark.parametrize("standardisation", ["fixed", "per_context", "amortised"])
def test_the_gradient_is_the_score_pushed_through_the_sampler(standardisation: Standardisation) -> None:
    """dH/du = -f(u) / B, f a constant; and no gradient for the estimator."""
    policy = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8)
    estimator = ARDAE(DIM, OBS_DIM, width=8, standardisation=standardisation)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    source, obs = ScoreEntropy(estimator, samples_per_context=6, origin="centre"), torch.randn(5, OBS_DIM)
    u, value, _ = source.draw_with_entropy(policy, obs, torch.randn(5, 1, 4), same_for_every_state)
    frame = estimator.frame(policy.draw(obs, same_for_every_state(5, 6, 4)), context=obs, centre=policy.centre(obs))
    expected = -estimator.score(u, obs, frame=frame)
    parameters = list(policy.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(value, parameters, retain_graph=True), torch.autograd.grad(u, parameters, expected.detach() / 5)
    )
    assert all(grad is None for grad in torch.autograd.grad(value, list(estimator.parameters()), allow_unused=True))


@pytest.mark.parametrize("standardisation", ["fixed", "amortised"])
def test_known_coordinates_cost_no_samples_of_the_policy(standardisation: Standardisation) -> None:
    """n_a samples per state are for the fit; the actor and the target draw their one action only."""
    policy, drawn = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), []

    def counting(*shape: int) -> Tensor:
        drawn.append(shape)
        return torch.randn(shape)

    source = ScoreEntropy(ARDAE(DIM, OBS_DIM, width=8, standardisation=standardisation), samples_per_context=6, importance_samples=3)
    obs, noise = torch.randn(5, OBS_DIM), torch.randn(5, 1, 4)
    source.draw_with_entropy(policy, obs, noise, counting)
    source.draw_with_log_prob(policy, obs, noise, counting)
    assert drawn == [(5, 3, DIM)]


def test_fitting_the_score_leaves_the_policy_alone() -> None:
    policy = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8)
    source = ScoreEntropy(ARDAE(DIM, OBS_DIM, width=8), samples_per_context=6)
    (losses,) = source.fit_losses(policy, torch.randn(5, OBS_DIM), normal)
    assert losses.keys() == {"score", "whitening"}
    assert all(grad is None for grad in torch.autograd.grad(list(losses.values()), list(policy.parameters()), allow_unused=True))


@pytest.mark.parametrize("origin", ["centre", "mean"])
@pytest.mark.parametrize("standardisation", ["fixed", "amortised", "per_context"])
def test_a_loss_in_parts_is_the_loss(origin: Literal["centre", "mean"], standardisation: Standardisation) -> None:
    """Contexts are independent: parts weigh by how many of them they have. (5 contexts of 6 samples, two contexts to a part.)"""
    policy, obs = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), torch.randn(5, OBS_DIM)
    estimator = ARDAE(DIM, OBS_DIM, width=8, standardisation=standardisation, antithetic=False).eval()
    fixed = lambda *shape: same_for_every_state(*shape)  # noqa: E731
    whole, parts = (
        [*ScoreEntropy(estimator, samples_per_context=6, origin=origin, rows=rows).fit_losses(policy, obs, fixed)] for rows in (None, 13)
    )
    assert (len(whole), len(parts)) == (1, 3)
    for name, loss in whole[0].items():
        torch.testing.assert_close(torch.stack([part[name] for part in parts]).sum(), loss, rtol=1e-6, atol=1e-8)


def test_fits_are_on_fresh_samples_and_report_the_mean_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, obs = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), torch.randn(5, OBS_DIM)
    source = ScoreEntropy(ARDAE(DIM, OBS_DIM, width=8), samples_per_context=6)
    losses = calls_of(monkeypatch, source.estimator, "losses")
    optimiser = GuardedOptimiser("score", torch.optim.Adam(source.parameters(), lr=1e-3))
    found = source.fit(optimiser, policy, obs, normal, steps=3)
    assert optimiser.steps == 3 and not torch.equal(losses[0].arguments[0], losses[1].arguments[0])
    for name in ("score", "whitening"):
        expected = torch.stack([call.result[name].detach() for call in losses]).mean()
        torch.testing.assert_close(found[f"{name}_loss"], expected)


@pytest.mark.parametrize(("contexts", "steps"), [(6, 3), (7, 3), (2, 8)])
def test_every_share_has_contexts_of_its_own_and_all_have_their_turn(contexts: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on its own states and noise; the policy's step then finds the coordinates that were learned, once."""
    policy, obs = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), torch.randn(contexts, OBS_DIM)
    source = ScoreEntropy(ARDAE(DIM, OBS_DIM, width=8, anchors=2), samples_per_context=4, noise_dim=4, share_contexts=True)
    optimiser = GuardedOptimiser("score", torch.optim.Adam(source.parameters(), lr=1e-3))
    fits = calls_of(monkeypatch, ardae, "denoising_gradients")
    found = source.fit(optimiser, policy, obs, normal, steps=steps)
    shares = min(contexts, steps)
    assert found.keys() == {"score_loss", "whitening_loss"} and optimiser.steps == 1 + shares == 1 + len(fits) and optimiser.skipped == 0
    seen = [call.arguments[2][:, :OBS_DIM] for call in fits]
    torch.testing.assert_close(torch.cat(seen).sort(0).values, obs.sort(0).values)
    drawn = calls_of(monkeypatch, policy, "draw")
    source.draw_with_entropy(policy, obs, torch.randn(contexts, 1, 4), normal)
    assert len(drawn) == 1
    source.draw_with_entropy(policy, obs, torch.randn(contexts, 1, 4), normal)
    assert len(drawn) == 3, "and the anchors again"


def test_the_anchors_are_where_the_sampler_puts_fixed_noise() -> None:
    policy, obs = ImplicitSampler(OBS_DIM, DIM, noise_dim=4, width=8), torch.randn(5, OBS_DIM)
    estimator = ARDAE(DIM, OBS_DIM, width=8, anchors=3)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    source = ScoreEntropy(estimator, samples_per_context=4, noise_dim=4)
    assert source.anchors is not None and source.state_dict()["anchors"].shape == (3, 4)
    x, log_prob, _ = source.draw_with_log_prob(policy, obs, torch.randn(5, 1, 4), same_for_every_state)
    points = policy.draw(obs, source.anchors.expand(5, -1, -1))
    frame = estimator.frame(context=obs, anchors=points)
    expected, _ = estimator.log_prob(x, obs, frame=frame, samples=10, normal=same_for_every_state)
    torch.testing.assert_close(log_prob, expected.detach())
    moved = estimator.frame(context=obs, anchors=points + 1)
    assert not torch.allclose(estimator.score(x, obs, frame=moved), estimator.score(x, obs, frame=frame), rtol=1e-3)
    with pytest.raises(ValueError, match=r"anchors must have shape \(contexts, 3, 2\), got None: make a frame with anchors="):
        estimator.score(x, obs)
    with pytest.raises(ValueError, match="depends on them: take log_prob"):
        estimator.log_partition(obs, samples=3)
    with pytest.raises(ValueError, match="anchors must be 0 without a context"):
        ARDAE(2, anchors=1)


def test_a_density_needs_no_fit() -> None:
    assert [*DensityEntropy().fit_losses(make_policy(), torch.randn(5, OBS_DIM), normal)] == []
    assert DensityEntropy().fit(None, make_policy(), torch.randn(5, OBS_DIM), normal, steps=3) == {}


def test_log_probs_for_targets_carry_no_gradient() -> None:
    policy, obs = make_policy(), torch.randn(5, OBS_DIM)
    action, log_prob, watched = with_oracle(policy).draw_with_log_prob(policy, obs, torch.randn(5, 1, DIM), normal)
    assert not action.requires_grad and not log_prob.requires_grad
    assert watched["importance_ess"] == 3 and watched["log_z_error"] == 0


# by name


UNCONDITIONAL: list[tuple[Sampler, type[EntropySource]]] = [
    (ImplicitSampler(0, 2, noise_dim=3, width=8), ScoreEntropy),
    (HierarchicalSampler(2, 2, width=8, layers=1), ScoreEntropy),
    (spline_flow(2, width=8), DensityEntropy),
]


@pytest.mark.parametrize(("sampler", "kind"), UNCONDITIONAL)
def test_without_a_name_the_density_where_there_is_one_else_ardae(sampler: Sampler, kind: type[EntropySource]) -> None:
    source = build_entropy(None, sampler, 0, FitSettings(width=8, samples_per_context=16))
    assert type(source) is kind and (kind is DensityEntropy or isinstance(source.estimator, ARDAE))


@pytest.mark.parametrize("name", get_args(EntropyName))
@pytest.mark.parametrize("sampler", [sampler for sampler, _ in UNCONDITIONAL])
def test_every_source_goes_with_every_sampler_or_says_why_not(sampler: Sampler, name: EntropyName) -> None:
    sampler, settings = copy.deepcopy(sampler).double(), FitSettings(width=8, samples_per_context=16)
    unfit = (name == "density" and not sampler.has_density) or (name == "auxiliary" and not isinstance(sampler, HierarchicalSampler))
    noise = torch.randn(32, sampler.noise_dim)
    if unfit:
        with pytest.raises(ValueError, match=f"sampler must .* for entropy '{name}'"):
            build_entropy(name, sampler, 0, settings).draw_with_entropy(sampler, None, noise, normal)
        return
    source = build_entropy(name, sampler, 0, settings)
    fitted = [p for p in source.parameters() if not source.moves_with_sampler]
    optimiser = GuardedOptimiser("score", torch.optim.Adam(fitted, lr=1e-3)) if fitted else None
    metrics = source.fit(optimiser, sampler, None, normal, steps=2)
    assert ("score_loss" in metrics) == bool(fitted) and metrics.keys() <= source.metric_names
    x, value, watched = source.draw_with_entropy(sampler, None, noise, normal)
    assert x.shape == (32, 2) and value.shape == () and watched.keys() <= source.metric_names
    assert all(gradient is not None for gradient in torch.autograd.grad(value, list(sampler.parameters()), allow_unused=True)[-1:])


def test_the_auxiliary_network_is_as_large_as_the_sampler_and_moves_with_it() -> None:
    source = AuxiliaryEntropy.of(HierarchicalSampler(3, 2, width=24, layers=2))
    assert [tuple(p.shape) for p in source.parameters() if p.dim() == 2] == [(24, 2), (24, 24), (6, 24)] and source.moves_with_sampler

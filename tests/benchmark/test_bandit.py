"""The bandits' own numbers against quadrature and draws from the optimum; and that a policy neither runs away nor collapses."""

import math

import pytest
import torch
from torch import Tensor

from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.samplers.base import Sampler
from benchmark import bandit
from benchmark.bandit import Case, Kind, compare, q_value, run

KINDS: list[Kind] = ["apart", "meeting", "three", "bound"]


class Optimum(Sampler):
    """Draws from the soft optimum by its cells, each uniform; noise is a position among them, through the normal distribution."""

    def __init__(self, kind: Kind, dim: int, alpha: float) -> None:
        super().__init__()
        self.kind, self.dim, self.alpha, self.noise_dim = kind, dim, alpha, 1 + dim

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        assert context is not None and len(context) == 1
        uniform = torch.special.ndtr(noise.double())
        cells, width = bandit._cells(self.dim)
        ends = bandit._log_optimum(self.kind, context[0], self.dim, self.alpha).double().softmax(0).cumsum(0)
        index = torch.searchsorted(ends, uniform[..., 0]).clamp(max=len(cells) - 1)
        return (cells[index] + width * (uniform[..., 1:] - 0.5)).clamp(-1 + 1e-7, 1 - 1e-7).atanh().float()


@pytest.mark.parametrize(("kind", "dim", "alpha"), [(kind, dim, alpha) for kind in KINDS for dim in (1, 2) for alpha in (0.3, 1.0)])
def test_the_optimum_itself_has_no_divergence_and_the_spread_it_should(kind: Kind, dim: int, alpha: float) -> None:
    found = compare(Optimum(kind, dim, alpha), kind, alpha)
    assert abs(found["divergence"]) < (0.004 if dim == 1 else 0.01) and found["spread"] == pytest.approx(1, abs=0.06)


def test_another_temperature_or_another_bandit_is_told_apart() -> None:
    assert compare(Optimum("apart", 1, 1.0), "apart", 0.3)["divergence"] > 0.3
    assert compare(Optimum("apart", 1, 1.0), "meeting", 1.0)["divergence"] > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_is_that_of_quadrature(kind: Kind) -> None:
    """Of a Gaussian before the tanh, over one state at a time."""

    class Gaussian(Sampler):
        dim = noise_dim = 1

        def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
            return 0.2 + 0.7 * noise

    found = compare(Gaussian(), kind, 1.0)["divergence"]
    u = torch.linspace(-6, 6, 24_001)[:, None]
    log_policy = torch.distributions.Normal(0.2, 0.7).log_prob(u).sum(-1)
    states = torch.randn(bandit.SHOWN_STATES, 2, generator=torch.Generator().manual_seed(9))
    exact = []
    for state in states:
        log_optimum = q_value(kind, state[None], u.tanh()[None])[0] + log_det_tanh(u)
        log_optimum = log_optimum - log_optimum.logsumexp(0) - math.log(12 / 24_000)
        exact.append(float((log_policy.exp() * (log_policy - log_optimum)).sum() * 12 / 24_000))
    assert found == pytest.approx(sum(exact) / len(exact), abs=0.01)


def test_above_two_dimensions_the_optimum_is_a_product() -> None:
    state, actions = torch.randn(3, 2), torch.rand(3, 5, 4) * 2 - 1
    parts = [q_value("three", state, actions[..., i : i + 1]) for i in range(4)]
    torch.testing.assert_close(q_value("three", state, actions), torch.stack(parts).sum(0))


def test_a_case_says_what_it_changes() -> None:
    case = Case(kind="meeting", dim=1, alpha=0.3, changes={"actor_lr": 1e-3, "score.student_dof": None})
    assert case.name == "meeting 1-d, alpha 0.3, actor_lr 0.001, score.student_dof None"
    assert (case.config.actor_lr, case.config.score.student_dof, case.config.alpha) == (1e-3, None, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dim", "limit"), [("apart", 1, 0.08), ("apart", 2, 0.15), ("meeting", 1, 0.08)])
def test_the_policy_finds_the_optimum_and_stays(kind: Kind, dim: int, limit: float) -> None:
    """A Gaussian's divergence is 0.30, 0.58 and 0.07."""
    looks = list(
        run(kind, dim, Case(kind=kind, dim=dim, changes={"actor_lr": 1e-3} if kind == "meeting" else {}).config, steps=3000, seed=0)
    )
    assert looks[-1].divergence < limit and all(0.67 < look.spread < 1.5 for look in looks[1:])

"""The usual loop, loss(x, c) and score(x, c): units, offsets and linear maps of the samples, what is remembered of them, what must fit."""

import copy
import io
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ardae_rl.score import (
    ARDAE,
    AdversarialScore,
    BlurredDAE,
    ImplicitScoreMatching,
    ReconstructionDAE,
    ResidualDAE,
    ScoreEstimator,
    stein_ratio,
    whitening_frame,
)
from ardae_rl.score.ardae import half_of_the_rows

SMALL: dict[str, Any] = {"width": 16, "layers": 2, "activation": "softplus"}
MAKERS: dict[str, Callable[..., ScoreEstimator]] = {
    "ardae": lambda *sizes: ARDAE(*sizes, **SMALL),
    "residual_dae": lambda *sizes: ResidualDAE(*sizes, sigma=0.3, **SMALL),
    "reconstruction_dae": lambda *sizes: ReconstructionDAE(*sizes, sigma=0.3, **SMALL),
    "score_matching": lambda *sizes: ImplicitScoreMatching(*sizes, **SMALL),
    "adversarial": lambda *sizes: AdversarialScore(*sizes, **SMALL),
}
ALL = pytest.mark.parametrize("name", MAKERS)
AROUND = ("learned mean", "centre", "no context")
SPREAD = torch.tensor([1.0, 0.3])


def middle(c: Tensor) -> Tensor:
    return torch.stack([c[:, 0].sin(), c[:, 1].cos()], -1)


def trained_and_scored(
    name: str, around: str, move: Callable[[Tensor], Tensor], *, steps: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """A Gaussian whose mean depends on a context, moved; the same draws for every move. Points, moved, and the score at them."""
    torch.manual_seed(0)
    with_context = around != "no context"
    estimator = MAKERS[name](2, 2 if with_context else 0).to(dtype)
    optimiser, generator = torch.optim.Adam(estimator.parameters(), 1e-3), torch.Generator().manual_seed(1)

    def draw(contexts: int) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Any]]:
        """In double precision, rounded after the move: far from 0 the digits that ``dtype`` has not are lost."""
        c = torch.randn(contexts, 2, generator=generator, dtype=torch.float64)
        x = middle(c)[:, None] + SPREAD * torch.randn(contexts, 16, 2, generator=generator, dtype=torch.float64)
        centre = move(middle(c)[:, None])[:, 0].to(dtype)
        moved = move(x).to(dtype)
        return (moved, (c.to(dtype),), {"centre": centre} if around == "centre" else {}) if with_context else (moved.flatten(0, 1), (), {})

    noise = torch.Generator().manual_seed(2)
    normal = lambda *shape: torch.randn(shape, generator=noise, dtype=torch.float64).to(dtype)  # noqa: E731
    for _ in range(steps):
        x, context, extra = draw(8)
        optimiser.zero_grad()
        estimator.loss(x, *context, normal=normal, **extra).backward()
        optimiser.step()
    x, context, extra = draw(8)
    return x, estimator.score(x, *context, **extra).detach()


@ALL
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("unit", "offset"), [(1e-3, 1.0), (1e3, -1e6), (1e8, 0.0)])
@pytest.mark.usefixtures("float64")
def test_training_is_the_same_in_every_unit_and_far_from_zero(name: str, around: str, unit: float, offset: float) -> None:
    """y = u x + t has the score of x over u, after every step of the user's optimiser."""
    _, here = trained_and_scored(name, around, lambda x: x, steps=5, dtype=torch.float64)
    _, there = trained_and_scored(name, around, lambda x: unit * x + offset, steps=5, dtype=torch.float64)
    torch.testing.assert_close(unit * there, here, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.usefixtures("float64")
def test_training_is_the_same_after_any_linear_map_of_condition_1e4(around: str) -> None:
    """y = A x has the score A^-T score(x). Whitening is unique up to a turn, and for a triangular A altogether."""
    a = torch.tensor([[100.0, 0.0], [3.0, 0.01]])
    _, here = trained_and_scored("ardae", around, lambda x: x, steps=5, dtype=torch.float64)
    _, there = trained_and_scored("ardae", around, lambda x: x @ a.T, steps=5, dtype=torch.float64)
    assert (there @ a - here).norm() < 0.01 * here.norm()  # where a gradient is 0, Adam makes steps of rounding errors


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("unit", "offset"), [(1e-3, 0.0), (1e-3, 1.0), (1e3, 0.0), (1e3, 1e6)])
def test_single_precision_suffices_for_units_of_a_thousandth_to_a_thousand_and_offsets_of_a_thousand_spreads(
    around: str, unit: float, offset: float
) -> None:
    _, here = trained_and_scored("ardae", around, lambda x: x, steps=100, dtype=torch.float32)
    _, there = trained_and_scored("ardae", around, lambda x: unit * x + offset, steps=100, dtype=torch.float32)
    assert (unit * there - here).norm() < 0.02 * here.norm()


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("unit", "offset"), [(1e8, 0.0), (1e-8, 0.0), (1.0, 1e6), (1e8, -1e14)])
def test_extreme_units_and_offsets_give_finite_scores(around: str, unit: float, offset: float) -> None:
    x, score = trained_and_scored("ardae", around, lambda x: unit * x + offset, steps=5, dtype=torch.float32)
    assert x.isfinite().all() and score.isfinite().all()


@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_the_default_without_a_context_learns_a_correlated_gaussian_whatever_its_condition(condition: float) -> None:
    """x = A z: A^T score is -z. In single precision, with a turned A."""
    torch.manual_seed(0)
    a = torch.linalg.qr(torch.randn(4, 4))[0] * torch.logspace(0, -float(torch.tensor(condition).log10()), 4)
    estimator = ARDAE(4, width=32, layers=2)
    optimiser = torch.optim.Adam(estimator.parameters(), 3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        estimator.loss(torch.randn(256, 4) @ a.T).backward()
        optimiser.step()
    z = torch.randn(2000, 4)
    score = estimator.score(z @ a.T).detach()
    assert 0.1 < (score @ a + z).norm() / z.norm() < 0.3
    assert stein_ratio(z @ a.T, score) == pytest.approx(1, abs=0.1)


# every sample is trained on


@pytest.mark.parametrize(("repeats", "rows"), [(1, 3), (2, 5), (3, 8)])
def test_half_of_the_rows_has_every_sample_as_often_as_the_others(repeats: int, rows: int) -> None:
    """Five samples: how often each comes, over 4000 contexts; half of ``repeats`` on average, and in each context within one."""
    x = torch.arange(5.0).view(1, 5, 1).expand(4000, 5, 1)
    chosen = half_of_the_rows(x, repeats, lambda *shape: torch.randn(shape))
    assert chosen.shape == (4000, rows, 1)
    counts = (chosen == torch.arange(5.0)).sum(1).double()
    assert (counts.amax(1) - counts.amin(1)).max() <= 1
    torch.testing.assert_close(counts.mean(0), torch.full((5,), rows / 5, dtype=torch.float64), rtol=0, atol=0.04)


@pytest.mark.parametrize("make", [lambda: ARDAE(1, **SMALL), lambda: BlurredDAE(1, sigma=0.1, antithetic=True, **SMALL)])
def test_samples_in_an_order_are_all_trained_on(make: Callable[[], ScoreEstimator]) -> None:
    """Which of them the network sees over twenty calls, without noise: all, in pairs."""
    estimator, seen = make(), list[Tensor]()
    x = torch.tensor([[-1.0], [1.0]] * 8) + 0.01 * torch.arange(16.0).unsqueeze(1)
    estimator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten()))
    frame = whitening_frame(x.unsqueeze(0))
    for _ in range(20):
        estimator.losses(x, frame=frame, normal=lambda *shape: torch.randn(shape) if len(shape) == 2 else torch.zeros(shape))
    assert all(len(call) == 16 and torch.equal(call[:8], call[8:]) for call in seen)
    assert len(torch.cat(seen).unique()) == 16


def test_two_modes_in_turn_are_learned_alike() -> None:
    torch.manual_seed(0)
    estimator = ARDAE(1, width=64, layers=2)
    optimiser = torch.optim.Adam(estimator.parameters(), lr=3e-3)

    def draw(n: int) -> Tensor:
        return torch.stack([0.5 * torch.randn(n, 1) - 2, 0.5 * torch.randn(n, 1) + 2], 1).flatten(0, 1)

    for _ in range(600):
        optimiser.zero_grad()
        estimator.loss(draw(256)).backward()
        optimiser.step()
    x = draw(2000)
    truth, score = (2 * torch.tanh(8 * x) - x) / 0.25, estimator.score(x).detach()
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        assert 0.02 < (score[rows] - truth[rows]).norm() / truth[rows].norm() < 0.45


# one sample per context, and more


def test_one_sample_per_context_is_enough_and_more_for_the_frame_change_nothing() -> None:
    torch.manual_seed(0)
    estimator = ARDAE(2, 2, width=64)
    optimiser = torch.optim.Adam(estimator.parameters(), 1e-3)

    def draw(c: Tensor, k: int) -> Tensor:
        return middle(c)[:, None] + (0.5 * c[:, None, :1].sin()).exp() * torch.tensor([1.0, 0.5]) * torch.randn(len(c), k, 2)

    for _ in range(300):
        c = torch.randn(512, 2)
        optimiser.zero_grad()
        estimator.loss(draw(c, 1), c).backward()
        optimiser.step()
    c = torch.randn(512, 2)
    x = draw(c, 16)
    truth = (middle(c)[:, None] - x) / ((0.5 * c[:, None, :1].sin()).exp() * torch.tensor([1.0, 0.5])).square()
    score = estimator.score(x, c)
    assert 0.02 < (score - truth).norm() / truth.norm() < 0.3
    for k in (1, 2, 16):
        assert torch.equal(estimator.score(x, c, frame=estimator.frame(draw(c, k), context=c)), score)


# what is remembered


@pytest.mark.usefixtures("float64")
def test_a_score_without_a_context_is_in_coordinates_of_the_samples_of_the_losses_and_never_of_its_points() -> None:
    estimator, x = ARDAE(2, **SMALL), 3 + torch.randn(50, 2) * SPREAD
    estimator.losses(x)
    own = whitening_frame(x.unsqueeze(0))
    points = torch.randn(7, 2)
    torch.testing.assert_close(estimator.score(points), estimator.score(points, frame=own))
    torch.testing.assert_close(estimator.score(points[:1]), estimator.score(points)[:1])
    torch.testing.assert_close(estimator.frame().standardise(points[None]), own.standardise(points[None]))
    away = torch.tensor([7.0, -7.0])
    torch.testing.assert_close(estimator.frame(x, centre=away).standardise(points[None]), own.standardise(points[None] + x.mean(0) - away))


@pytest.mark.parametrize("context_dim", [0, 3])
def test_what_is_remembered_is_saved_copied_and_averaged_along(context_dim: int) -> None:
    estimator = ARDAE(2, context_dim, **SMALL)
    context = [torch.randn(6, 3)] if context_dim else []
    x = 5 + torch.randn(6, 9, 2) if context_dim else 5 + torch.randn(50, 2)
    averaged = AveragedModel(estimator)
    estimator.losses(x, *context)
    averaged.update_parameters(estimator)
    file = io.BytesIO()
    torch.save(estimator.state_dict(), file)
    file.seek(0)
    loaded = ARDAE(2, context_dim, **SMALL)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(estimator), cast(ARDAE, averaged.module)):
        assert torch.equal(other.score(x, *context), estimator.score(x, *context))
        with pytest.raises(ValueError, match="centre was not given to the loss and is given here"):
            other.score(x, *context, centre=torch.zeros(len(x) if context_dim else 1, 2))


def test_nothing_is_remembered_in_evaluation_mode_nor_of_samples_in_a_frame() -> None:
    estimator, x = ARDAE(2, **SMALL), torch.randn(50, 2)
    before = copy.deepcopy(estimator.state_dict())
    estimator.losses(x, frame=whitening_frame(x.unsqueeze(0)))
    estimator.eval().losses(x)
    after = estimator.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == {"origin"}  # a score then needs a frame, too
    estimator.train().losses(x)
    assert estimator.state_dict()["moments.count"] == 1


@pytest.mark.usefixtures("float64")
def test_fixed_and_per_context_without_a_context_remember_mean_and_spread() -> None:
    x, points = 3 + torch.randn(50, 2) * SPREAD, torch.randn(1, 7, 2)
    spread = x.std(0, correction=0).mean()
    for options, scale in (({"standardisation": "fixed", "scale": 7.0}, 7.0), ({"standardisation": "per_context"}, 1 / spread)):
        estimator = ARDAE(2, **SMALL, **options)
        estimator.losses(x)
        torch.testing.assert_close(estimator.frame().standardise(points), (points - x.mean(0)) * scale)


# what must fit together


def with_contexts(**options: Any) -> tuple[ARDAE, Tensor, Tensor]:
    return ARDAE(2, 3, **SMALL, **options), torch.randn(4, 5, 2), torch.randn(4, 3)


@pytest.mark.parametrize("standardisation", ["amortised", "per_context"])
def test_a_frame_of_other_contexts_is_refused(standardisation: str) -> None:
    estimator, x, c = with_contexts(standardisation=standardisation)
    methods: list[Callable[..., object]] = [estimator.loss, estimator.losses, estimator.score, estimator.log_density]
    methods.append(lambda x, c, frame: estimator.blurred_score(x, c, sigma=0.1, frame=frame))
    frame = estimator.frame(x, context=c)
    for method in methods:
        method(x, c, frame=frame)
        method(x, c.clone(), frame=frame)
        with pytest.raises(ValueError, match=r"frame belongs to other contexts: make it by frame\(samples, context=context\)"):
            method(x, c + 1, frame=frame)
        with pytest.raises(
            ValueError, match=r"frame must be one of the 4 contexts of x of shape \(4, 5, 2\), got coordinates of 1 in 2 dim"
        ):
            method(x, c, frame=estimator.frame(x[:1], context=c[:1]))
        with pytest.raises(ValueError, match=r"frame must be one of the 4 contexts .* got coordinates of 4 in 3 dimensions"):
            method(x, c, frame=whitening_frame(torch.randn(4, 9, 3)))


def test_a_context_in_the_place_of_an_option_is_refused() -> None:
    estimator, x, c = with_contexts()
    for method in (estimator.frame, estimator.score, estimator.loss):
        with pytest.raises(TypeError, match="positional argument"):
            method(x, c, c)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional argument"):
        estimator.frame(x, c)  # type: ignore[call-arg]


def test_a_centre_is_given_to_loss_and_score_or_to_neither() -> None:
    estimator, x, c = with_contexts()
    centre = torch.zeros(4, 2)
    estimator.score(x, c)
    estimator.losses(x, c, centre=centre)
    estimator.score(x, c, centre=centre)
    for method in (estimator.score, estimator.log_density):
        with pytest.raises(ValueError, match="centre was given to the loss and is missing here: pass it to both, or to neither, or make"):
            method(x, c)
    estimator.losses(x, c)
    estimator.score(x, c)
    with pytest.raises(ValueError, match="centre was not given to the loss and is given here"):
        estimator.score(x, c, centre=centre)
    for _ in range(2):
        estimator.losses(x, c, frame=estimator.frame(context=c))
    estimator.score(x, c, frame=estimator.frame(x, context=c, centre=centre))
    with pytest.raises(ValueError, match="frame was given to the loss and is missing here: pass it to both, or to neither, or make a"):
        estimator.score(x, c)
    with pytest.raises(ValueError, match="centre and frame exclude each other"):
        estimator.score(x, c, centre=centre, frame=estimator.frame(context=c))
    with pytest.raises(ValueError, match=r"centre must have shape \(4, 2\), one point per context, got \(3, 2\)"):
        estimator.score(x, c, centre=centre[:3])
    with pytest.raises(ValueError, match=r"centre must have shape \(contexts, 2\), got \(4, 3\)"):
        estimator.losses(x, c, centre=torch.zeros(4, 3))


def test_each_context_has_the_centre_given_for_it() -> None:
    """Its own, and only its: the score around another is another."""
    estimator, x, c = with_contexts()
    centre = torch.randn(4, 2)
    estimator.losses(x, c, centre=centre)
    moved = centre + torch.tensor([0.0, 0.0, 1.0, 0.0]).unsqueeze(1)
    changed = (estimator.score(x, c, centre=moved) != estimator.score(x, c, centre=centre)).flatten(1).any(1)
    assert changed.tolist() == [False, False, True, False]
    torch.testing.assert_close(estimator.score(x + 7, c, centre=centre + 7), estimator.score(x, c, centre=centre), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("standardisation", "needs"), [("per_context", "samples of every context: pass frame="), ("fixed", "a centre")])
def test_a_score_that_lacks_its_coordinates_says_which_and_where_there_is_no_need_of_them(standardisation: str, needs: str) -> None:
    estimator, x, c = with_contexts(standardisation=standardisation)
    estimator.losses(x, c)
    for method in (estimator.score, estimator.log_density):
        with pytest.raises(
            ValueError, match=rf"standardisation '{standardisation}' needs {needs}.*standardisation='amortised' needs neither"
        ):
            method(x, c)
    estimator.score(x, c, frame=estimator.frame(x, context=c))


def test_fixed_coordinates_around_a_centre_need_no_samples() -> None:
    estimator, x, c = with_contexts(standardisation="fixed", scale=30.0)
    centre = torch.randn(4, 2)
    sampled = estimator.frame(x, context=c, centre=centre)
    estimator.losses(x, c, centre=centre)
    assert torch.equal(estimator.score(x, c, centre=centre), estimator.score(x, c, frame=sampled))
    assert torch.equal(estimator.log_density(x, c, centre=centre), estimator.log_density(x, c, frame=sampled))
    with pytest.raises(ValueError, match=r"adaptive_delta needs the samples' spread.*: leave frame out"):
        estimator.losses(x, c, frame=estimator.frame(context=c, centre=centre))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_a_blurred_score_is_that_of_the_convolution_with_noise_of_just_this_size(sigma: float) -> None:
    """As it starts, in whitened coordinates of a Gaussian: -y / (1 + sigma^2) there, W^T of it in x."""
    estimator, x, c = with_contexts(gaussian_residual=True)
    estimator.losses(x, c)
    frame = estimator.frame(context=c)
    expected = frame.score(-frame.standardise(x) / (1 + sigma**2))
    torch.testing.assert_close(estimator.blurred_score(x, c, sigma=sigma), expected)
    torch.testing.assert_close(estimator.blurred_score(x, c, sigma=0.0), estimator.score(x, c))

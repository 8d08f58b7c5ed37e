"""What goes in: types, devices, values; the same words from every estimator. Options under their names. What comes out again: the cost."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor

from ardae_rl.nn.settings import hints_of
from ardae_rl.score import (
    ARDAE,
    AdversarialScore,
    BlurredDAE,
    ImplicitScoreMatching,
    KernelDensityScore,
    ReconstructionDAE,
    ResidualDAE,
    ScoreEstimator,
    SpectralSteinScore,
    SteinScore,
)
from ardae_rl.score.settings import ARDAEOptions, ARDAESettings, NetworkOptions, NetworkSettings
from tests.score.cost import growth, operations, peak_bytes

SMALL: dict[str, Any] = {"width": 8, "layers": 1}
TRAINED: dict[str, Callable[..., ScoreEstimator]] = {
    "ardae": lambda *sizes, **options: ARDAE(*sizes, **SMALL | options),
    "blurred": lambda *sizes, **options: BlurredDAE(*sizes, sigma=0.1, **SMALL | options),
    "residual_dae": lambda *sizes, **options: ResidualDAE(*sizes, sigma=0.1, **SMALL | options),
    "reconstruction_dae": lambda *sizes, **options: ReconstructionDAE(*sizes, sigma=0.1, **SMALL | options),
    "score_matching": lambda *sizes, **options: ImplicitScoreMatching(*sizes, **SMALL | options),
    "sliced": lambda *sizes, **options: ImplicitScoreMatching(*sizes, trace="sliced", **SMALL | options),
    "adversarial": lambda *sizes, **options: AdversarialScore(*sizes, **SMALL | options),
}
KERNELS = {"kernel_density": KernelDensityScore, "stein": SteinScore, "spectral_stein": SpectralSteinScore}
ALL = pytest.mark.parametrize("name", TRAINED)


def first_look(name: str) -> Callable[[Tensor], object]:
    """What an estimator does at first with samples (N, 2)."""
    if name in TRAINED:
        return TRAINED[name](2).loss
    return lambda x: KERNELS[name]().score(torch.zeros(1, 2, dtype=x.dtype), x)


EVERYONE = (*TRAINED, *KERNELS)


def spoiled(number: float) -> Tensor:
    x = torch.randn(20, 2)
    x[7, 1] = number
    return x


@pytest.mark.parametrize("name", EVERYONE)
@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (torch.randn(20, 2).half(), TypeError, r"samples must be float32 or float64, got torch\.float16: convert with \.float\(\)"),
        (torch.ones(20, 2, dtype=torch.int64), TypeError, r"samples must be float32 or float64, got torch\.int64"),
        (torch.randn(0, 2), ValueError, r"samples must hold at least one number, got shape"),
        (
            spoiled(torch.nan),
            ValueError,
            r"samples must be finite, got 1 NaN or infinite of 40 numbers, in context 0\. Look at the sampler",
        ),
        (spoiled(-torch.inf), ValueError, r"samples must be finite, got 1 NaN or infinite of 40"),
        (spoiled(1e30), ValueError, r"samples must be smaller than 1e\+18 in size, got 1e\+30 in context 0\. .* or use other units"),
        (torch.full((20, 2), 3.0), ValueError, r"all samples are equal in context 0: a distribution without variance has no score\. Check"),
    ],
    ids=["half", "integers", "empty", "NaN", "infinite", "too large", "collapsed"],
)
def test_samples_that_no_score_can_come_of_are_refused_in_the_same_words(
    name: str, samples: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        first_look(name)(samples)


@pytest.mark.parametrize("name", EVERYONE)
@pytest.mark.parametrize("size", [1e17, 1e-17])
def test_what_is_large_or_small_but_finite_passes(name: str, size: float) -> None:
    found = first_look(name)((size * torch.randn(20, 2)).double())
    assert isinstance(found, Tensor) and found.isfinite().all()


@ALL
def test_contexts_are_named_where_the_samples_are_wrong(name: str) -> None:
    estimator, x, c = TRAINED[name](2, 3), torch.randn(20, 5, 2), torch.randn(20, 3)
    collapsed = x.clone()
    collapsed[1:11] = collapsed[1:11, :1]
    with pytest.raises(ValueError, match=r"all samples are equal in context 1, 2, 3, 4, 5, 6, 7, 8 and 2 more:"):
        estimator.loss(collapsed, c)
    c[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"context must be finite, got NaN or infinity in context 4\."):
        estimator.loss(x, c)


@ALL
def test_a_refused_batch_leaves_everything_as_it_was(name: str) -> None:
    estimator = TRAINED[name](2)
    estimator.loss(torch.randn(20, 2)).backward()
    before = {key: value.clone() for key, value in estimator.state_dict().items()}
    for bad in (spoiled(torch.nan), spoiled(1e30), torch.ones(20, 2)):
        with pytest.raises(ValueError, match="samples"):
            estimator.loss(bad)
    assert all(torch.equal(value, before[key]) for key, value in estimator.state_dict().items())


@ALL
@pytest.mark.parametrize("network", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_samples_of_either_precision_meet_networks_of_either(name: str, network: torch.dtype, given: torch.dtype) -> None:
    """Scores come in the samples' own, and are those of the network in its own."""
    estimator, x, c = TRAINED[name](2, 3).to(network), torch.randn(4, 6, 2).to(given), torch.randn(4, 3).to(given)
    estimator.loss(x, c).backward()
    score = estimator.score(x, c)
    assert score.dtype == given
    torch.testing.assert_close(score, estimator.score(x.to(network), c.to(network)).to(given), rtol=1e-4, atol=1e-4)
    if estimator.form == "gradient":
        assert estimator.log_density(x, c).dtype == given


@ALL
def test_samples_on_another_device_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="samples must be on the device of the estimator, cpu, got meta: move one of them with"):
        TRAINED[name](2).losses(torch.randn(20, 2, device="meta"))
    estimator = TRAINED[name](2, 3)
    with pytest.raises(ValueError, match="context must be on the device of the estimator, cpu, got meta"):
        estimator.losses(torch.randn(4, 6, 2), torch.randn(4, 3, device="meta"))


@ALL
def test_noise_comes_from_the_generator_that_is_given(name: str) -> None:
    estimator, x = TRAINED[name](2), torch.randn(20, 2)
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter)

    def loss(seed: int) -> float:
        torch.randn(())  # torch's own generator moves on
        return float(estimator.eval().loss(x, generator=torch.Generator().manual_seed(seed)).detach())

    assert loss(1) == loss(1)
    assert (loss(1) != loss(2)) == (name != "score_matching")  # which draws none
    if estimator.form == "gradient":
        draws = [estimator.log_partition(samples=5, generator=torch.Generator().manual_seed(3)).log_z for _ in range(2)]
        assert torch.equal(*draws)


# options


@ALL
def test_options_have_their_names_and_no_others(name: str) -> None:
    shown = inspect.signature(type(TRAINED[name](2))).parameters
    assert {"dim", "context_dim", "width", "whitener_width", "student_dof"} <= shown.keys()
    assert not any(each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in shown.values())
    assert shown["width"].default == 256
    with pytest.raises(TypeError, match="widht"):
        TRAINED[name](2, widht=3)


@pytest.mark.parametrize(("options", "settings"), [(NetworkOptions, NetworkSettings), (ARDAEOptions, ARDAESettings)])
def test_options_that_type_checkers_know_are_the_declared_settings(options: type, settings: type) -> None:
    assert get_type_hints(options) == hints_of(settings)


def test_the_whitening_network_follows_the_score_network() -> None:
    """Twice its width: the documented example has 43 thousand parameters where a width of 512 had 541 thousand."""

    def parameters(**options: Any) -> int:
        estimator = ARDAE(2, 2, width=64, **options)
        assert estimator.whitener is not None
        return sum(each.numel() for each in estimator.whitener.parameters())

    hidden = 2 * 128 + 128 + 2 * (128 * 128 + 128)
    assert parameters() == hidden + 5 * 128 + 5
    assert parameters(whitener_width=10) == 2 * 10 + 10 + 2 * 110 + 5 * 11


# cost


@ALL
@pytest.mark.parametrize("context_dim", [0, 3])
def test_a_step_takes_time_and_memory_in_proportion_to_the_samples(name: str, context_dim: int) -> None:
    estimator = TRAINED[name](2, context_dim)

    def step(count: int) -> Callable[[], object]:
        x = torch.randn(3, count, 2) if context_dim else torch.randn(count, 2)
        context = [torch.randn(3, 3)] if context_dim else []
        return lambda: estimator.loss(x, *context).backward()

    step(10)()  # gradients are there
    for measure in (operations, peak_bytes):
        assert 1.7 < growth(measure, step, 2000) < 2.1

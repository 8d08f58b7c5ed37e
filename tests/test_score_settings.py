"""Every field of every class of settings for AR-DAE does what it says, wherever the settings become an estimator and train it.

A field without a law here fails the first test.
"""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.sac import ScoreConfig
from ardae_rl.score import ScoreEstimator, ardae
from ardae_rl.score.settings import ARDAESettings
from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.energy.config import ScoreSettings as EnergyScore
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.maxent.config import MaxEntSettings, SamplerSettings
from ardae_rl.tasks.maxent.config import ScoreSettings as MaxEntScore
from ardae_rl.tasks.maxent.task import MaxEntTask
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.config import ScoreSettings as ErrorScore
from ardae_rl.tasks.score_error.task import ScoreErrorTask
from ardae_rl.tasks.vae.config import NetworkSettings as VAENetworks
from ardae_rl.tasks.vae.config import ScoreSettings as VAEScore
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.methods import ScoreMethod
from ardae_rl.tasks.vae.task import VAETask
from tests.estimator_laws import LAWS, problem
from tests.sac.problem import PLAIN, make_batch, make_config, make_sac
from tests.settings_net import changed, fingerprint, leaves
from tests.spies import calls_of

Step = Callable[[], object]


@dataclass(frozen=True)
class Trained:
    """An estimator and one step of what trains it."""

    estimator: ScoreEstimator
    step: Step
    parameters: list[Tensor]


OPTIONS = leaves(ARDAESettings())
OF_CONTEXTS = {"context_layers", "whitener_width"}


@dataclass(frozen=True)
class Place:
    """``settings``: the class; ``training``: how fields that are no options of ARDAE show; ``without``: options that this place has not."""

    settings: Any
    training: dict[str, Callable[["Place"], None]]
    make: Callable[[dict[str, Any]], Trained]
    without: frozenset[str] = frozenset()

    def build(self, **options: Any) -> ScoreEstimator:
        return self.make(options).estimator


# how an estimator is trained


def calls_in_one_step(trained: Trained) -> list[tuple[Tensor, Tensor | None]]:
    """Samples and context of every loss that one step takes."""
    with pytest.MonkeyPatch.context() as patch:
        calls = calls_of(patch, ScoreEstimator, "losses")
        trained.step()
    return [(*call.arguments[1:], None)[:2] for call in calls]


def counts_fits(place: Place, field: str) -> None:
    for count in (1, 3):
        assert len(calls_in_one_step(place.make({field: count}))) == count


def fits_see_fresh_samples(place: Place, field: str) -> None:
    counts_fits(place, field)
    samples = [float(samples.flatten()[0]) for samples, _ in calls_in_one_step(place.make({field: 3}))]
    assert len(set(samples)) == 3


def counts_samples(place: Place, field: str) -> None:
    for count in (6, 10):
        assert {samples.shape[-2] for samples, _ in calls_in_one_step(place.make({field: count}))} == {count}


def scales_the_step(place: Place, field: str) -> None:
    """The first step of Adam is the learning rate, whatever the gradient."""
    one, two = (first_move(place.make({field: lr})) for lr in (1e-3, 2e-3))
    torch.testing.assert_close(two, 2 * one, rtol=1e-2, atol=1e-6)
    assert one.abs().max() > 5e-4


def first_move(trained: Trained) -> Tensor:
    before = torch.cat([parameter.detach().flatten().clone() for parameter in trained.parameters])
    trained.step()
    return torch.cat([parameter.detach().flatten() for parameter in trained.parameters]) - before


def after_two_steps(place: Place, **changes: Any) -> str:
    trained = place.make(changes)
    torch.manual_seed(7)
    for _ in range(2):
        trained.step()
    return fingerprint(trained.parameters)


# SAC


def sac(changes: dict[str, Any]) -> Trained:
    config = make_config(score=dataclasses.replace(PLAIN, width=8, layers=1, context_layers=0, samples_per_context=4))
    learner = make_sac(changed(config, {f"score.{name}": value for name, value in changes.items()}))
    step = partial(learner.update, make_batch(8))
    estimator = learner.entropy.estimator
    assert isinstance(estimator, ScoreEstimator)
    return Trained(estimator, step, list(estimator.parameters()))


def effective_sample_size(**changes: Any) -> tuple[float, float]:
    """Of log Z at an estimator's start, and its relative error."""
    changes = {"student_dof": None} | changes
    learner = make_sac(changed(make_config(), {f"score.{name}": value for name, value in changes.items()}))
    watched = learner._target(make_batch())[2]
    return float(watched["importance_ess"]), float(watched["log_z_error"])


def proposal_is_as_wide_as_set(place: Place) -> None:
    """The start is a standard normal: from itself every weight is the same, from a wider law they differ as E w^2 / (E w)^2 says."""
    assert effective_sample_size(proposal_std=1.0, importance_samples=500) == pytest.approx((500, 0), rel=1e-4, abs=1e-2)
    wide = 2.0
    share = (2 * wide**2 - 1) / wide**4  # of S, for two dimensions, as S grows
    found, _ = effective_sample_size(proposal_std=wide, importance_samples=4000)
    assert found / 4000 == pytest.approx(share, rel=0.1)
    unsaid, _ = effective_sample_size(proposal_std=None, importance_samples=4000)
    assert unsaid / 4000 == pytest.approx((2 * 1.2**2 - 1) / 1.2**4, rel=0.05)
    of_t, _ = effective_sample_size(student_dof=3.0, proposal_std=None, importance_samples=100)
    assert of_t == pytest.approx(100, rel=1e-4), "Student's t is the start there, and its own proposal"


def importance_samples_are_as_many_as_set(place: Place) -> None:
    for count in (7, 20):
        assert effective_sample_size(proposal_std=1.0, importance_samples=count)[0] == pytest.approx(count, rel=1e-4)


def shares_the_states(place: Place) -> None:
    """Four fits of two states each of eight, or of all."""
    for share, states in ((True, 2), (False, 8)):
        learner = place.make({"share_contexts": share, "fits_per_step": 4})
        with pytest.MonkeyPatch.context() as patch:
            of_shares, whole = calls_of(patch, ardae, "denoising_gradients"), calls_of(patch, ScoreEstimator, "losses")
            learner.step()
        rows = [len(call.arguments[1]) for call in of_shares] + [len(call.arguments[1]) for call in whole]
        assert rows == [states] * 4


def shows_where_fixed_noises_go(place: Place) -> None:
    """Beside the state, in every loss and every score: in two dimensions two numbers for each."""
    for count in (0, 3):
        learner = make_sac(make_config(score=dataclasses.replace(PLAIN, anchors=count)))
        shown: list[int] = []
        layer: Any = learner.entropy.get_submodule("estimator.network.network.body.context_encoder.0")
        layer.register_forward_hook(lambda module, inputs, output, shown=shown: shown.append(inputs[0].shape[-1]))
        learner.update(make_batch())
        assert len(shown) == 3 and set(shown) == {3 + 2 * count}, "the fit, the target and the policy's step"


def remembers_gradients(place: Place) -> None:
    """Without a memory the second step of Adam has nothing of the first gradient; after the first step both memories agree."""
    one, two = (first_move(place.make({"beta1": beta})) for beta in (0.0, 0.9))
    torch.testing.assert_close(one, two)
    assert after_two_steps(place, beta1=0.0) != after_two_steps(place, beta1=0.9)


SAC = Place(
    settings=ScoreConfig(),
    training={
        "samples_per_context": partial(counts_samples, field="samples_per_context"),
        "fits_per_step": partial(fits_see_fresh_samples, field="fits_per_step"),
        "lr": partial(scales_the_step, field="lr"),
        "share_contexts": shares_the_states,
        "beta1": remembers_gradients,
        "anchors": shows_where_fixed_noises_go,
        "importance_samples": importance_samples_are_as_many_as_set,
        "proposal_std": proposal_is_as_wide_as_set,
    },
    make=sac,
    without=frozenset({"form"}),  # a residual one has no log-density
)


# tasks


def energy(changes: dict[str, Any]) -> Trained:
    score = EnergyScore(width=8, layers=1, sigmas_per_sample=1, fits_per_step=1, samples_per_context=8)
    task = EnergyTask(EnergySettings(width=8, layers=1, batch_size=8, steps=20, score=dataclasses.replace(score, **changes)), seed=0)
    estimator = task.entropy.estimator
    assert isinstance(estimator, ScoreEstimator)
    return Trained(estimator, task.step, list(estimator.parameters()))


ENERGY = Place(
    settings=EnergyScore(),
    training={
        "samples_per_context": partial(counts_samples, field="samples_per_context"),
        "fits_per_step": partial(fits_see_fresh_samples, field="fits_per_step"),
        "lr": partial(scales_the_step, field="lr"),
    },
    make=energy,
    without=frozenset(OF_CONTEXTS),
)


def maxent(changes: dict[str, Any]) -> Trained:
    score = dataclasses.replace(MaxEntScore(width=8, layers=1, sigmas_per_sample=1, samples_per_context=8, fits_per_step=1), **changes)
    task = MaxEntTask(MaxEntSettings(dim=2, repeats=2, sampler=SamplerSettings(width=8), batch_size=8, score=score), seed=0)
    estimator = copy.deepcopy(task.models.stacked.entropy.estimator)
    assert isinstance(estimator, ScoreEstimator)
    for parameter in estimator.parameters():
        parameter.data = parameter.data[0]
    return Trained(estimator, task.step, list(task.models.stacked.entropy.parameters()))


MAXENT = Place(
    settings=MaxEntScore(),
    training={
        "samples_per_context": partial(counts_samples, field="samples_per_context"),
        "fits_per_step": partial(counts_fits, field="fits_per_step"),
        "lr": partial(scales_the_step, field="lr"),
    },
    make=maxent,
    without=frozenset(OF_CONTEXTS),
)


def score_error(changes: dict[str, Any]) -> Trained:
    settings = ScoreErrorSettings(law="ring", score=ErrorScore(width=8, layers=1), samples_per_context=8)
    task = ScoreErrorTask(changed(settings, {f"score.{name}": value for name, value in changes.items()}), seed=0)
    (member,) = task.members
    return Trained(member.estimator, task.step, list(member.estimator.parameters()))


def sigma_goes_where_it_is_said_to(place: Place) -> None:
    """Into a layer, or through a hypernetwork: of |sigma| it gives the same for sigma and -sigma."""
    fields = []
    for chosen in ("input", "hypernetwork", "hypernetwork_abs"):
        network = place.make({"sigma_input": chosen, "form": "residual", "squared_sigma": False}).estimator.network
        x, sigma = torch.randn(1, 6, 2), torch.full((1, 6, 1), 0.3)
        fields.append([network(x, None, sign * sigma) for sign in (1, -1)])
    assert [torch.equal(*both) for both in fields] == [False, False, True]
    sizes = [len(list(place.make({"sigma_input": chosen, "form": "residual"}).parameters)) for chosen in ("input", "hypernetwork")]
    assert sizes[0] != sizes[1]


SCORE_ERROR = Place(
    settings=ErrorScore(),
    training={"sigma_input": sigma_goes_where_it_is_said_to},
    make=score_error,
    without=frozenset(OF_CONTEXTS),
)


def vae(changes: dict[str, Any]) -> Trained:
    score = VAEScore(width=8, layers=1, context_layers=0, whitener_width=8, samples_per_context=4, context="centre")
    settings = VAESettings(latent_dim=2, noise_dim=3, batch_size=4, network=VAENetworks(width=8), score=score)
    task = VAETask(dataclasses.replace(settings, score=dataclasses.replace(score, **changes)), seed=0)
    assert isinstance(task.method, ScoreMethod)
    estimator = task.method.estimator
    return Trained(estimator, task.step, list(estimator.parameters()))


def context_is_what_it_is_said_to_be(place: Place) -> None:
    """b(x), the hidden layer at zero noise, or x: of each image its own."""
    for chosen, size in {"centre": 2, "hidden": 8, "data": 64}.items():
        ((samples, context),) = calls_in_one_step(place.make({"context": chosen}))
        assert context is not None and context.shape == (4, size) and len(samples) == 4
        assert ((context == 0) | (context == 1)).all() == (chosen == "data")


def one_noise_level(place: Place) -> None:
    """Then there is no sigma for the network to see, and what it sees is as noisy as was said."""
    small, large = (place.make({"fixed_sigma": sigma}).estimator for sigma in (0.1, 3.0))
    assert [getattr(each, "sigma", None) for each in (small, large)] == [0.1, 3.0]
    assert after_two_steps(place, fixed_sigma=0.1) != after_two_steps(place, fixed_sigma=3.0) != after_two_steps(place, fixed_sigma=None)


def momentum_carries_on(place: Place) -> None:
    """Of RMSprop, from the second step on; of Adam, none."""
    rmsprop = {after_two_steps(place, optimiser="rmsprop", momentum=momentum) for momentum in (0.0, 0.5, 0.9)}
    adam = {after_two_steps(place, optimiser="adam", momentum=momentum) for momentum in (0.0, 0.5, 0.9)}
    assert (len(rmsprop), len(adam)) == (3, 1) and not rmsprop & adam


VAE = Place(
    settings=VAEScore(),
    training={
        "context": context_is_what_it_is_said_to_be,
        "samples_per_context": partial(counts_samples, field="samples_per_context"),
        "fits_per_step": partial(fits_see_fresh_samples, field="fits_per_step"),
        "lr": partial(scales_the_step, field="lr"),
        "fixed_sigma": one_noise_level,
        "optimiser": momentum_carries_on,
        "momentum": momentum_carries_on,
    },
    make=vae,
)

PLACES = {"sac": SAC, "energy": ENERGY, "maxent": MAXENT, "score_error": SCORE_ERROR, "vae": VAE}


@pytest.mark.parametrize("name", PLACES)
def test_no_setting_is_without_a_law(name: str) -> None:
    assert OPTIONS | set(PLACES[name].training) == leaves(PLACES[name].settings)
    assert set(LAWS) == OPTIONS


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, place in PLACES.items() for option in sorted(OPTIONS - place.without)]
)
def test_an_option_of_the_estimator_is_the_one_that_was_set(name: str, option: str) -> None:
    LAWS[option](PLACES[name].build)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, place in PLACES.items() for field in place.training])
def test_the_estimator_is_trained_as_was_set(name: str, field: str) -> None:
    PLACES[name].training[field](PLACES[name])


@pytest.mark.parametrize("name", ["energy", "maxent"])
def test_the_form_is_the_residual_one_unless_it_is_set(name: str) -> None:
    """Which has no log-density."""
    estimator = PLACES[name].build()
    x, context = problem(estimator)
    with pytest.raises(ValueError, match="no potential"):
        estimator.log_density(x, context, frame=estimator.frame(x, context=context))

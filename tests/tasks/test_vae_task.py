"""The task trains every posterior, selects by validation, measures without disturbing, and refuses what makes no sense."""

import copy
import dataclasses
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from ardae_rl.nn.optimiser import NonFiniteError
from ardae_rl.run.event_file import png
from ardae_rl.score import ARDAE, AdversarialScore, BlurredDAE
from ardae_rl.tasks.vae import evaluate
from ardae_rl.tasks.vae.config import EvaluationSettings, NetworkSettings, PosteriorName, ScoreSettings, VAESettings
from ardae_rl.tasks.vae.data import Images
from ardae_rl.tasks.vae.methods import ScoreMethod
from ardae_rl.tasks.vae.task import VAETask, _some

POSTERIORS = get_args(PosteriorName)
SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "noise_dim": 3,
    "batch_size": 16,
    "network": NetworkSettings(width=16),
    "score": ScoreSettings(width=16, layers=1, context_layers=1, samples_per_context=8),
    "evaluation": EvaluationSettings(samples=20, images=30, test_samples=20, test_images=40),
    "steps": 6,
}


def settings(**changes: Any) -> VAESettings:
    return VAESettings(**(SMALL | changes))


def score(**changes: Any) -> ScoreSettings:
    return dataclasses.replace(SMALL["score"], **changes)


def trained(chosen: VAESettings, steps: int, seed: int = 0) -> VAETask:
    task = VAETask(chosen, seed=seed)
    for _ in range(steps):
        task.step()
    return task


@pytest.mark.parametrize("data", ["toy", "digits"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_trains_on_every_kind_of_data(posterior: str, data: str) -> None:
    task = trained(settings(posterior=posterior, data=data), 2)
    metrics, progress = task.evaluate(), task.step()
    assert all(math.isfinite(value) for value in progress.values()) and progress["skipped_steps"] == 0
    finite = {name for name, value in metrics.items() if math.isfinite(value)}
    measured = {
        f"validation_{name}" for name in ("nll", "nll_sem", "ess_fraction", "active_units", "mmd_squared", "posterior_log_variance")
    }
    assert measured | {"best_validation_nll"} <= finite
    assert {name.replace("validation_", "test_") for name in metrics if name.startswith("validation_")} <= metrics.keys() - finite
    assert ("validation_negative_elbo" in metrics) == (posterior in ("gaussian", "hvi_auxiliary"))
    assert ("validation_joint_nll" in metrics) == (posterior == "hvi_auxiliary")
    assert ("validation_modes_covered" in metrics) == ("validation_fine_mmd_squared" in metrics) == (data == "toy")
    assert ("score_loss" in progress) == ("stein_ratio" in progress) == (posterior not in ("gaussian", "hvi_auxiliary"))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_network_moves(posterior: str) -> None:
    task = VAETask(settings(posterior=posterior), seed=0)
    unused = ("from_sigma",) if posterior == "ivi_avb" else ("network.network.out.bias",)  # AR-DAE: a constant in a potential
    before = {name: value.clone() for name, value in task.method.networks.named_parameters()}
    for _ in range(3):  # a potential that starts at zero hides the layers below it for a step
        task.step()
    still = [name for name, value in task.method.networks.named_parameters() if torch.equal(value, before[name])]
    assert not [name for name in still if not name.endswith(unused)]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, ARDAE),
        ({"score": score(fixed_sigma=0.5)}, BlurredDAE),
        ({"score": score(fixed_sigma=0.5, antithetic=False)}, BlurredDAE),
        ({"posterior": "ivi_avb"}, AdversarialScore),
        ({"posterior": "hvi_ardae", "score": score(form="residual", optimiser="rmsprop", context="hidden")}, ARDAE),
    ],
)
def test_the_estimator_is_the_one_asked_for(changes: dict[str, Any], kind: type) -> None:
    task = trained(settings(**changes), 1)
    assert isinstance(task.method, ScoreMethod) and type(task.method.estimator) is kind
    chosen = task.settings.score
    optimiser = task.optimisers["score"].optimiser
    if kind is not AdversarialScore and chosen.form == "gradient":
        assert task.method.estimator.network.student_dof == chosen.student_dof == 8
    if kind is BlurredDAE:
        assert (task.method.estimator.sigma, task.method.estimator.antithetic) == (0.5, chosen.antithetic)
    if chosen.optimiser == "rmsprop":
        group = optimiser.param_groups[0]
        assert isinstance(optimiser, torch.optim.RMSprop) and (group["alpha"], group["momentum"], group["lr"]) == (0.99, 0.5, chosen.lr)


def test_avb_and_ardae_train_estimators_of_one_size() -> None:
    """Whiteners included, of the width asked for, and weights of sigma, which AVB has no use for."""
    counts = {}
    for posterior in ("ivi_ardae", "ivi_avb"):
        method = VAETask(settings(posterior=posterior, score=score(whitener_width=24)), seed=0).method
        assert isinstance(method, ScoreMethod) and method.estimator.whitener is not None
        assert method.estimator.whitener.out.in_features == 24
        counts[posterior] = {name: value.shape for name, value in method.estimator.named_parameters()}
    assert counts["ivi_ardae"] == counts["ivi_avb"]


def test_the_estimator_makes_as_many_steps_as_asked_for() -> None:
    task = trained(settings(score=score(fits_per_step=3)), 2)
    assert (task.optimisers["score"].steps, task.optimisers["model"].steps) == (6, 2)


@pytest.mark.parametrize("posterior", ["gaussian", "hvi_auxiliary"])
def test_evaluating_decodes_no_more_at_once_than_fits_in_memory(posterior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound, of 64 draws per image, too. It is that of all images: leaving some out would move it by a nat."""
    task, seen = trained(settings(posterior=posterior, steps=1), 1), list[int]()
    whole = task.evaluate()
    decode = task.method.vae.decoder.log_likelihood

    def watched(x: Tensor, z: Tensor) -> Tensor:
        seen.append(z.shape[0] * z.shape[1])
        return decode(x, z)

    monkeypatch.setattr(task.method.vae.decoder, "log_likelihood", watched)
    monkeypatch.setattr(evaluate, "ROWS", 128)
    parts = task.evaluate()
    assert max(seen) <= 128 and sum(seen) >= 30 * (20 + 64)
    assert parts["validation_negative_elbo"] == pytest.approx(whole["validation_negative_elbo"], abs=0.05)


def test_evaluating_disturbs_no_training() -> None:
    watched = VAETask(settings(average_decay=0.9, steps=10), seed=0)
    for _ in range(4):
        watched.evaluate()
        watched.figures()
        watched.step()
    undisturbed = trained(settings(average_decay=0.9, steps=10), 4)
    for name, value in undisturbed.method.networks.state_dict().items():
        assert torch.equal(value, watched.method.networks.state_dict()[name]), name
    assert undisturbed.evaluate()["validation_nll"] == watched.evaluate()["validation_nll"]


def test_beta_rises_linearly_to_one() -> None:
    task = VAETask(settings(beta_start=0.2, anneal_steps=4), seed=0)
    assert [task.step()["beta"] for _ in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert VAETask(settings(beta_start=0.2, anneal_steps=0), seed=0).step()["beta"] == 1.0


def test_averages_weigh_the_past_exponentially_and_forget_the_start() -> None:
    """a_n = sum_k (1 - d) d^(n - k) theta_k / (1 - d^n), over the steps after the first two."""
    task, decay, history = VAETask(settings(average_decay=0.8, average_from_step=2), seed=0), 0.8, []
    for _ in range(6):
        task.step()
        history.append([value.detach().clone() for value in task.model.parameters()])
    kept = history[2:]
    weights = torch.tensor([(1 - decay) * decay ** (len(kept) - 1 - k) / (1 - decay ** len(kept)) for k in range(len(kept))])
    assert weights.sum() == pytest.approx(1.0)
    assert task.average is not None
    for i, averaged in enumerate(task.average.parameters()):
        expected = sum(weight * values[i] for weight, values in zip(weights, kept, strict=True))
        torch.testing.assert_close(averaged.detach(), expected)


def test_averages_are_measured_once_there_are_any() -> None:
    plain, averaged = settings(), settings(average_decay=0.5, average_from_step=3)
    assert trained(plain, 3).evaluate()["validation_nll"] == trained(averaged, 3).evaluate()["validation_nll"]
    assert trained(plain, 5).evaluate()["validation_nll"] != trained(averaged, 5).evaluate()["validation_nll"]


def test_the_test_is_of_the_weights_best_on_validation() -> None:
    """Weights are spoilt after the first evaluation: the best stay those of before, and their figures are unchanged at the end."""
    spoilt, kept = (trained(settings(posterior="gaussian"), 4) for _ in range(2))
    best = spoilt.evaluate()
    assert best["best_step"] == 4 and best["best_validation_nll"] == best["validation_nll"] and math.isnan(best["test_nll"])
    with torch.no_grad():
        for value in spoilt.model.parameters():
            value.mul_(3)
    spoilt.step(), spoilt.step()
    end = spoilt.evaluate()
    assert end["validation_nll"] > best["validation_nll"]
    assert (end["best_step"], end["best_validation_nll"]) == (4, best["validation_nll"])
    kept.steps_done = kept.settings.steps  # the end has come for the unspoilt twin at once
    assert {name for name in end if name.startswith("test_")} == {f"test_{name[11:]}" for name in end if name.startswith("validation_")}
    unspoilt = kept.evaluate()
    assert all(
        end[name] == unspoilt[name] != end[f"validation_{name[5:]}"] for name in end if name.startswith("test_") and "units" not in name
    )
    assert end["test_nll"] < end["test_negative_elbo"] + 0.5
    assert 0 < end["test_nll_sem"] < 5 and 0 < end["test_ess_fraction"] <= 1


def test_with_validation_data_trained_on_the_last_weights_are_tested() -> None:
    task = trained(settings(posterior="gaussian", train_on_validation=True), 6)
    end = task.evaluate()
    assert end["best_step"] == 0 and math.isinf(end["best_validation_nll"]) and math.isfinite(end["test_nll"])
    state = task.state_dict()
    assert state["best"]["weights"] == {}


@pytest.mark.parametrize("asked", [False, True])
def test_validation_images_are_trained_on_only_if_asked_for(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All training images are black, all validation images white: a pixel that is not black tells."""
    task = VAETask(settings(posterior="gaussian", train_on_validation=asked), seed=0)
    assert isinstance(task.data, Images)
    task.data.training[: task.data.trained_on], task.data.training[task.data.trained_on :] = 0, 1
    loss, seen = task.method.loss, list[Tensor]()

    def watched(x: Tensor, beta: float) -> tuple[Tensor, dict[str, float]]:
        seen.append(x)
        return loss(x, beta)

    monkeypatch.setattr(task.method, "loss", watched)
    for _ in range(6):
        task.step()
    assert bool(torch.cat(seen).any()) == asked


def begin(posterior: PosteriorName, data: str, seed: int) -> tuple[Tensor, list[Tensor]]:
    """The first three mini-batches of a run, and the weights that decoder and trunk start with."""
    task, seen = VAETask(settings(posterior=posterior, data=data), seed=seed), list[Tensor]()
    weights = [value.detach().clone() for part in (task.method.vae.decoder, task.method.vae.posterior.trunk) for value in part.parameters()]
    batch = task.data.batch

    def watched(*arguments: Any, **options: Any) -> Tensor:
        seen.append(batch(*arguments, **options))
        return seen[-1]

    task.data.batch = watched  # type: ignore[method-assign]
    for _ in range(3):
        task.step()
    return torch.stack(seen), weights


@pytest.mark.parametrize("data", ["toy", "digits"])
def test_one_seed_gives_every_posterior_the_same_batches_and_decoder(data: str) -> None:
    """Differences of one seed are then differences of posteriors. Another seed gives other batches and another decoder."""
    batches, weights = begin(POSTERIORS[0], data, 0)
    assert not torch.equal(batches[0], batches[1])
    for posterior in POSTERIORS[1:]:
        same_batches, same_weights = begin(posterior, data, 0)
        assert torch.equal(same_batches, batches), posterior
        assert all(torch.equal(a, b) for a, b in zip(same_weights, weights, strict=True)), posterior
    other_batches, other_weights = begin(POSTERIORS[0], data, 1)
    assert not torch.equal(other_batches, batches)
    assert not any(torch.equal(a, b) for a, b in zip(other_weights, weights, strict=True))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_restored_task_goes_on_bit_for_bit(posterior: str) -> None:
    """In the middle of annealing and of averaging, after an evaluation that chose weights."""
    chosen = settings(posterior=posterior, beta_start=0.1, anneal_steps=5, average_decay=0.8, average_from_step=1)
    through = trained(chosen, 3)
    through.evaluate()
    resumed = VAETask(chosen, seed=0)
    resumed.load_state_dict(copy.deepcopy(through.state_dict()))
    assert [resumed.step() for _ in range(3)] == [through.step() for _ in range(3)]
    assert resumed.evaluate() == pytest.approx(through.evaluate(), abs=0, rel=0)


def test_a_loss_that_is_not_finite_moves_nothing_and_is_counted() -> None:
    task = trained(settings(posterior="gaussian"), 1)
    with torch.no_grad():
        next(task.model.parameters())[0, 0] = math.nan
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    assert task.step()["skipped_steps"] == 1
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True, rtol=0, atol=0)
    with pytest.raises(NonFiniteError, match="the model loss or its gradient was not finite 100 times in a row, last finite at its step 1"):
        for _ in range(99):
            task.step()


def test_a_collapsed_posterior_has_a_finite_log_variance() -> None:
    """Draws that are all the same have variance 0; the mean logarithm would be minus infinity."""
    task = trained(settings(), 1)
    with torch.no_grad():
        task.method.vae.posterior.mixer.joint.layer.weight[:, 16:] = 0  # type: ignore[union-attr, operator]
    assert task.evaluate()["validation_posterior_log_variance"] == pytest.approx(math.log(1e-12))


@pytest.mark.parametrize("posterior", ["gaussian", "hvi_auxiliary", "hvi_ardae"])
def test_only_an_implicit_posterior_needs_as_much_noise_as_latents(posterior: str) -> None:
    task = trained(settings(posterior=posterior, latent_dim=4, noise_dim=1), 1)
    assert math.isfinite(task.evaluate()["validation_nll"])


@pytest.mark.parametrize(("data", "names"), [("toy", ["planes"]), ("digits", ["reconstructions", "samples"])])
def test_there_are_pictures(data: str, names: list[str]) -> None:
    figures = trained(settings(data=data), 1).figures()
    assert list(figures) == names
    for figure in figures.values():
        figure.canvas.draw()


@pytest.mark.parametrize(("data", "changes"), [("toy", True), ("digits", False)])
def test_the_toys_picture_is_of_the_last_weights_and_an_images_of_the_best(data: str, changes: bool) -> None:
    task = trained(settings(data=data, steps=20), 1)
    task.evaluate()
    task.best["nll"] = -math.inf
    before = [png(figure) for figure in task.figures().values()]
    for _ in range(5):
        task.step()
    after = [png(figure) for figure in task.figures().values()]
    assert [was != now for was, now in zip(before, after, strict=True)] == [changes] * len(before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be 1 or greater, got 0"),
        (
            {"posterior": "ivi_avb", "score": ScoreSettings(student_dof=2.5)},
            "score.student_dof must be a whole number or null with posterior 'ivi_avb', got 2.5",
        ),
        ({"noise_dim": 1}, "noise_dim must be at least latent_dim, 2: z with less noise has no density, got 1"),
        ({"beta1": 1.0}, r"beta1 must be in \[0, 1\), got 1\.0"),
        ({"beta_start": 2.0}, r"beta_start must be in \[0, 1\], got 2\.0"),
        ({"average_decay": 1.0}, r"average_decay must be in \(0, 1\), got 1\.0"),
        ({"data_folder": "data"}, "data_folder must be absolute or begin with ~ .* got 'data'"),
        ({"network": NetworkSettings(architecture="conv")}, r"network.architecture must be 'mlp' for digits: .*, got 'conv'"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        settings(**changes)


def test_a_gaussian_needs_samples_of_unit_scale() -> None:
    with pytest.raises(ValueError, match=r"^gaussian_residual must be false or null with standardisation 'fixed': it needs"):
        ScoreSettings(standardisation="fixed", gaussian_residual=True)


def test_a_smoke_run_is_the_same_experiment_but_short() -> None:
    chosen = settings(steps=5000, batch_size=128, score=score(samples_per_context=625, width=512))
    short = chosen.smoke()
    assert short.steps * short.batch_size * short.score.samples_per_context < 10_000 and short.evaluation.test_images == 20
    changed = {"steps", "batch_size", "report_every_steps", "evaluate_every_steps", "evaluation", "score"}
    kept = {f.name for f in dataclasses.fields(chosen)} - changed
    assert all(getattr(short, name) == getattr(chosen, name) for name in kept)
    assert dataclasses.replace(short.score, samples_per_context=625) == chosen.score


def test_images_are_measured_all_along_a_split() -> None:
    split = torch.arange(10).unsqueeze(1)
    for images, expected in ((None, range(10)), (3, [0, 3, 6]), (5, range(0, 10, 2)), (12, range(10))):
        assert _some(split, images).squeeze(1).tolist() == list(expected)

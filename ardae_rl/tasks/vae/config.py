"""Settings of the ``vae`` task. Plain data."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ardae_rl.nn.settings import Activation, Rule, Settings, setting
from ardae_rl.score.settings import FitSettings

DataName = Literal["toy", "digits", "dbmnist", "sbmnist", "sbmnist_seeded"]
PosteriorName = Literal["gaussian", "hvi_auxiliary", "hvi_ardae", "ivi_ardae", "ivi_avb"]
ContextName = Literal["centre", "hidden", "data"]
IMPLICIT = ("ivi_ardae", "ivi_avb")
MNIST = ("dbmnist", "sbmnist", "sbmnist_seeded")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """Encoder and decoder, as alike over posteriors as Table 5 has them."""

    architecture: Literal["mlp", "conv", "resconv"] = setting(
        "mlp",
        "`conv` and `resconv`: the 28 x 28 networks of Table 5, of which only `width` (800 and 450 in the paper) and `activation` are "
        "free, of `conv` also `head_layers`, of `resconv` also `equal_depth`",
    )
    width: int = setting(300, "Units of each layer", at_least=1)
    encoder_layers: int = setting(1, "Hidden layers that see x", at_least=1)
    head_layers: int = setting(1, "More of them, where noise or another latent joins", at_least=1)
    equal_depth: bool = setting(
        False,
        "`head_layers` where nothing joins, too: of a Gaussian and of q(z0 given x). In Table 5 that is one fewer (but of `conv`), so that "
        "a Gaussian's mean is a shallower network of x than an implicit posterior's",
    )
    decoder_layers: int = setting(1, "Hidden layers of the decoder", at_least=1)
    activation: Literal["relu", "softplus", "elu"] = setting("softplus", "Of every hidden layer")
    log_variance_floor: float | None = setting(
        None, "K of the soft floor softplus(l + K) − K, at −K, under the log-variances l of posteriors; null: none"
    )
    log_variance_ceiling: float | None = setting(
        4.0, "C of the soft ceiling C − softplus(C − l) over them and those of h(z0 given z, x), where the prior has 0; null: none"
    )
    initialisation: Literal["default", "released"] = setting(
        "default",
        "`default`: torch's. `released`, as in the authors' code: N(0, 1) in the last layer of an implicit `mlp` and in the decoder's mean "
        "of the toy; Xavier-uniform weights and no biases in the decoder of the former, and in all dense layers and convolutions, but for "
        "transposed ones, of implicit `conv` posteriors and `hvi_ardae`; torch's elsewhere",
    )

    def rules(self) -> Iterator[Rule]:
        one = self.architecture != "resconv" or self.head_layers == 1
        yield one, "head_layers", "1 with architecture 'resconv', whose blocks are those of Table 5"


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(FitSettings):
    """The estimate of the posterior's score.

    With ``fixed_sigma`` and with ``ivi_avb`` coordinates are ``amortised``, and ``standardisation``, ``scale``, ``delta_scale``,
    ``compile`` and ``autocast``, all of AR-DAE, are not read, nor by ``ivi_avb`` ``form`` and ``antithetic``.
    """

    context: ContextName = setting(
        "hidden",
        "What f is told of x: `hidden`, the encoder's last hidden layer at zero noise; `centre`, b(x) = g(0, x), the authors' for implicit "
        "posteriors, which does not say how wide they are; `data`, x",
    )
    context_layers: int = setting(3, "Hidden layers on the context; 0: the raw context", at_least=0)
    width: int = setting(128, "Units of each layer", at_least=1)
    whitener_width: int | None = setting(128, "Units of the three layers of `amortised`'s network. null: twice `width`", at_least=1)
    activation: Activation = setting("softplus", "Of every hidden layer; only smooth ones")
    student_dof: float | None = setting(
        8.0, "f starts from the score of Student's t, where it does from a Gaussian's; null: that one, which drives tails ever out", above=0
    )
    fixed_sigma: float | None = setting(
        None, "Train an ordinary residual denoising autoencoder at this one σ, in units of z, in the place of AR-DAE (Figure 5)", above=0
    )
    samples_per_context: int = setting(32, "n_z, fresh latents per image in each of its losses", at_least=2)
    optimiser: Literal["adam", "rmsprop"] = setting("adam", "`rmsprop`: the paper's")
    momentum: float = setting(0.5, "Of `rmsprop`", at_least=0)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """log p(x) by importance sampling, on images evenly spaced."""

    samples: int = setting(256, "Latents per validation image, as often as the run evaluates", at_least=1)
    images: int | None = setting(None, "Validation images; null: all", at_least=1)
    test_samples: int = setting(2000, "Latents per test image at the end, with the weights that did best on validation", at_least=1)
    test_images: int | None = setting(None, "Test images; null: all", at_least=1)


@dataclass(frozen=True, kw_only=True)
class VAESettings(Settings):
    """A variational autoencoder with prior N(0, I). Defaults: the embedded digits."""

    data: DataName = setting("digits", "The data set")
    data_folder: str = setting("~/.cache/ardae-rl", "Where scripts/fetch_data.py put MNIST")
    posterior: PosteriorName = setting(
        "ivi_ardae",
        "`gaussian`; `hvi_auxiliary` and `hvi_ardae`, hierarchical, by the auxiliary bound and by AR-DAE; `ivi_ardae` and `ivi_avb`, "
        "implicit, by AR-DAE and by adversarial variational Bayes with adaptive contrast",
    )
    latent_dim: int = setting(8, "Numbers z", at_least=1)
    noise_dim: int = setting(
        32, "Numbers of noise an implicit posterior gets, and of the auxiliary latent of a hierarchical one", at_least=1
    )
    network: NetworkSettings = setting(text="Encoder and decoder", factory=NetworkSettings)
    score: ScoreSettings = setting(text="The estimate of the posterior's score", factory=ScoreSettings)
    evaluation: EvaluationSettings = setting(text="How log p(x) is measured", factory=EvaluationSettings)
    batch_size: int = setting(128, "Images of a mini-batch", at_least=1)
    lr: float = setting(1e-3, "Learning rate of the model", above=0)
    beta1: float = setting(0.5, "Of Adam", at_least=0, below=1)
    beta_start: float = setting(1e-4, "Weight of all but the reconstruction at the beginning", at_least=0, at_most=1)
    anneal_steps: int = setting(0, "Steps over which it rises linearly to 1; 0: it is 1", at_least=0)
    average_decay: float | None = setting(
        None, "Measure bias-corrected averages of the weights; null: the weights themselves", above=0, below=1
    )
    average_from_step: int = setting(0, "From which step on", at_least=0)
    train_on_validation: bool = setting(
        False,
        "Train on validation data, too. Nothing is left to choose weights by: the last are tested, so set `steps` to the `best_step` of a "
        "run that had validation data",
    )
    steps: int = setting(20_000, "Steps of the model", at_least=1)
    report_every_steps: int = setting(200, "From one row of `metrics.csv` to the next", at_least=1)
    evaluate_every_steps: int = setting(1000, "From one row of `evaluations.csv` to the next", at_least=1)

    def rules(self) -> Iterator[Rule]:
        adversarial, dof = self.posterior == "ivi_avb", self.score.student_dof
        dense = self.posterior not in IMPLICIT or self.noise_dim >= self.latent_dim
        yield dense, "noise_dim", f"at least latent_dim, {self.latent_dim}: z with less noise has no density"
        yield not adversarial or self.score.fixed_sigma is None, "score.fixed_sigma", "null with posterior 'ivi_avb', which has no σ"
        yield not adversarial or dof is None or dof == int(dof), "score.student_dof", "a whole number or null with posterior 'ivi_avb'"
        endless = not (self.train_on_validation and self.data == "toy")
        yield endless, "train_on_validation", "false for toy, whose training data are without end"
        absolute = Path(self.data_folder).expanduser().is_absolute()
        yield absolute, "data_folder", "absolute or begin with ~ (trials run in folders of their own)"
        made_for = self.network.architecture == "mlp" or self.data in MNIST
        yield made_for, "network.architecture", f"'mlp' for {self.data}: others are made for 28 x 28 images"

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, with the command that repairs it, where a file of the data set is missing or damaged."""
        if self.data in MNIST:
            _read(self.data == "sbmnist", self.data_folder)

    def smoke(self) -> "VAESettings":
        """Twenty steps with a few images and latents each, and one evaluation."""
        evaluation = dataclasses.replace(self.evaluation, images=20, test_samples=self.evaluation.samples, test_images=20)
        score = dataclasses.replace(self.score, samples_per_context=min(self.score.samples_per_context, 16))
        few = dataclasses.replace(self, batch_size=min(self.batch_size, 16), score=score, evaluation=evaluation)
        return dataclasses.replace(few, steps=20, report_every_steps=10, evaluate_every_steps=20)


@functools.cache
def _read(static: bool, folder: str) -> None:
    """Once for all points of a grid: it takes a second."""
    from ardae_rl.data.mnist import load_mnist, load_static

    load_static(folder) if static else load_mnist(folder)

"""Settings of the ``vae`` task. Plain data: no torch, no Ray."""

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ardae_rl.tasks.settings import at_least, positive

DataName = Literal["toy", "digits", "dbmnist", "sbmnist", "sbmnist_seeded"]
PosteriorName = Literal["gaussian", "hvi_auxiliary", "hvi_ardae", "ivi_ardae", "ivi_avb"]
ContextName = Literal["centre", "hidden", "data"]
IMPLICIT = ("ivi_ardae", "ivi_avb")
MNIST = ("dbmnist", "sbmnist", "sbmnist_seeded")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Encoder and decoder, as alike over posteriors as Table 5 has them.

    ``mlp``: ``encoder_layers`` hidden layers see x; ``head_layers`` more where noise or another latent joins; ``decoder_layers`` hidden
    layers; all of ``width`` and with ``activation``. ``conv`` and ``resconv``: the 28 x 28 networks of Table 5, of which only ``width``
    (800 and 450 in the paper) and ``activation`` are free, of ``conv`` also ``head_layers``, of ``resconv`` also ``equal_depth``.
    ``equal_depth``: ``head_layers`` where nothing joins, too: of a Gaussian and of q(z0 | x). In Table 5 that is one fewer (but of
    ``conv``, where it is as many), so that a Gaussian's mean is a shallower network of x than an implicit posterior's.
    ``log_variance_floor``: K of the soft floor softplus(l + K) - K, at -K, under the log-variances l of posteriors; null: none.
    ``log_variance_ceiling``: C of the soft ceiling C - softplus(C - l) over them and those of h(z0 | z, x), a standard deviation of 7
    where the prior has 1 by default; null: none.
    ``initialisation``: of the weights: ``default``, torch's, or ``released``, as in the authors' code: N(0, 1) in the last layer of an
    implicit ``mlp``, which spreads z widely at first, and in the decoder's mean of the toy; Xavier-uniform weights and no biases in the
    decoder of the former, and in all dense layers and convolutions, but for transposed ones, of implicit ``conv`` posteriors and
    ``hvi_ardae``; torch's elsewhere and for ``resconv``.
    """

    architecture: Literal["mlp", "conv", "resconv"] = "mlp"
    width: int = 300
    encoder_layers: int = 1
    head_layers: int = 1
    equal_depth: bool = False
    decoder_layers: int = 1
    activation: Literal["relu", "softplus", "elu"] = "softplus"
    log_variance_floor: float | None = None
    log_variance_ceiling: float | None = 4.0
    initialisation: Literal["default", "released"] = "default"

    def __post_init__(self) -> None:
        positive(self, "width", "encoder_layers", "head_layers", "decoder_layers")
        if self.architecture == "resconv" and self.head_layers != 1:
            raise ValueError(
                f"head_layers must be 1 with architecture 'resconv', whose blocks are those of Table 5, got {self.head_layers}"
            )


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """The estimate of the posterior's score; network and coordinates as in :class:`ardae_rl.score.ARDAE`.

    ``context``: what f is told of x: ``hidden``, the encoder's last hidden layer at zero noise (hierarchical: of both levels; of
    ``resconv`` the second), ``centre`` b(x) = g(0, x), the authors' for implicit posteriors, which does not say how wide they are, or
    ``data``: x.
    ``fits_per_step`` (N_d) steps of f, each on ``samples_per_image`` (n_z) fresh latents, before every step of the model.
    ``fixed_sigma``: a number trains an ordinary residual denoising autoencoder at that one noise level, in units of z and whatever the
    posterior's width, in the place of AR-DAE (Figure 5).
    ``whitener_width``: of the network that regresses the coordinates ``amortised`` on the context; it may have more weights than f.
    ``student_dof``: f starts from the score of Student's t instead of a Gaussian's, where it does from that; null: from the Gaussian's,
    which drives the tails of a posterior ever further out.
    ``ivi_avb``: for f the gradient of a discriminator of the same layers (adaptive contrast), whatever ``form``; it compares with noise
    of the law that f starts from, and takes a whole ``student_dof`` only.
    With either of these, coordinates are ``amortised``, and ``standardisation``, ``scale``, ``delta_scale``, ``compile`` and ``autocast``,
    all of AR-DAE, are not read, nor by ``ivi_avb`` ``antithetic``. ``momentum`` is of ``rmsprop``, the paper's optimiser, only.
    """

    context: ContextName = "hidden"
    samples_per_image: int = 32
    fits_per_step: int = 1
    form: Literal["gradient", "residual"] = "gradient"
    layers: int = 3
    context_layers: int = 3
    input_layers: int = 0
    width: int = 128
    activation: Literal["elu", "softplus", "tanh", "silu"] = "softplus"
    standardisation: Literal["fixed", "per_context", "amortised"] = "amortised"
    whitener_width: int = 128
    scale: float = 1e4
    gaussian_residual: bool | None = None
    student_dof: float | None = 8.0
    delta_scale: float = 0.1
    antithetic: bool = True
    fixed_sigma: float | None = None
    optimiser: Literal["adam", "rmsprop"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.5
    compile: bool = False
    autocast: bool = False

    def __post_init__(self) -> None:
        positive(self, "fits_per_step", "layers", "width", "whitener_width", "scale", "delta_scale", "lr")
        at_least(self, 2, "samples_per_image")
        at_least(self, 0, "context_layers", "input_layers", "momentum")
        for name in ("fixed_sigma", "student_dof"):
            if getattr(self, name) is not None:
                positive(self, name)
        if self.gaussian_residual and self.standardisation == "fixed":
            raise ValueError(
                "gaussian_residual must be null or false with standardisation 'fixed', got true: it needs samples of unit scale"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """log p(x) by importance sampling: ``samples`` per image on ``images`` validation images (null: all), as often as the run evaluates;
    ``test_samples`` on ``test_images`` test images at the end, with the weights that did best on validation. Images are evenly spaced.
    """

    samples: int = 256
    images: int | None = None
    test_samples: int = 2000
    test_images: int | None = None

    def __post_init__(self) -> None:
        positive(self, "samples", "test_samples")
        for name in ("images", "test_images"):
            if getattr(self, name) is not None:
                positive(self, name)


@dataclass(frozen=True, kw_only=True)
class VAESettings:
    """A variational autoencoder with prior N(0, I). Defaults: the embedded digits.

    ``posterior``: ``gaussian``; ``hvi_auxiliary`` and ``hvi_ardae``, hierarchical, by the auxiliary bound and by AR-DAE; ``ivi_ardae`` and
    ``ivi_avb``, implicit, by AR-DAE and by adversarial variational Bayes with adaptive contrast.
    ``noise_dim``: numbers of noise an implicit posterior gets, at least ``latent_dim``, and of the auxiliary latent of a hierarchical one.
    ``beta_start`` and ``anneal_steps``: the weight of all but the reconstruction rises linearly to 1; no annealing with 0 steps.
    ``average_decay``: measure bias-corrected averages of the weights, from step ``average_from_step`` on; null: the weights themselves.
    ``train_on_validation``: on training and validation data together. Nothing is left to choose weights by: the last are tested, so set
    ``steps`` to the ``best_step`` of a run that had validation data. ``validation_*`` are then of images that were trained on. Not for
    ``toy``, whose training data are without end.
    ``data_folder``: where scripts/fetch_data.py put MNIST.
    """

    data: DataName = "digits"
    data_folder: str = "~/.cache/ardae-rl"
    posterior: PosteriorName = "ivi_ardae"
    latent_dim: int = 8
    noise_dim: int = 32
    network: NetworkSettings = field(default_factory=NetworkSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    batch_size: int = 128
    lr: float = 1e-3
    beta1: float = 0.5
    beta_start: float = 1e-4
    anneal_steps: int = 0
    average_decay: float | None = None
    average_from_step: int = 0
    train_on_validation: bool = False
    steps: int = 20_000
    report_every_steps: int = 200
    evaluate_every_steps: int = 1000

    def __post_init__(self) -> None:
        positive(self, "latent_dim", "noise_dim", "batch_size", "lr", "steps", "report_every_steps", "evaluate_every_steps")
        at_least(self, 0, "anneal_steps", "average_from_step")
        self._check_noise()
        dof = self.score.student_dof
        if self.posterior == "ivi_avb" and self.score.fixed_sigma is not None:
            raise ValueError(f"score.fixed_sigma is of denoising autoencoders, got {self.score.fixed_sigma!r} with posterior 'ivi_avb'")
        if self.posterior == "ivi_avb" and dof is not None and dof != int(dof):
            raise ValueError(f"score.student_dof of ivi_avb must be a whole number or null, got {dof!r}")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 must be at least 0 and less than 1, got {self.beta1!r}")
        if not 0 <= self.beta_start <= 1:
            raise ValueError(f"beta_start must be between 0 and 1, got {self.beta_start!r}")
        if self.train_on_validation and self.data == "toy":
            raise ValueError("train_on_validation must be false for toy, got true: its training data are without end")
        if self.average_decay is not None and not 0 < self.average_decay < 1:
            raise ValueError(f"average_decay must be between 0 and 1, or null, got {self.average_decay!r}")
        if not Path(self.data_folder).expanduser().is_absolute():
            raise ValueError(f"data_folder must be absolute or begin with ~ (trials run in folders of their own), got {self.data_folder!r}")
        if self.network.architecture != "mlp" and self.data not in MNIST:
            raise ValueError(
                f"network.architecture must be 'mlp' for {self.data}, got {self.network.architecture!r}: it is made for 28 x 28 images"
            )

    def _check_noise(self) -> None:
        if self.posterior in IMPLICIT and self.noise_dim < self.latent_dim:
            raise ValueError(
                f"noise_dim must be at least latent_dim, {self.latent_dim}, got {self.noise_dim}: z with less noise has no density"
            )

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, with the command that repairs it, where a file of the data set is missing or damaged."""
        if self.data in MNIST:
            _read(self.data == "sbmnist", self.data_folder)

    def smoke(self) -> "VAESettings":
        """Twenty steps with a few images and latents each, and one evaluation."""
        evaluation = dataclasses.replace(self.evaluation, images=20, test_samples=self.evaluation.samples, test_images=20)
        score = dataclasses.replace(self.score, samples_per_image=min(self.score.samples_per_image, 16))
        few = dataclasses.replace(self, batch_size=min(self.batch_size, 16), score=score, evaluation=evaluation)
        return dataclasses.replace(few, steps=20, report_every_steps=10, evaluate_every_steps=20)


@functools.cache
def _read(static: bool, folder: str) -> None:
    """Once for all points of a grid: it takes a second."""
    from ardae_rl.tasks.vae import files

    files.load_static(folder) if static else files.load_mnist(folder)

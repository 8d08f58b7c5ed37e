"""Where x comes from: 25 Gaussians in the plane, 8 x 8 digits, MNIST.

Notation: N images, P pixels; grey levels (N, P) in [0, 1] are Bernoulli means, x (N, P) is binary (``toy``: real).
Dynamic binarisation draws every training image anew each time it is used; validation and test images are drawn once, from a fixed seed.
Reference: [Lim2020] arXiv:2006.05164, section 6.2 and Appendix F; Larochelle & Murray 2011 for the static binarisation.
"""

import math
from typing import Protocol

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ardae_rl.data.mnist import load_mnist, load_static
from ardae_rl.tasks.vae.config import VAESettings

TOY_STD = math.sqrt(0.1)
TOY_VALIDATION, TOY_TEST = 2000, 20_000
DIGITS_VALIDATION, DIGITS_TEST = 200, 400
MNIST_VALIDATION = 5000
_SPLIT_SEED, _BINARY_SEED = 2020, 2021


class Data(Protocol):
    """``validation`` and ``test`` (N, P); ``side``: images are side x side pixels, None: points of the plane."""

    @property
    def pixels(self) -> int: ...

    @property
    def side(self) -> int | None: ...

    validation: Tensor
    test: Tensor

    def batch(self, count: int, generator: torch.Generator, *, with_validation: bool = False) -> Tensor:
        """``count`` training examples (count, P), drawn with replacement; from training and validation examples together if asked."""
        ...


class Toy:
    """Equally weighted N(m, 0.1 I), m on the 5 x 5 grid {-4, -2, 0, 2, 4}^2: (25, 2) ``means``. Training draws never repeat."""

    pixels, side = 2, None

    def __init__(self, device: str) -> None:
        axis = torch.arange(-4.0, 5.0, 2.0)
        self.means, fixed = torch.cartesian_prod(axis, axis), torch.Generator().manual_seed(_SPLIT_SEED)
        self.validation, self.test = (self.batch(count, fixed).to(device) for count in (TOY_VALIDATION, TOY_TEST))  # the same on a GPU
        self.means = self.means.to(device)

    def batch(self, count: int, generator: torch.Generator, *, with_validation: bool = False) -> Tensor:
        device = self.means.device
        which = torch.randint(len(self.means), (count,), generator=generator, device=device)
        return self.means[which] + TOY_STD * torch.randn(count, 2, generator=generator, device=device)


class Images:
    """Grey levels for training and validation, binarised here; ``dynamic``: the training images at every use."""

    def __init__(self, training: Tensor, validation: Tensor, test: Tensor, *, dynamic: bool, device: str) -> None:
        self.pixels, self.side = training.shape[1], math.isqrt(training.shape[1])
        fixed = torch.Generator().manual_seed(_BINARY_SEED)
        self.validation, self.test = (binarised(grey, fixed).to(device) for grey in (validation, test))
        self.dynamic, self.trained_on = dynamic, len(training)
        if not dynamic:
            training, validation = binarised(training, fixed), self.validation.cpu()
        self.training = torch.cat([training, validation]).to(device)

    def batch(self, count: int, generator: torch.Generator, *, with_validation: bool = False) -> Tensor:
        known = len(self.training) if with_validation else self.trained_on
        chosen = self.training[torch.randint(known, (count,), generator=generator, device=self.training.device)]
        return binarised(chosen, generator) if self.dynamic else chosen


def binarised(grey: Tensor, generator: torch.Generator) -> Tensor:
    """A Bernoulli draw of every pixel; what is binary stays as it is."""
    uniform = torch.rand(grey.shape, generator=generator, device=grey.device)
    return (uniform < grey).to(torch.float32)


def load_data(settings: VAESettings, device: str) -> Data:
    """The data set that the settings name. Raises FileNotFoundError or ValueError, with the command to run, where a file is amiss."""
    match settings.data:
        case "toy":
            return Toy(device)
        case "digits":
            return Images(*_digits(), dynamic=True, device=device)
        case "dbmnist":
            return Images(*_mnist(settings.data_folder), dynamic=True, device=device)
        case "sbmnist_seeded":
            return Images(*_mnist(settings.data_folder, MNIST_VALIDATION * 2), dynamic=False, device=device)
        case "sbmnist":
            splits = (torch.from_numpy(part).float() for part in load_static(settings.data_folder))
            return Images(*splits, dynamic=False, device=device)


def _digits() -> tuple[Tensor, Tensor, Tensor]:
    """scikit-learn's 1797 digits with 17 grey levels, in a fixed random order."""
    grey = torch.from_numpy(load_digits().data.astype(np.float32)) / 16
    grey = grey[torch.randperm(len(grey), generator=torch.Generator().manual_seed(_SPLIT_SEED))]
    test, validation = grey[:DIGITS_TEST], grey[DIGITS_TEST : DIGITS_TEST + DIGITS_VALIDATION]
    return grey[DIGITS_TEST + DIGITS_VALIDATION :], validation, test


def _mnist(folder: str, validation: int = MNIST_VALIDATION) -> tuple[Tensor, Tensor, Tensor]:
    """MNIST with the last 10,000 training images, in a fixed random order, or half of them, for validation."""
    training, test = (torch.from_numpy(part).float() / 255 for part in load_mnist(folder))
    rest = training[50_000:][torch.randperm(10_000, generator=torch.Generator().manual_seed(_SPLIT_SEED))]
    return torch.cat([training[:50_000], rest[validation:]]), rest[:validation], test

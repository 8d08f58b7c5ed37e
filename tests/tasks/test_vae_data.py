"""Splits and binarisation: the same data sets as ever."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ardae_rl.data.mnist import MNIST_FILE, sha256
from ardae_rl.tasks.vae import data as data_module
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.data import TOY_STD, Images, Toy, binarised, load_data
from tests.data.made_up import numbered


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_toy_is_25_gaussians() -> None:
    toy = Toy("cpu")
    x = toy.batch(50_000, generator())
    distance, nearest = torch.cdist(x, toy.means).min(1)
    assert sorted({*toy.means.flatten().tolist()}) == [-4, -2, 0, 2, 4] and len(toy.means.unique(dim=0)) == 25
    shares = torch.bincount(nearest, minlength=25) / len(x)
    assert (shares - 1 / 25).abs().max() < 4.5 * (0.04 * 0.96 / len(x)) ** 0.5 + 1e-3
    inside = (x - toy.means[nearest])[distance < 0.99]  # nearly all of a mode, and of no other
    assert abs(inside.std() / TOY_STD - 1) < 0.03
    assert (toy.validation.shape, toy.test.shape) == ((2000, 2), (20_000, 2))
    assert torch.equal(Toy("cpu").test, toy.test)


def test_the_digits_are_split_once_for_all() -> None:
    first, second = (load_data(VAESettings(), "cpu") for _ in range(2))
    assert isinstance(first, Images) and isinstance(second, Images)
    assert (first.trained_on, len(first.validation), len(first.test)) == (1197, 200, 400)
    assert (first.pixels, first.side) == (64, 8)
    assert torch.equal(first.validation, second.validation) and torch.equal(first.test, second.test)
    assert set(first.test.unique().tolist()) == {0.0, 1.0}


def digest_of(settings: VAESettings) -> str:
    """SHA-256 of training (and validation) images, fixed validation and fixed test images, in their order, as float32."""
    images = load_data(settings, "cpu")
    assert isinstance(images, Images)
    return sha256(*(part.numpy().tobytes() for part in (images.training, images.validation, images.test)))


def test_the_digits_are_the_ones_that_were_always_measured() -> None:
    """Another generator, order, split or binarisation would be another data set, and its figures not comparable with earlier ones."""
    assert digest_of(VAESettings()) == "a67902f997ddcd2add7b3df64261a51c46efa78df4726e5efaef234f76189527"


def test_dynamic_images_are_drawn_anew_with_grey_levels_for_means() -> None:
    grey = torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    images = Images(grey, grey, grey, dynamic=True, device="cpu")
    mean = images.batch(20_000, generator()).mean(0)
    assert mean[0] == 0 and mean[3] == 1
    assert ((mean[1:3] - grey[0, 1:3]).abs() < 4 * (0.25 / 20_000) ** 0.5).all()


def test_static_images_stay_as_they_were_drawn() -> None:
    grey = torch.full((4, 100), 0.5)
    images = Images(grey, grey, grey, dynamic=False, device="cpu")
    assert len(images.batch(200, generator()).unique(dim=0)) == 4
    assert set(images.batch(200, generator()).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(images.training[4:], images.validation), "trained on the very images that validate, when they are trained on"
    assert torch.equal(binarised(images.test, generator(5)), images.test), "binary stays binary"


def test_validation_images_are_trained_on_only_if_asked() -> None:
    images = Images(torch.zeros(3, 4), torch.ones(2, 4), torch.zeros(1, 4), dynamic=True, device="cpu")
    assert images.batch(1000, generator()).sum() == 0
    share = images.batch(10_000, generator(), with_validation=True).mean()
    assert abs(share - 0.4) < 4 * (0.24 / 10_000) ** 0.5


@pytest.mark.parametrize(
    ("name", "sizes", "known"),
    [
        ("dbmnist", (55_000, 5000, 10_000), "474e47653ed6a30004921bc24c3f49d11fb30d899c376bbc2fa7dabb0691f83f"),
        ("sbmnist_seeded", (50_000, 10_000, 10_000), "54179afa9c1bb018cabc6e4cc178627da8fae25fc7f3f2b2c39e253c681f5578"),
    ],
)
def test_mnist_is_split_as_in_the_paper(monkeypatch: pytest.MonkeyPatch, name: Any, sizes: tuple[int, int, int], known: str) -> None:
    """No image in two parts, none lost: each is known by its first pixels. And the same as ever, like their binarisation."""
    monkeypatch.setattr(data_module, "load_mnist", lambda folder: (numbered(60_000, 4), numbered(10_000, 4)))
    training, held_out, test = data_module._mnist("", {"dbmnist": 5000, "sbmnist_seeded": 10_000}[name])
    assert (len(training), len(held_out), len(test)) == sizes
    numbers = [((part[:, :3] * 255).round().long() * torch.tensor([65_536, 256, 1])).sum(1) for part in (training, held_out)]
    assert torch.equal(torch.cat(numbers).sort().values, torch.arange(60_000))
    assert torch.equal(numbers[0][:50_000], torch.arange(50_000)) and numbers[1].min() >= 50_000
    loaded = load_data(VAESettings(data=name), "cpu")
    assert isinstance(loaded, Images) and (loaded.trained_on, len(loaded.validation), len(loaded.test)) == sizes
    assert loaded.dynamic == (name == "dbmnist")
    assert sha256(*(numbers[part].numpy().tobytes() for part in (0, 1)), loaded.validation.numpy().tobytes()) == known


def test_missing_data_is_reported_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*mnist\.npz; run: python scripts/fetch_data.py mnist"):
        VAESettings(data="dbmnist", data_folder=str(tmp_path)).check()
    with pytest.raises(FileNotFoundError, match=r"scripts/fetch_data.py sbmnist --amat FOLDER .* or use data: sbmnist_seeded"):
        VAESettings(data="sbmnist", data_folder=str(tmp_path)).check()
    VAESettings(data="digits", data_folder=str(tmp_path)).check()


REAL = Path(VAESettings().data_folder).expanduser()
needs_mnist = pytest.mark.skipif(
    not (REAL / MNIST_FILE).is_file(), reason=f"no MNIST in {VAESettings().data_folder}: scripts/fetch_data.py mnist"
)


@needs_mnist
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sbmnist_seeded", "e337848f32e20c1bc572bc91fa0a158967315c3090039561d0cc7a584edb6f38"),
        ("dbmnist", "857b0529cd0329d5e811eb8669803de7b82864c88f6c57de8fe38455037e8487"),
    ],
)
def test_mnist_is_split_and_binarised_as_it_always_was(name: Any, known: str) -> None:
    assert digest_of(VAESettings(data=name)) == known

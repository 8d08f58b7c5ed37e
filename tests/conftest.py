"""What every test shares: a seed, one torch thread, and for those that ask float64, or a real local Ray."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small matrices gain nothing from threads, and parallel test workers would fight over the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision by default, so that a tolerance speaks of mathematics and not of rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    import ray

    ray.init("local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()

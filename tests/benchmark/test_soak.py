"""Slopes and limits come out of what was put in; a real run is watched to its end."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import soak
from benchmark.soak import OWN, Look, Soak

ROLES = ("driver", *OWN.values(), "raylet")


def steady(*, hours: float = 1.0) -> Soak:
    """Imports until a quarter of the time, then nothing grows."""
    seconds = [3600 * hours * step / 200 for step in range(201)]
    looks = [
        Look(seconds=at, role=role, pid=1, memory_mb=100 + min(4 * at / (3600 * hours), 1), open_files=40)
        for at in seconds
        for role in ROLES
    ]
    return Soak(looks=looks, progress=[(at, 10 * at) for at in seconds], processes_left=[], files_left=[])


def growing(quantity: str, role: str, per_hour: float) -> Soak:
    run = steady()
    looks = [
        replace(look, **{quantity: getattr(look, quantity) + per_hour * look.seconds / 3600}) if look.role == role else look
        for look in run.looks
    ]
    return replace(run, looks=looks)


def test_a_steady_run_keeps_every_limit() -> None:
    assert steady().misses() == []
    assert steady().memory_slopes() == pytest.approx(dict.fromkeys(ROLES, 0.0), abs=1e-9)
    assert steady().throughput_ratio() == pytest.approx(1.0)


def test_what_grows_is_named() -> None:
    assert growing("memory_mb", "learner", 7.0).misses() == ["learner: +7.0 MB per hour, limit 5"]
    assert growing("open_files", "driver", 30.0).misses() == ["driver: +30.0 open files per hour, limit 5"]
    assert growing("memory_mb", "learner", 3.0).misses() == []
    assert growing("memory_mb", "raylet", 7.0).misses() == [], "Ray's own processes are not ours to judge"


def test_a_run_that_slows_down_is_named() -> None:
    run = steady()
    slower = [(at, steps if at < 2700 else 27_000 + 0.8 * (steps - 27_000)) for at, steps in run.progress]
    assert replace(run, progress=slower).misses() == ["env steps per second: 0.80 times those at first, limit 0.9"]


def test_what_is_left_or_was_never_there_is_named() -> None:
    run = replace(steady(), processes_left=["ray::IDLE"], files_left=["/dev/shm/plasma"])
    assert run.misses() == [f"left behind, by this run or another program: {what}" for what in ("ray::IDLE", "/dev/shm/plasma")]
    without = replace(steady(), looks=[look for look in steady().looks if look.role != "learner"])
    assert without.misses() == ["no learner was seen for long enough"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_run_is_watched_to_its_end(tmp_path: Path) -> None:
    watched = soak.run(tmp_path / "soak", minutes=1.5)
    soak.save(watched, tmp_path / "soak")
    assert watched.memory_slopes().keys() == {"driver", *soak.ROLES.values()}
    assert watched.processes_left == [] and watched.files_left == [] and watched.throughput_ratio() > 0.3
    assert (tmp_path / "soak" / "soak.png").stat().st_size > 1000

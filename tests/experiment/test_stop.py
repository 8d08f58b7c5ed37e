"""Which signals stop a run with checkpoints, and which at once."""

import signal
import time
from collections.abc import Iterator

import pytest

from ardae_rl.experiment import launch
from ardae_rl.experiment.watch import watcher


@pytest.fixture(autouse=True)
def _own_watcher() -> Iterator[None]:
    watcher.cache_clear()
    yield
    watcher.cache_clear()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_of_the_same_moment_are_one_request(signum: int) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would stay ignored
    with launch._graceful_stop() as received:
        assert not watcher().stop_requested
        for each in (signum, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(each)
        assert watcher().stop_requested
    signal.signal(signal.SIGHUP, before)
    assert received[0] == signum


def test_only_a_later_ctrl_c_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ONE_REQUEST_S", 0.05)
    with pytest.raises(KeyboardInterrupt), launch._graceful_stop():
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        signal.raise_signal(signal.SIGTERM)
        assert watcher().stop_requested
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


def test_a_run_in_the_background_of_a_script_hears_ctrl_c() -> None:
    """Shells start it with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with launch._graceful_stop() as received:
            signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_under_nohup_a_terminal_that_goes_away_stops_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launch._graceful_stop() as received:
            signal.raise_signal(signal.SIGHUP)
        assert not received and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

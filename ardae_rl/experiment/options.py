"""How a run is started, beside what it trains, and how it is stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from ardae_rl.experiment.display import print_line

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # SLURM and others send SIGUSR1 before time is up


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """``address``: the cluster, None: RAY_ADDRESS or this machine. ``may_grow``: it starts machines on demand, so what has no room waits.

    ``command`` is what the user would type to continue after an interruption.
    """

    console: Console
    resume: bool = False
    address: str | None = None
    may_grow: bool = False
    command: str = ""

    def say(self, label: str, text: str) -> None:
        """One line of the output: a label and what it is about."""
        print_line(self.console, f"{label + ':':<13}{text}")

    def stopped(self, signum: int) -> int:
        """Say how to go on after a signal; the exit code."""
        self.say("Stopped", f"continue with\n  {self.command}")
        return 128 + signum


@contextmanager
def handled_signals(handle: Callable[[list[int]], object]) -> Iterator[list[int]]:
    """Ctrl-C, or a signal with which systems ask a program to end, calls ``handle`` with the signals received so far, which this yields.

    Under nohup SIGHUP stays ignored; SIGINT does not, which shells have what they start in the background ignore.
    """
    received: list[int] = []

    def hear(signum: int, frame: object) -> None:
        received.append(signum)
        handle(received)

    heard = [signum for signum in STOP_SIGNALS if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, hear) for signum in heard}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

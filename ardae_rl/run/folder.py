"""The folder of a trial or of an experiment, in which nothing is written while it is not the real one."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ardae_rl.run.disk import patiently

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """``path``; and ``experiment``, itself or the folder around it, which Tune's driver marked as the experiment's. None: there is no such.

    Where a mount is missing or has gone, Tune makes folders of the same names on the machine's own disk. Whatever is written there is lost.
    """

    path: Path
    experiment: Path | None = None

    def check(self) -> None:
        """Raise FileNotFoundError while this machine does not have the storage path that the driver has."""
        if self.experiment is None:
            return
        from ray.util import get_node_ip_address

        from ardae_rl.run.ray_internals import STORAGE_MARKER  # reports are made of these folders, too, without Ray

        if not (self.experiment / STORAGE_MARKER).is_file():
            raise FileNotFoundError(
                f"{self.experiment} as the driver sees it is not on machine {socket.gethostname()} ({get_node_ip_address()}): "
                f"mount the storage path there, too, or name a folder that every machine mounts with --storage-path DIR"
            )

    def patiently(self, work: Callable[[], T], *, what: str = "writing") -> T:
        """What ``work`` returns, waited for as :func:`.disk.patiently` does, and while the folder is not there."""

        def checked() -> T:
            self.check()
            return work()

        return patiently(checked, what=what)

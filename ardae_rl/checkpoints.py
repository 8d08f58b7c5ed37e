"""Checkpoints of a trial under Tune that are complete or absent, and the one to continue from.

Tune copies a checkpoint file by file, so a full disk or a kill leaves half of one, and its driver notes a checkpoint only some time after
it was written, so a killed driver forgets the last. Here the trial's own folder is the truth: what is called ``checkpoint_*`` in it is
complete, and the last of them is the one to continue from; should the disk have spoilt it since, the one before.
Not here: what a checkpoint holds (``save_checkpoint`` and ``load_from`` of each trial).
"""

import logging
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import LocalFileSystem
from ray import get_runtime_context, tune
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import _VALIDATE_STORAGE_MARKER_FILENAME as STORAGE_MARKER
from ray.tune.result import TRAINING_ITERATION
from ray.util import get_node_ip_address

from ardae_rl.disk import patiently, write_whole
from ardae_rl.notes import pass_warnings_on

logger = logging.getLogger(__name__)


def check_storage(experiment: Path) -> None:
    """Raise FileNotFoundError unless ``experiment`` is the folder that the driver marked as the experiment's.

    Where a mount is missing or has gone, Tune makes folders of the same names on the machine's own disk. Whatever is written there is lost.
    """
    if not (experiment / STORAGE_MARKER).is_file():
        raise FileNotFoundError(
            f"{experiment} as the driver sees it is not on machine {socket.gethostname()} ({get_node_ip_address()}): "
            f"mount the storage path there, too, or name a folder that every machine mounts with --storage-path DIR"
        )


class WholeCheckpoints(ABC, tune.Trainable):
    """A Trainable that writes straight into Tune's storage, where that is a file system of this machine (elsewhere as Tune does)."""

    _unnoted: Sequence[Path] = ()

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Tune's ``save``: waits while the disk is full or away; raises OSError after half a day."""
        if checkpoint_dir is not None or not self.stores_locally():
            return super().save(checkpoint_dir)
        self._storage._update_checkpoint_index({})
        folder = Path(self._storage.checkpoint_fs_path)
        patiently(lambda: self._write_checkpoint(folder))
        self._remove_unnoted()
        checkpoint = tune.Checkpoint(str(folder), self._storage.storage_filesystem)
        return _TrainingResult(checkpoint=checkpoint, metrics=dict(self._last_result or {}))

    def _write_checkpoint(self, folder: Path) -> None:
        self.check_storage()
        write_whole(folder, lambda partial: self.save_checkpoint(str(partial)))

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tune's own, and Ray's name for the machine: several nodes can have one address."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
        return filled | {"node_id": get_runtime_context().get_node_id()}

    def own_folder(self) -> Path:
        """Where this trial's records go, made if it is not there: beside its checkpoints, or, if it has no such place, among Ray's logs.

        Raises FileNotFoundError if this machine does not have the storage path that the driver has.
        """
        if not self.stores_locally():
            return Path(self.logdir)
        self.check_storage()
        folder = Path(self._storage.trial_fs_path)
        folder.mkdir(exist_ok=True)
        pass_warnings_on(folder)
        return folder

    def check_storage(self) -> None:
        """Raise FileNotFoundError while this machine does not have the storage path that the driver has; write no record before."""
        if self.stores_locally():
            check_storage(Path(self._storage.experiment_fs_path))

    def stores_locally(self) -> bool:
        """Whether this trial's folder is on a file system of this machine."""
        return self._storage is not None and isinstance(self._storage.storage_filesystem, LocalFileSystem)

    def restore(self, checkpoint_path: Any) -> Any:
        """Tune's. A killed driver may have known only of checkpoints that have given way to later ones since: then from the last of those.

        Tune writes down what it knows every ten seconds at most, and less often the more trials there are. Waits while the storage path is
        away: what is missing then is not gone.
        """
        if self.stores_locally():
            patiently(self.check_storage, what="reading")
        gone = isinstance(checkpoint_path, _TrainingResult) and self.stores_locally() and not Path(checkpoint_path.checkpoint.path).exists()
        if not (gone and self.take_over()):
            return super().restore(checkpoint_path)
        self._iteration = checkpoint_path.metrics.get(TRAINING_ITERATION, 0)

    @abstractmethod
    def load_from(self, folder: Path) -> None:
        """Take over everything from the checkpoint ``folder``, whatever an attempt that failed left behind. Each trial says how."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune's: continue from ``checkpoint_dir``, or from a later checkpoint of this trial that its driver did not live to note."""
        known, own = Path(checkpoint_dir).resolve(), self._own_checkpoints()
        if known in own:
            self._unnoted = own[own.index(known) + 1 :]
            self._load_last_whole(own)
        else:
            self.load_from(known)

    def take_over(self) -> bool:
        """Continue from what an earlier attempt left in this trial's folder, though Tune knows of no checkpoint; False if there is none."""
        own = self._own_checkpoints()
        if own:
            self._load_last_whole(own)
        self._unnoted = own
        return bool(own)

    def _load_last_whole(self, own: Sequence[Path]) -> None:
        """Continue from the last of ``own`` that can be read; the next is numbered after all of them. None: raises what the last raised."""
        self._storage.current_checkpoint_index = int(own[-1].name.rpartition("_")[2])
        errors: list[Exception] = []
        for folder in reversed(own):
            try:
                return self._load_patiently(folder)
            except (MemoryError, torch.OutOfMemoryError):
                raise  # of this machine, not of the checkpoint
            except Exception as error:  # of pickle, torch, safetensors, RLlib: damage has many names
                errors.append(error)
                cause = " ".join(str(error).split())[:300]
                logger.warning("%s cannot be read (%s): going back to the checkpoint before it", folder, cause or type(error).__name__)
        raise errors[0]

    def _load_patiently(self, folder: Path) -> None:
        """An OSError may be of a storage path that went away meanwhile: the checkpoint's is one that comes again once that is there."""
        try:
            return self.load_from(folder)
        except OSError:
            patiently(self.check_storage, what="reading")
        self.load_from(folder)

    def _own_checkpoints(self) -> list[Path]:
        """The earliest first. Waits while the storage path is away."""
        return patiently(self._listed, what="reading") if self.stores_locally() else []

    def _listed(self) -> list[Path]:
        self.check_storage()
        folder = Path(self._storage.trial_fs_path).resolve()
        return sorted(path for path in folder.iterdir() if path.match("checkpoint_[0-9]*"))  # glob would find nothing where it cannot look

    def _remove_unnoted(self) -> None:
        """Tune removes old checkpoints, but only those it knows."""
        for folder in self._unnoted:
            shutil.rmtree(folder, ignore_errors=True)
        self._unnoted = []

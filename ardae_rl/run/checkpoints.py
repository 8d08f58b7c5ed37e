"""Checkpoints of a trial under Tune that are complete or absent, and the one to continue from.

Tune copies a checkpoint file by file, so a full disk or a kill leaves half of one, and its driver notes a checkpoint only some time after
it was written, so a killed driver forgets the last. Here the trial's own folder is the truth: what is called ``checkpoint_*`` in it is
complete, and the last of them is the one to continue from; should the disk have spoilt it since, the one before.
"""

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ray import tune

from ardae_rl.run import ray_internals
from ardae_rl.run.disk import write_whole
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.notes import pass_warnings_on

logger = logging.getLogger(__name__)


class WholeCheckpoints(ABC, tune.Trainable):
    """A Trainable that writes straight into Tune's storage, where that is a file system of this machine (elsewhere as Tune does)."""

    folder: RunFolder
    _unnoted: Sequence[Path] = ()

    def open_folder(self) -> None:
        """Make ``folder`` this trial's own: beside its checkpoints, or, if it has no such place, among Ray's logs. Part of ``setup``.

        Raises FileNotFoundError if this machine does not have the storage path that the driver has.
        """
        storage = ray_internals.local_storage(self)
        self.folder = RunFolder(Path(storage.trial_fs_path), Path(storage.experiment_fs_path)) if storage else RunFolder(Path(self.logdir))
        if self.stores_locally():
            self.folder.check()
            self.folder.path.mkdir(exist_ok=True)
            pass_warnings_on(self.folder.path)

    def stores_locally(self) -> bool:
        """Whether ``folder`` is the one in Tune's storage."""
        return self.folder.experiment is not None

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Tune's ``save``: waits while the disk is full or away; raises OSError after half a day."""
        if checkpoint_dir is not None or not self.stores_locally():
            return super().save(checkpoint_dir)
        checkpoint = ray_internals.next_checkpoint(self)
        self.folder.patiently(lambda: write_whole(checkpoint, lambda partial: self.save_checkpoint(str(partial))))
        for folder in self._unnoted:  # Tune removes old checkpoints, but only those it knows
            shutil.rmtree(folder, ignore_errors=True)
        self._unnoted = ()
        return ray_internals.saved_checkpoint(self, checkpoint)

    def restore(self, checkpoint_path: Any) -> Any:
        """Tune's. A killed driver may have known only of checkpoints that have given way to later ones since: then from the last of those.

        Tune writes down what it knows every ten seconds at most, and less often the more trials there are. Waits while the storage path is
        away: what is missing then is not gone.
        """
        self._wait_for_folder()
        known = ray_internals.known_checkpoint(checkpoint_path)
        if known is None or known.exists() or not self.take_over():
            return super().restore(checkpoint_path)
        ray_internals.count_iterations_from(self, checkpoint_path)

    def _wait_for_folder(self) -> None:
        self.folder.patiently(lambda: None, what="reading")

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
        ray_internals.number_checkpoints_from(self, own[-1])
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
            self._wait_for_folder()
        self.load_from(folder)

    def _own_checkpoints(self) -> list[Path]:
        """The earliest first. Waits while the storage path is away."""
        return self.folder.patiently(self._listed, what="reading") if self.stores_locally() else []

    def _listed(self) -> list[Path]:
        paths = self.folder.path.resolve().iterdir()  # glob would find nothing where it cannot look
        return sorted(path for path in paths if path.match("checkpoint_[0-9]*"))

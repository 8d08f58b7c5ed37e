"""Histograms and pictures for TensorBoard. Its scalars are written by Tune's own callback.

Not here: what is shown (``sac/diagnostics.py``, a task's ``figures``).
"""

import io
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import histogram

from ardae_rl.disk import append_whole, patiently

BINS = 30
_RGBA = 4  # TensorBoard's number for it


class EventFile:
    """A file of events in ``folder``, which must not be that of another: TensorBoard stops reading one of two that grow side by side.

    Each object begins a file of its own; TensorBoard reads those of earlier attempts first.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns():020d}"

    def add(self, steps: int, *, histograms: Mapping[str, np.ndarray] | None = None, pictures: Mapping[str, bytes] | None = None) -> None:
        """Show the distribution of each array's numbers, and each picture (the content of a PNG file), at ``steps``.

        Numbers that are not finite are left out. Waits while the disk is full or away; raises OSError, the file being what it was, if it
        stays so.
        """
        finite = {name: values[np.isfinite(values)] for name, values in (histograms or {}).items()}
        shown = [histogram(name, values, BINS) for name, values in finite.items() if values.size]
        shown += [_picture(name, content) for name, content in (pictures or {}).items()]
        patiently(lambda: self._append([Event(wall_time=time.time(), step=steps, summary=each) for each in shown]))

    def _append(self, events: list[Event]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        first = [] if self.path.exists() else [Event(wall_time=time.time(), file_version="brain.Event:2")]
        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in first + events:
            writer.write(event.SerializeToString())
        append_whole(self.path, content.getvalue())


def _picture(name: str, content: bytes) -> Summary:
    width, height = struct.unpack(">II", content[16:24])  # where every PNG file has them
    image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=_RGBA)
    return Summary(value=[Summary.Value(tag=name, image=image)])

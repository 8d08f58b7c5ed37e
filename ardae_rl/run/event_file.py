"""Histograms and pictures for TensorBoard. Its scalars are written by Tune's own callback.

Not here: what is shown (``sac/diagnostics.py``, a task's ``figures``).
"""

import io
import struct
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import histogram

from ardae_rl.run.disk import append_whole
from ardae_rl.run.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 30
_RGBA = 4  # TensorBoard's number for it


class EventFile:
    """A file of events below ``folder``, in one ``name`` of its own: TensorBoard stops reading one of two that grow side by side.

    Each object begins a file of its own; TensorBoard reads those of earlier attempts first.
    """

    def __init__(self, folder: RunFolder, name: str) -> None:
        self.path, self._begun, self._folder = folder.path / name / f"events.out.tfevents.{time.time_ns():020d}", False, folder

    def add(self, steps: int, *, histograms: Mapping[str, np.ndarray] | None = None, pictures: Mapping[str, bytes] | None = None) -> None:
        """Show the distribution of each array's numbers, and each picture (the content of a PNG file), at ``steps``.

        Numbers that are not finite are left out.
        """
        finite = {name: values[np.isfinite(values)] for name, values in (histograms or {}).items()}
        shown = [_histogram(name, values) for name, values in finite.items() if values.size]
        shown += [_picture(name, content) for name, content in (pictures or {}).items()]
        events = [Event(wall_time=time.time(), step=steps, summary=each) for each in shown]
        if not self._begun:  # a new attempt at these steps: what an earlier one showed of them is void
            begin = {"file_version": "brain.Event:2"}, {"step": steps, "session_log": SessionLog(status=SessionLog.START)}
            events = [*(Event(wall_time=time.time(), **each) for each in begin), *events]
        content = _records(events)  # once: a reader that saw half of a write that failed must find the same bytes
        self._folder.patiently(lambda: self._append(content))
        self._begun = True

    def _append(self, content: bytes) -> None:
        self.path.parent.mkdir(exist_ok=True)
        append_whole(self.path, content)


def png(figure: "Figure") -> bytes:
    """The content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _records(events: list[Event]) -> bytes:
    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString())
    return content.getvalue()


def _histogram(name: str, values: np.ndarray) -> Summary:
    """In one bin where the numbers differ by so little, or so much, that float64 has no thirty between them."""
    try:
        return histogram(name, values, BINS)
    except ValueError:
        values = values.astype(np.float64)
        ends = [np.nextafter(values.min(), -np.inf), values.max()]
        sums = {"num": values.size, "sum": values.sum(), "sum_squares": np.square(values).sum()}
        shown = HistogramProto(min=values.min(), max=values.max(), **sums, bucket_limit=ends, bucket=[0, values.size])
        return Summary(value=[Summary.Value(tag=name, histo=shown)])


def _picture(name: str, content: bytes) -> Summary:
    width, height = struct.unpack(">II", content[16:24])  # where every PNG file has them
    image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=_RGBA)
    return Summary(value=[Summary.Value(tag=name, image=image)])

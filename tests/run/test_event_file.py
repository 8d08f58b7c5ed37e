"""Histograms and pictures arrive in TensorBoard's own reader, also after a disk that was full."""

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ardae_rl.run.disk
import ardae_rl.run.event_file
from ardae_rl.run.event_file import EventFile
from ardae_rl.run.folder import RunFolder


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    return events


def test_a_histogram_has_the_moments_of_its_numbers(tmp_path: Path) -> None:
    file, values = EventFile(RunFolder(tmp_path), "histograms"), np.random.default_rng(0).normal(3.0, 2.0, (100, 7))
    file.add(5, histograms={"a": values})
    file.add(9, histograms={"a": values[:1], "b": np.array([1.0, np.nan, np.inf, 2.0]), "c": np.array([np.nan])})
    events = read(tmp_path / "histograms")
    first, second = events.Histograms("a")
    assert (first.step, second.step) == (5, 9) and second.histogram_value.num == 7
    shown = first.histogram_value
    assert (shown.num, shown.min, shown.max) == (700, values.min(), values.max())
    assert shown.sum == pytest.approx(values.sum()) and shown.sum_squares == pytest.approx(np.square(values).sum())
    assert sum(shown.bucket) == 700
    (other,) = events.Histograms("b")
    assert (other.histogram_value.num, other.histogram_value.max) == (2, 2.0)
    assert set(events.Tags()["histograms"]) == {"a", "b"}


def test_a_picture_comes_back_as_it_was(tmp_path: Path) -> None:
    content = io.BytesIO()
    Figure(figsize=(3, 2), dpi=100).savefig(content, format="png")
    EventFile(RunFolder(tmp_path), "figures").add(7, pictures={"walk": content.getvalue()})
    (image,) = read(tmp_path / "figures").Images("walk")
    assert (image.step, image.width, image.height, image.encoded_image_string) == (7, 300, 200, content.getvalue())


def test_a_second_attempt_goes_on_in_a_file_of_its_own(tmp_path: Path) -> None:
    """And what the first showed of steps that are made again is void."""
    for attempt in ((10, 20, 30), (20, 30, 40)):
        file = EventFile(RunFolder(tmp_path), "histograms")
        for steps in attempt:
            file.add(steps, histograms={"a": np.ones(3)})
    assert len(list((tmp_path / "histograms").iterdir())) == 2
    assert [event.step for event in read(tmp_path / "histograms").Histograms("a")] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    "values", [[0.3, 0.1 + 0.2], [-1000.0, np.nextafter(-1000.0, 0)], [1e17, 1e17], [1e20], [-1e308, 1e308], [5e-324, 0.0]]
)
def test_numbers_that_thirty_bins_cannot_tell_apart_are_shown_all_the_same(tmp_path: Path, values: list[float]) -> None:
    EventFile(RunFolder(tmp_path), "histograms").add(1, histograms={"a": np.array(values)})
    (event,) = read(tmp_path / "histograms").Histograms("a")
    assert (event.histogram_value.num, sum(event.histogram_value.bucket)) == (len(values), len(values))
    assert (event.histogram_value.min, event.histogram_value.max) == (min(values), max(values))


def test_it_waits_while_the_disk_is_full_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, failures = ardae_rl.run.disk.append_whole, [OSError(errno.ENOSPC, "full")]

    def full_at_first(path: Path, content: bytes) -> None:
        if failures:
            raise failures.pop()
        append(path, content)

    monkeypatch.setattr("ardae_rl.run.event_file.append_whole", full_at_first)
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", (0.01,))
    EventFile(RunFolder(tmp_path), "histograms").add(3, histograms={"a": np.ones(3)})
    assert [event.step for event in read(tmp_path / "histograms").Histograms("a")] == [3]


def test_nothing_is_written_while_the_folder_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", (0.01,))
    file = EventFile(RunFolder(tmp_path, experiment=tmp_path), "histograms")
    with pytest.raises(FileNotFoundError, match="as the driver sees it is not on machine"):
        file.add(3, histograms={"a": np.ones(3)})
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_where_the_trial_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", (0.01,))
    with pytest.raises(FileNotFoundError):
        EventFile(RunFolder(tmp_path / "gone"), "histograms").add(3, histograms={"a": np.ones(3)})
    assert not list(tmp_path.iterdir())

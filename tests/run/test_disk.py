"""Writing that a kill, a full disk and a missing parent interrupt: real processes, real limits of the kernel."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ardae_rl.run.disk import WAITS_S, patiently, write_whole
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.records import RecordFile


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: the kernel then writes what fits and fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(folder: Path, text: str) -> None:
    for name in ("first", "second"):
        (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "folder", lambda partial: fill(partial, "old"))
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "folder", lambda partial: fill(partial, "new" * 1000))
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "another", lambda partial: fill(partial, "new" * 1000))
    assert os.listdir(tmp_path) == ["folder"] and contents(tmp_path / "folder") == {"first": "old", "second": "old"}
    write_whole(tmp_path / "folder", lambda partial: fill(partial, "new"))
    assert os.listdir(tmp_path) == ["folder"] and contents(tmp_path / "folder") == {"first": "new", "second": "new"}


def test_a_kill_while_writing_leaves_what_was_there_and_the_next_write_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_whole(folder, lambda partial: fill(partial, "old"))
    killer = "(p / 'first').write_text('half'), os.kill(os.getpid(), 9)"
    code = (
        f"import os, pathlib, sys; from ardae_rl.run.disk import write_whole; write_whole(pathlib.Path(sys.argv[1]), lambda p: ({killer}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["folder"] and contents(folder) == {"first": "old", "second": "old"}
    assert contents(tmp_path / ".folder.partial") == {"first": "half"}
    write_whole(folder, lambda partial: fill(partial, "new"))
    assert os.listdir(tmp_path) == ["folder"] and contents(folder)["first"] == "new"


def test_nothing_is_written_where_the_storage_path_has_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "folder", lambda partial: fill(partial, "new"))
    assert not os.listdir(tmp_path)


def test_a_disk_that_comes_back_is_waited_for_and_one_that_does_not_is_given_up(tmp_path: Path) -> None:
    tries: list[int] = []

    def write() -> str:
        tries.append(len(tries))
        if len(tries) == 3:
            (tmp_path / "gone").mkdir()
        (tmp_path / "gone" / "file").touch()
        return "written"

    assert patiently(write, waits_s=(0.01, 0.01, 0.01)) == "written" and len(tries) == 3
    with pytest.raises(FileNotFoundError):
        patiently(lambda: (tmp_path / "away" / "file").touch(), waits_s=(0.01,))


def test_waiting_is_for_hours_and_says_so_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    assert sum(WAITS_S) > 6 * 3600 and max(WAITS_S) <= 60

    def write() -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        patiently(write, waits_s=[0.0] * 1000)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 10 and set(warnings) == {"writing failed (No space left on device): trying again"}


def test_a_row_that_finds_no_room_is_not_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", ())
    file = RecordFile(RunFolder(tmp_path), "records.csv", steps="steps")
    file.append([{"steps": 1, "loss": 0.5}])
    before = file.path.read_text()
    with room_for(len(before) + 3), pytest.raises(OSError):
        file.append([{"steps": 2, "loss": 0.25}])
    assert file.path.read_text() == before
    file.append([{"steps": 2, "loss": 0.25}])
    assert file.path.read_text().splitlines() == ["steps,loss", "1,0.5", "2,0.25"]


def test_a_row_that_a_kill_left_half_written_is_dropped(tmp_path: Path) -> None:
    file = RecordFile(RunFolder(tmp_path), "records.csv", steps="steps")
    file.append([{"steps": 1, "loss": 0.5}, {"steps": 2, "loss": 0.25}])
    file.path.write_text(file.path.read_text()[:-4])
    file.cut_after(2)
    assert file.path.read_text().splitlines() == ["steps,loss", "1,0.5"]

"""CSV records: columns, going on with a file that is there, cutting back, a storage path that is away meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ardae_rl.run.folder import RunFolder
from ardae_rl.run.records import RecordFile, read_rows

AWAY_S = 0.3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.csv"


def place(path: Path) -> tuple[RunFolder, str]:
    return RunFolder(path.parent), path.name


def test_the_first_row_gives_the_columns_and_a_later_process_finds_them_in_the_file(path: Path) -> None:
    RecordFile(*place(path), steps="steps").append([{"steps": 1, "loss": 0.5}])
    RecordFile(*place(path), steps="steps").append([{"loss": 0.25, "steps": 2}, {"steps": 3}])
    assert path.read_text().splitlines() == ["steps,loss", "1,0.5", "2,0.25", "3,"]


def test_a_value_without_a_column_is_refused_and_nothing_is_written(path: Path) -> None:
    file = RecordFile(*place(path), ("steps", "loss"), steps="steps")
    with pytest.raises(ValueError, match=r"records\.csv has no column for b \(it has steps, loss\)"):
        file.append([{"steps": 1, "loss": 2}, {"steps": 1, "b": 2}])
    assert not path.exists()


@pytest.mark.parametrize("columns", [(), ("epoch", "loss")])
def test_cutting_drops_later_rows_by_the_column_that_counts(path: Path, columns: tuple[str, ...]) -> None:
    file = RecordFile(*place(path), columns, steps="epoch")
    file.cut_after(0)
    assert not path.exists()
    file.append([{"epoch": epoch, "loss": 0.0} for epoch in (10, 20, 30)])
    RecordFile(*place(path), columns, steps="epoch").cut_after(20)
    assert path.read_text().splitlines() == ["epoch,loss", "10,0.0", "20,0.0"]
    RecordFile(*place(path), columns, steps="epoch").cut_after(0)
    RecordFile(*place(path), columns, steps="epoch").append([{"epoch": 5, "loss": 1.0}])
    assert path.read_text().splitlines() == ["epoch,loss", "5,1.0"]


def test_an_empty_file_left_by_a_crash_is_begun_anew(path: Path) -> None:
    path.touch()
    file = RecordFile(*place(path), steps="steps")
    file.cut_after(3)
    file.append([{"steps": 1}])
    assert path.read_text().splitlines() == ["steps", "1"]


def take(folder: Path) -> Path:
    """As if it were not mounted."""
    return folder.rename(folder.with_name("elsewhere"))


def spoil(folder: Path) -> Path:
    """The kernel refuses to look at it, as at a file handle of NFS that is stale: with an error other than that there is nothing."""
    elsewhere = take(folder)
    folder.symlink_to("x" * 300)
    return elsewhere


@contextmanager
def away(folder: Path, leave: Callable[[Path], Path]) -> Iterator[None]:
    """Gone now, and back after AWAY_S whatever happens here."""
    elsewhere = leave(folder)

    def come_back() -> None:
        folder.unlink(missing_ok=True)
        elsewhere.rename(folder)

    back = threading.Timer(AWAY_S, come_back)
    back.start()
    try:
        yield
    finally:
        back.join()


@pytest.mark.parametrize("leave", [take, spoil])
@pytest.mark.parametrize("columns", [(), ("steps", "loss")])
def test_a_storage_path_that_is_away_is_waited_for_and_the_file_has_one_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Path], Path], columns: tuple[str, ...]
) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", [0.05] * 200)
    folder = tmp_path / "trial"
    folder.mkdir()
    RecordFile(RunFolder(folder), "records.csv", columns, steps="steps").append([{"steps": 1, "loss": 0.5}])
    file = RecordFile(RunFolder(folder), "records.csv", columns, steps="steps")
    with away(folder, leave):
        file.append([{"steps": 2, "loss": 0.25}])
        assert folder.is_dir()
    assert file.path.read_text().splitlines() == ["steps,loss", "1,0.5", "2,0.25"]
    with away(folder, leave):
        file.cut_after(1)
        assert folder.is_dir()
    assert file.path.read_text().splitlines() == ["steps,loss", "1,0.5"]


def test_a_folder_of_the_same_name_is_not_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", (0.01,))
    file = RecordFile(RunFolder(path.parent, experiment=path.parent), path.name, steps="steps")
    with pytest.raises(FileNotFoundError, match="as the driver sees it is not on machine"):
        file.append([{"steps": 1, "loss": 0.5}])
    with pytest.raises(FileNotFoundError, match="as the driver sees it is not on machine"):
        file.cut_after(1)
    assert not path.exists()


def test_cutting_drops_what_is_no_row(path: Path) -> None:
    path.write_text("steps,loss\n1,0.5\nsteps,loss\n2,0.25\n\0\0,\n3,0.125\n")
    RecordFile(*place(path), steps="steps").cut_after(2)
    assert path.read_text().splitlines() == ["steps,loss", "1,0.5", "2,0.25"]


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ("0,200,0.5,1", "has no end"),
        ("0,200,0.5,1\n", "has 4 of 5 fields"),
        ("0,200,0.5,1.625,0.9\n0,200,0.5,1.625,0.9\n", "is of 200 steps, as far as the row before it or less"),
        ("0,50,0.5,1.625,0.9\n", "is of 50 steps, as far as the row before it or less"),
        ("7,200,0.5,1.625,0.9\n", "is of seed 7, not 0"),
        ("0,200,0.5,1" + "\0" * 9 + ",0.9\n", "has no number as score_error"),
        ("0,,0.5,1.0,0.9\n", "has no number as steps"),
        ("0,2_00,0.5,1.0,0.9\n", "has no number as steps"),
    ],
)
def test_what_is_damaged_is_named_and_left_out(path: Path, last: str, what: str) -> None:
    path.write_text("seed,steps,seconds,score_error,returns\n0,100,0.2,nan,1 2 nan\n" + last)
    rows, damage = read_rows(path, steps="steps", seed=0)
    number = 2 + last.count("\n") if last.endswith("\n") else 3
    assert damage == [f"line {number} {what}"] and rows[0]["score_error"] == "nan" and rows[0]["returns"] == "1 2 nan"
    assert [int(row["steps"]) for row in rows] == ([100, 200] if last.startswith("0,200,0.5,1.625") else [100])


def test_damage_is_told_when_a_record_is_cut(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("seed,steps,loss\n0,1,0.5\n0,2,0.25\n0,2,0.25\n0,3,0.1")
    RecordFile(*place(path), steps="steps").cut_after(3)
    assert path.read_text().splitlines() == ["seed,steps,loss", "0,1,0.5", "0,2,0.25"]
    assert caplog.messages == [
        f"line 4 is of 2 steps, as far as the row before it or less of {path.name}: left out",
        f"line 5 has no end of {path.name}: left out",
    ]

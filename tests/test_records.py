"""CSV records: columns, going on with a file that is there, cutting back."""

from pathlib import Path

import pytest

from ardae_rl.records import RecordFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.csv"


def test_the_first_row_gives_the_columns_and_a_later_process_finds_them_in_the_file(path: Path) -> None:
    RecordFile(path, steps="steps").append([{"steps": 1, "loss": 0.5}])
    RecordFile(path, steps="steps").append([{"loss": 0.25, "steps": 2}, {"steps": 3}])
    assert path.read_text().splitlines() == ["steps,loss", "1,0.5", "2,0.25", "3,"]


def test_a_value_without_a_column_is_refused_and_nothing_is_written(path: Path) -> None:
    file = RecordFile(path, ("steps", "loss"), steps="steps")
    with pytest.raises(ValueError, match=r"records\.csv has no column for b \(it has steps, loss\)"):
        file.append([{"steps": 1, "loss": 2}, {"steps": 1, "b": 2}])
    assert not path.exists()


@pytest.mark.parametrize("columns", [(), ("epoch", "loss")])
def test_cutting_drops_later_rows_by_the_column_that_counts(path: Path, columns: tuple[str, ...]) -> None:
    file = RecordFile(path, columns, steps="epoch")
    file.cut_after(0)
    assert not path.exists()
    file.append([{"epoch": epoch, "loss": 0.0} for epoch in (10, 20, 30)])
    RecordFile(path, columns, steps="epoch").cut_after(20)
    assert path.read_text().splitlines() == ["epoch,loss", "10,0.0", "20,0.0"]
    RecordFile(path, columns, steps="epoch").cut_after(0)
    RecordFile(path, columns, steps="epoch").append([{"epoch": 5, "loss": 1.0}])
    assert path.read_text().splitlines() == ["epoch,loss", "5,1.0"]


def test_an_empty_file_left_by_a_crash_is_begun_anew(path: Path) -> None:
    path.touch()
    file = RecordFile(path, steps="steps")
    file.cut_after(3)
    file.append([{"steps": 1}])
    assert path.read_text().splitlines() == ["steps", "1"]

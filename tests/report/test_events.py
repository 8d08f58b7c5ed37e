"""What happened to the trials of a task is told beside its table, and nothing where nothing did."""

from pathlib import Path

from ardae_rl.experiment.events import CRASHED, EventLog
from ardae_rl.report.events import events_page
from ardae_rl.run.folder import RunFolder


def test_what_happened_is_a_file_of_its_own(tmp_path: Path) -> None:
    experiment = {"name": "digits"}
    assert events_page(experiment, tmp_path) == {}
    EventLog(RunFolder(tmp_path)).add("seed=1", CRASHED, steps=2400, cause="the machine | went away")
    text = events_page(experiment, tmp_path)["events.md"]
    assert text.startswith("# digits\n\n## What happened") and "| steps |" in text
    assert "| seed=1 | crashed | 2,400 |" in text and "went away |" in text

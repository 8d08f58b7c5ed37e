"""The record of what happened to trials, on a disk that is full for a while and after a kill."""

import json
from pathlib import Path

from ardae_rl.experiment.events import CRASHED, EVENTS, FAILED, EventLog, restarts
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.ray_internals import STORAGE_MARKER
from tests.run.test_disk import room_for


def test_restarts_are_counted_for_each_trial_over_all_starts(tmp_path: Path) -> None:
    assert restarts(tmp_path)["a"] == 0
    for trial, event in (("a", CRASHED), ("b", CRASHED), ("a", CRASHED), ("a", FAILED)):
        EventLog(RunFolder(tmp_path)).add(trial, event, steps=10, cause="the actor died")
    assert restarts(tmp_path) == {"a": 2, "b": 1}
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"time": "2026-01-01T')
    assert restarts(tmp_path) == {"a": 2, "b": 1}


def test_an_event_of_a_folder_that_is_away_is_written_once_it_is_back(tmp_path: Path) -> None:
    log = EventLog(RunFolder(tmp_path, experiment=tmp_path))
    log.add("a", CRASHED, steps=10, cause="the share is gone")
    log.flush()
    assert not (tmp_path / EVENTS).exists()
    (tmp_path / STORAGE_MARKER).touch()
    log.flush()
    log.flush()
    assert restarts(tmp_path) == {"a": 1}


def test_an_event_after_a_half_written_line_is_on_a_line_of_its_own(tmp_path: Path) -> None:
    EventLog(RunFolder(tmp_path)).add("a", CRASHED, steps=10, cause="the actor died")
    (tmp_path / EVENTS).write_text((tmp_path / EVENTS).read_text() + '{"time": "2026')
    EventLog(RunFolder(tmp_path)).add("a", CRASHED, steps=20, cause="the actor died")
    (tmp_path / EVENTS).write_text(
        (tmp_path / EVENTS).read_text() + '{"time": "", "trial": "a", "event": "crashed", "steps": "x", "cause": ""}'
    )
    assert restarts(tmp_path) == {"a": 2}


def test_an_event_that_finds_no_room_is_written_with_the_next(tmp_path: Path) -> None:
    log = EventLog(RunFolder(tmp_path))
    with room_for(20):
        log.add("a", CRASHED, steps=10, cause="the disk is full")
    log.add("a", FAILED, steps=20, cause="again")
    events = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert [(event["event"], event["steps"], event["cause"]) for event in events] == [
        (CRASHED, 10, "the disk is full"),
        (FAILED, 20, "again"),
    ]

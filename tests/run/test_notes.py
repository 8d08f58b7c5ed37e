"""Warnings of trials reach the console in order, and never harm the trial that warns."""

import logging
from pathlib import Path

import pytest

from ardae_rl.run import notes
from ardae_rl.run.notes import collect_notes, pass_warnings_on

LOGGER = logging.getLogger("ardae_rl.run.test")


@pytest.mark.usefixtures("local_ray")
def test_notes_come_in_the_order_of_the_warnings_and_once(tmp_path: Path) -> None:
    texts = [f"note {number}" for number in range(30)]
    pass_warnings_on(tmp_path / "seed=0")
    for text in texts:
        LOGGER.warning(text)
    assert collect_notes(tmp_path) == [("seed=0", text) for text in texts]
    assert collect_notes(tmp_path) == []


def test_a_warning_while_the_store_is_away_does_not_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(key: str, text: str, *, namespace: str) -> None:
        raise RuntimeError("failed to connect to GCS")

    monkeypatch.setattr(notes, "put_text", away)
    pass_warnings_on(tmp_path / "seed=0")
    LOGGER.warning("the disk is full")

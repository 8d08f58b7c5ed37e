"""What a run shows: one line per report in a log file, a table on a terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ardae_rl.experiment.control import RETURNS
from ardae_rl.experiment.display import Display, Row, console_of, duration
from tests.run.test_disk import room_for


def row(name: str, steps: int, *, status: str = "PENDING", steps_per_s: float = 0.0, **watched: float) -> Row:
    """``watched``: "return_" (a keyword of Python) and "evaluation"."""
    named = {heading.removesuffix("_"): value for heading, value in watched.items()}
    return Row(name=name, total_steps=8000, steps=steps, status=status, steps_per_s=steps_per_s, watched=named)


def test_a_report_is_one_line_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=40)
    with Display(console, RETURNS) as display:
        display.show(row("seed=0", 2000, status="RUNNING", return_=-812.34, steps_per_s=60.0))
        display.refresh([("seed=0", "RUNNING")])
    assert console.file.getvalue() == (  # type: ignore[attr-defined]
        "seed=0  2,000/8,000 env steps  return -812.3  evaluation -  60.0 steps/s  ETA 1:40\n"
    )


def test_the_last_return_stays_until_another_episode_ends() -> None:
    console = Console(file=io.StringIO())
    display = Display(console, RETURNS)
    for episode_return in (float("nan"), -900.0, float("nan"), -800.0):
        display.show(row("seed=0", 100, return_=episode_return))
    shown = [line.split("  ")[2] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert shown == ["return -", "return -900.0", "return -900.0", "return -800.0"]


def test_a_terminal_shows_every_trial_with_its_current_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.experiment.display.REFRESH_PERIOD_S", 0.0)
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with Display(console, RETURNS) as display:
        display.expect([row("seed=0", 0), row("seed=1", 0)])
        display.show(row("seed=0", 8000, status="RUNNING", evaluation=-150.0, steps_per_s=50.0))
        display.refresh([("seed=0", "TERMINATED"), ("seed=1", "RUNNING")])
        display.note("seed=1: a note")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "│ seed=0 │ finished │ 8,000/8,000 │ -      │ -150.0     │ 50.0" in text
    assert "│ seed=1 │ running  │ 0/8,000" in text
    assert "seed=1: a note" in text


def test_of_more_trials_than_fit_on_the_screen_the_running_ones_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.experiment.display.REFRESH_PERIOD_S", 0.0)
    console = Console(file=io.StringIO(), width=120, height=12, force_terminal=True, color_system=None)
    statuses = {f"seed={seed}": "TERMINATED" if seed < 20 else "RUNNING" if seed < 22 else "PENDING" for seed in range(40)}
    with Display(console, RETURNS) as display:
        display.expect(row(name, 0) for name in statuses)
        display.refresh(statuses.items())
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
    shown = [line.split()[1] for line in drawn.splitlines() if line.startswith("│ seed=")]
    assert shown == ["seed=20", "seed=21", "seed=22", "seed=23"]
    assert "40 trials: 20 finished, 2 running, 18 pending" in drawn


def test_output_that_finds_no_room_ends_nothing() -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
    with Display(console_of(full), RETURNS) as display:
        display.show(row("seed=0", 2000, status="RUNNING", return_=-812.34, steps_per_s=60.0))
        display.note("x" * 100_000)
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_output_goes_on_where_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "output.txt"
    with path.open("w") as file:
        console = console_of(file)
        with room_for(100):
            console.print("before")
            console.print("x" * 1000, soft_wrap=True)
        console.print("after")
    lines = path.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after"


def test_only_trials_still_to_run_have_time_left() -> None:
    assert [row("x", 3000, status=status).remaining_steps for status in ("PENDING", "RUNNING", "TERMINATED", "ERROR")] == [
        5000,
        5000,
        0,
        0,
    ]
    assert row("x", 9000, status="RUNNING").remaining_steps == 0


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_durations_read_as_clocks(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_return_yet_is_a_dash() -> None:
    assert (RETURNS.number(float("nan")), RETURNS.number(-0.25)) == ("-", "-0.2")

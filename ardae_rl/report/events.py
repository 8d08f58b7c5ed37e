"""What happened to the trials of experiments: crashes, failures and warnings, as ``scripts/tune.py`` noted them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ardae_rl.experiment.events import read_events
from ardae_rl.report.page import Section, to_markdown


def events_section(experiments: Sequence[tuple[Path, dict[str, Any]]], steps: str) -> Section:
    """``steps``: what the trials count."""
    rows = [
        {
            "experiment": experiment["name"],
            "time (UTC)": str(event["time"])[:19].replace("T", " "),
            "trial": event["trial"],
            "what": event["event"],
            steps: f"{event['steps']:,}",
            "cause": event["cause"],
        }
        for folder, experiment in experiments
        for event in read_events(folder)
    ]
    text = "Crashed: the trial started again, from its last checkpoint if it had one. Failed: it did not. Warning: it went on, or waited."
    return Section("What happened", text, pd.DataFrame(rows))


def events_page(experiment: dict[str, Any], folder: Path) -> dict[str, str]:
    """``events.md`` of an experiment of a task, where anything happened."""
    section = events_section([(folder, experiment)], "steps")
    return {"events.md": to_markdown(experiment["name"], [section])} if section.has_something() else {}

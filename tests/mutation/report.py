"""What a run of the mutation check gave: a summary with its provenance, the survivors with their diffs, and a line per mutant."""

import csv
import json
from collections import Counter
from pathlib import Path

from ardae_rl.run.provenance import provenance
from tests.mutation.mutants import Mutant, harmless
from tests.mutation.run import DEAD, KILLED, SURVIVED, TIMEOUT, Result

GOAL = 0.95


def write(results: list[Result], folder: Path) -> bool:
    """``summary.json``, ``survivors.md`` and ``mutants.csv``; whether enough were killed."""
    reasons = {r["mutant"]: _reason(r) for r in results if r["outcome"] not in DEAD}
    summary = _summary(results, reasons)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "survivors.md").write_text(_survivors(results, reasons))
    _write_csv(results, folder / "mutants.csv")
    print(json.dumps({key: value for key, value in summary.items() if key != "provenance"}, indent=1))
    return summary["killed_share"] >= GOAL


def _reason(result: Result) -> str:
    """Why this survivor is harmless; nothing where no reason is written for just this change."""
    entry = harmless().get(Mutant.parse(result["mutant"]))
    return entry["reason"] if entry and result["outcome"] == SURVIVED and _becomes(result) == entry["becomes"] else ""


def _becomes(result: Result) -> str:
    lines = result["diff"].splitlines()
    return " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))


def _summary(results: list[Result], reasons: dict[str, str]) -> Result:
    count = Counter(result["outcome"] for result in results)
    excused = sum(bool(reason) for reason in reasons.values())
    dead = count[KILLED] + count[TIMEOUT]
    return {
        "mutants": len(results),
        **count,
        "harmless": excused,
        "killed_share": round(dead / max(len(results) - excused, 1), 4),
        "killed_share_of_all": round(dead / max(len(results), 1), 4),
        "seconds_of_all_workers": round(sum(result["seconds"] for result in results)),
        "provenance": provenance(),
    }


def _survivors(results: list[Result], reasons: dict[str, str]) -> str:
    alive = [result for result in results if result["outcome"] not in DEAD]
    parts = [f"## {r['mutant']}\n\n{reasons[r['mutant']] or r['outcome'] + ', no reason'}\n\n```diff\n{_change(r)}\n```\n" for r in alive]
    return "\n".join(["# Mutants that no test killed\n", *parts])


def _change(result: Result) -> str:
    return "\n".join(line for line in result["diff"].splitlines()[3:])


def _write_csv(results: list[Result], path: Path) -> None:
    fields = ["mutant", "outcome", "seconds", "killer"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)

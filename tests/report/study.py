"""Folders as ``scripts/tune.py`` leaves them, made with the code that writes records, of returns that a test chooses."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ardae_rl.rllib.evaluation import evaluation_row
from ardae_rl.rllib.settings import EvaluationSettings, TrainingSettings
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.records import RecordFile
from ardae_rl.sac import JacobianClampingConfig, SACConfig, ScoreConfig
from ardae_rl.tasks.registry import TASKS

EVERY = 1000
CLAMPED = SACConfig(jacobian_clamping=JacobianClampingConfig(), alpha=0.05)
SAC, SAC_NF, PLUS = SACConfig(policy="gaussian"), SACConfig(policy="flow"), CLAMPED
PAPERS = dataclasses.replace(CLAMPED, score=ScoreConfig(standardisation="fixed"))
UNCLAMPED = dataclasses.replace(PAPERS, jacobian_clamping=None)


def write_experiment(
    root: Path,
    name: str,
    env: str,
    sac: SACConfig,
    curves: Mapping[int, Sequence[float]],
    *,
    stop: int | dict[str, float] | None = None,
    every: int = EVERY,
    **more: Any,
) -> Path:
    """One experiment without a grid: ``curves`` holds the evaluations of each seed, one ``every`` so many steps up to ``stop``."""
    folder = root / name
    for seed, curve in curves.items():
        write_trial(folder / f"seed={seed}", env, sac, seed, curve, every)
    limits = stop if isinstance(stop, dict) else {"env_steps": stop or every * max(map(len, curves.values()))}
    record = {"name": name, "run": "SAC-AR-DAE", "env": env, "seeds": list(curves), "stop": limits, "grid_search": {}, **more}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(record))
    (folder / "provenance.jsonl").write_text(
        json.dumps({"command": "python scripts/tune.py <x>.yaml", "git_commit": "0123456789abcdef"}) + "\n"
    )
    return folder


def write_trial(folder: Path, env: str, sac: SACConfig, seed: int, curve: Sequence[float], every: int = EVERY) -> None:
    """Episodes at both sides of each evaluation's mean."""
    folder.mkdir(parents=True)
    settings = TrainingSettings(sac=sac, evaluation=EvaluationSettings(every_env_steps=every))
    (folder / "params.json").write_text(json.dumps({"env": env, "settings": dataclasses.asdict(settings), "seed": seed}))
    records = [
        {"env_steps": every * number, "num_updates": 0, "returns": [mean - 1.5, mean, mean + 1.5]} for number, mean in enumerate(curve, 1)
    ]
    RecordFile(RunFolder(folder), "evaluations.csv", steps="env_steps").append(
        [{"seed": seed, **evaluation_row(record)} for record in records]
    )


def write_task_trial(folder: Path, run: str, chosen: Any, seed: int, evaluated: Sequence[int] = (2, 4)) -> Any:
    """What a trial of a task leaves behind that evaluates after so many steps; the task."""
    task: Any = TASKS[run].task()(chosen, seed=seed)  # type: ignore[call-arg]
    rows = []
    for before, steps in zip((0, *evaluated), evaluated, strict=False):
        for _ in range(steps - before):
            task.step()
        rows.append({"seed": seed, "steps": steps, "seconds": steps / 10, **task.evaluate()})
    (folder / "figures").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "evaluations.csv", index=False)
    (folder / "params.json").write_text(json.dumps({"run": run, "settings": dataclasses.asdict(chosen), "seed": seed}))
    return task


def write_task_record(root: Path, run: str, chosen: Any, grid: Mapping[str, Any], seeds: int = 2) -> Path:
    """The experiment's own files, beside its trials."""
    experiment = {"name": "tiny", "run": run, "seeds": seeds, "config": dataclasses.asdict(chosen), "grid_search": dict(grid)}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    (root / "provenance.jsonl").write_text("{}\n")
    return root

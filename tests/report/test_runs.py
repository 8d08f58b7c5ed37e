"""What is read from the folders of a study, and what is said of those that are missing, unfinished or damaged."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.report.common_steps import at_common_steps
from ardae_rl.report.records import read_experiment
from ardae_rl.report.runs import read_runs
from ardae_rl.sac import SACConfig
from tests.report.study import PAPERS, PLUS, SAC, SAC_NF, write_experiment, write_trial

RISING = [1.0, 2.0, 4.0, 3.0]


def read(*folders: Path) -> tuple[pd.DataFrame, list[str]]:
    rows, problems = read_runs([(folder, read_experiment(folder)) for folder in folders])
    return rows, [str(problem) for problem in problems]


def test_every_evaluation_of_every_run_is_read_under_its_methods_name(tmp_path: Path) -> None:
    folders = [write_experiment(tmp_path, name, "Hopper-v5", sac, {0: RISING, 5: [7.0] * 4}) for name, sac in (("a", PLUS), ("b", SAC))]
    rows, problems = read(*folders)
    assert not problems
    assert rows.groupby(["env", "method", "seed"], sort=False).size().to_dict() == {
        ("Hopper-v5", method, seed): 4 for method in ("SAC", "SAC-AR-DAE plus") for seed in (0, 5)
    }
    assert list(dict.fromkeys(rows["method"])) == ["SAC", "SAC-AR-DAE plus"], "baselines first"
    assert rows[(rows["method"] == "SAC") & (rows["seed"] == 0)]["return_mean"].tolist() == RISING
    assert rows["env_steps"].tolist() == [1000, 2000, 3000, 4000] * 4


def test_a_policy_without_a_name_is_shown_by_its_own_key(tmp_path: Path) -> None:
    """Records of a later version, or of a policy that was added without a name, must not come under another method."""
    folder = write_experiment(tmp_path, "a", "Hopper-v5", PLUS, {0: RISING, 1: RISING})
    path = folder / "seed=1" / "params.json"
    params = json.loads(path.read_text())
    params["settings"]["sac"]["policy"] = "mixture"
    path.write_text(json.dumps(params))
    rows, problems = read(folder)
    assert not problems and list(dict.fromkeys(rows["method"])) == ["SAC-AR-DAE plus", "mixture"], "after the known ones"


def test_methods_that_would_share_a_name_are_told_apart_alike_on_every_environment(tmp_path: Path) -> None:
    folders = [
        write_experiment(tmp_path, f"{name}{variant}", env, PAPERS, {0: RISING})
        for name, env in (("ant", "Ant-v5"), ("hopper", "Hopper-v5"))
        for variant in ("", "_released")
    ]
    rows, _ = read(*folders)
    assert rows.groupby("env")["method"].unique().map(sorted).to_dict() == {
        env: ["SAC-AR-DAE", "SAC-AR-DAE (released)"] for env in ("Ant-v5", "Hopper-v5")
    }


def test_the_points_of_a_grid_are_methods_of_their_own(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"sac.alpha": [0.1, 0.2], "sac.policy": ["gaussian", "flow"]}
    folder = write_experiment(tmp_path, "grid", "Hopper-v5", SAC, {}, stop=4000, seeds=1, grid_search=grid)
    for policy in ("gaussian", "flow"):
        for alpha in (0.1, 0.2):
            write_trial(folder / f"{alpha}_{policy}", "Hopper-v5", SACConfig(policy=policy, alpha=alpha), 0, RISING)
    rows, problems = read(folder)
    assert not problems
    assert list(dict.fromkeys(rows["method"])) == [
        f"{name} (alpha={alpha}_policy={policy})" for name, policy in (("SAC", "gaussian"), ("SAC-NF", "flow")) for alpha in (0.1, 0.2)
    ]


def damaged(path: Path, how: str) -> None:
    text = path.read_text()
    lines = text.splitlines()
    changed = {
        "cut in a number": text[:-40],
        "empty": "",
        "binary": "\0\x01" * 40,
        "another table": "a,b\n1,2\n",
        "an infinite step": text.replace(f",{lines[2].split(',')[1]},", ",inf,"),
        "a wrong mean": text.replace(lines[2].split(",")[3], "77.0"),
    }
    path.write_text(changed[how])


@pytest.mark.parametrize("how", ["cut in a number", "empty", "binary", "another table", "an infinite step", "a wrong mean"])
def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path: Path, how: str) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING, 1: RISING})
    damaged(folder / "seed=1" / "evaluations.csv", how)
    rows, problems = read(folder)
    assert rows["seed"].tolist() == [0] * 4
    assert len(problems) == 1 and problems[0].startswith(f"{folder / 'seed=1'}: ") and problems[0].endswith(": left out")


def test_missing_and_unfinished_runs_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING, 1: RISING[:3], 2: RISING, 3: RISING}, seeds=6)
    (folder / "seed=2" / "evaluations.csv").unlink()
    (folder / "seed=3" / "params.json").write_text("{")
    rows, problems = read(folder)
    assert rows["seed"].tolist() == [0] * 4
    assert problems[:2] == [
        f"{folder / 'seed=1'}: evaluated up to 3,000 of 4,000 env steps: left out",
        f"{folder / 'seed=2'}: no evaluations.csv yet: left out",
    ]
    assert problems[2].startswith(f"{folder / 'seed=3'}: ")
    assert problems[3] == f"{folder}: 2 of 6 trials have not started: left out"


def test_a_run_that_ended_early_because_it_reached_its_goal_is_finished(tmp_path: Path) -> None:
    stop = {"env_steps": 9000, "evaluation_return_mean": 4.0}
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING, 1: [1.0, 3.9]})
    record = yaml.safe_load((folder / "experiment.yaml").read_text())
    (folder / "experiment.yaml").write_text(yaml.safe_dump({**record, "stop": stop}))
    rows, problems = read(folder)
    assert set(rows["seed"]) == {0} and len(problems) == 1


def test_an_evaluation_without_a_mean_is_left_out_for_all_runs_of_its_environment(tmp_path: Path) -> None:
    """The mean of what is left of a run, or of an evaluation, would show a better policy."""
    folders = [
        write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: [1.0, math.nan, 4.0, 3.0], 1: [math.nan] * 4}),
        write_experiment(tmp_path, "b", "Hopper-v5", PLUS, {0: RISING}),
    ]
    rows, problems = read(*folders)
    marked, uneven = at_common_steps(rows)
    assert rows.groupby("method")["return_mean"].apply(list).to_dict() == {"SAC": [1.0, 4.0, 3.0], "SAC-AR-DAE plus": RISING}
    assert marked[marked["compared"]].groupby("method")["env_steps"].apply(list).tolist() == [[1000, 3000, 4000]] * 2 and len(uneven) == 1
    assert problems == [
        f"{folders[0] / f'seed={seed}'}: {lost} of 4 evaluations have no mean, as not all returns are finite: left out"
        for seed, lost in ((0, 1), (1, 4))
    ]


def test_a_mean_of_survivors_is_no_mean(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING, 1: RISING})
    path = folder / "seed=1" / "evaluations.csv"
    path.write_text(path.read_text().replace("0.5 2 3.5", "nan 2 2"))
    rows, problems = read(folder)
    assert (
        set(rows["seed"]) == {0} and "line 3 of evaluations.csv is damaged: its return_mean is not the mean of its returns" in problems[0]
    )


def test_records_of_before_episodes_were_counted_are_read(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING})
    path = folder / "seed=0" / "evaluations.csv"
    pd.read_csv(path).drop(columns=["failed_episodes"]).to_csv(path, index=False)
    rows, problems = read(folder)
    assert rows["return_mean"].tolist() == RISING and not problems


def test_a_seed_counts_once(tmp_path: Path) -> None:
    folders = [write_experiment(tmp_path / place, "a", "Hopper-v5", SAC, {0: RISING, seed: RISING}) for place, seed in (("x", 1), ("y", 2))]
    rows, problems = read(*folders)
    assert rows.groupby("seed").size().to_dict() == {0: 4, 1: 4, 2: 4}
    assert len(problems) == 1 and "seed 0: a second run of SAC on Hopper-v5 with this seed: left out" in problems[0]


def test_a_damaged_experiment_does_not_stop_the_others(tmp_path: Path) -> None:
    good = write_experiment(tmp_path, "good", "Hopper-v5", SAC, {0: RISING})
    bad = write_experiment(tmp_path, "bad", "Hopper-v5", SAC_NF, {0: RISING})
    (bad / "experiment.yaml").write_text(yaml.safe_dump({"name": "bad", "run": "SAC-AR-DAE", "seeds": 1}))
    rows, problems = read(good, bad)
    assert set(rows["method"]) == {"SAC"}
    assert len(problems) >= 1 and all("left out" in problem for problem in problems)


def test_with_nothing_finished_there_is_no_report(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING[:1], 1: RISING[:2]}, stop=9000)
    with pytest.raises(InvalidExperimentError, match=r"evaluated up to 1,000 of 9,000 env steps(.|\n)*evaluated up to 2,000"):
        read(folder)


def test_settings_of_an_older_version_are_named(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: RISING, 1: RISING})
    path = folder / "seed=1" / "params.json"
    params = json.loads(path.read_text())
    del params["settings"]["sac"]["policy"]
    path.write_text(json.dumps(params))
    assert read(folder)[1] == [f"{folder / 'seed=1'}: has no 'policy' in params.json: left out"]


def test_a_trial_in_another_environment_than_the_experiments_is_left_out(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "hopper", "Hopper-v5", PAPERS, {0: [10, 20], 1: [30, 40]})
    path = folder / "seed=1" / "params.json"
    path.write_text(path.read_text().replace("Hopper-v5", "Ant-v5"))
    assert read(folder)[1] == [f"{folder / 'seed=1'}: its environment is Ant-v5, and Hopper-v5 that of the experiment: left out"]

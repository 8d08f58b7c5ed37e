"""``scripts/tune.py`` as a user runs it: exit codes, where messages go, that mistakes write nothing and print no traceback."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from ardae_rl.experiment.preflight import LOCK, RECORD
from benchmark.processes import TUNE
from tests.experiment.test_preflight import started

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def tune(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "scripts/tune.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def refused(*arguments: object) -> str:
    """The message of a run that must end with exit code 2 before it starts."""
    done = tune(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    return done.stderr


def test_mistakes_in_file_and_options_end_with_code_2_and_write_nothing(write: Write, tmp_path: Path) -> None:
    path = write("config: {sac: {alfa: 1, tau: x}}")
    results = tmp_path / "results"
    message = refused(path, "--storage-path", results, "--set", "seed=3")
    assert message == (
        "3 errors:\n"
        f"{path}:5: config.sac.alfa: unknown key; did you mean 'alpha'?\n"
        f"{path}:5: config.sac.tau: must be a number, got the text 'x'\n"
        "--set seed=3: seed: unknown key; did you mean 'seeds'?\n"
    )
    assert not results.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "env=CartPole-v1"], "env: CartPole-v1 acts in Discrete(2)"),
        (["--set", "env=Pendulum-v9"], "Nearest ids: Pendulum-v1"),
        (["--resume"], "Error: --resume: there is no experiment in"),
        (["--storage-path", "/dev/null/results"], "/dev/null is not a directory"),
        (["--smoke", "--resume"], "a smoke run always starts anew"),
        (["--address", "ray://127.0.0.1:1"], "a Ray Client connection cannot follow a run"),
        (["--seed", "3"], "No such option"),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(write: Write, tmp_path: Path, options: list[str], message: str) -> None:
    results = tmp_path / "results"
    assert message in refused(write(), "--storage-path", results, *options)
    assert not results.exists()


def test_more_than_this_machine_has_is_refused_before_anything_is_written(write: Write, tmp_path: Path) -> None:
    results = tmp_path / "results"
    many = ["--set", "config.env_runners.num_env_runners=1", "--set", "config.env_runners.num_cpus_per_env_runner=1000"]
    message = refused(write(), "--storage-path", results, *many)
    assert message.startswith("Error: resources: a trial can never start: one of its processes needs 1000 CPU on one machine")
    assert not results.exists()


def test_a_dry_run_of_what_cannot_start_says_so_and_touches_nothing(write: Write, tmp_path: Path) -> None:
    path, lock = write(), tmp_path / "tiny" / LOCK
    started(tmp_path / "tiny")
    lock.write_text("process 1 on somewhere")
    many = ["--set", "config.env_runners.num_env_runners=1000", "--set", "name=other"]
    done = tune(path, "--dry-run", "--storage-path", tmp_path, *many)
    assert done.returncode == 2 and done.stderr.startswith("Error: a trial can never start there: it needs 1001 CPU in all")
    assert not (tmp_path / "other").exists()
    assert "there is an experiment in" in refused(path, "--dry-run", "--storage-path", tmp_path)
    assert lock.read_text() == "process 1 on somewhere"


def test_without_a_home_or_temporary_folder_there_is_one_line(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom this machine does not know, as containers have them."""
    (tmp_path / "sitecustomize.py").write_text("import pwd\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("HOME")
    (line,) = refused(write(), "--dry-run").splitlines()
    assert line == "Error: HOME, TMPDIR: Could not determine home directory; set both to folders that this user can write to"
    no_files = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (0, 0))
    command, home = [sys.executable, "scripts/tune.py", str(write()), "--dry-run"], {"HOME": "/", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | home, preexec_fn=no_files, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "Error: HOME, TMPDIR: No usable temporary directory found" in done.stderr


def test_a_soak_starts_from_any_folder(tmp_path: Path) -> None:
    assert Path(TUNE).is_absolute() and Path(TUNE).is_file()
    done = subprocess.run([sys.executable, TUNE, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_a_run_has_the_cores_that_its_process_may_use(write: Write, tmp_path: Path) -> None:
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "scripts/tune.py", str(write()), "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert " on 1 CPU, " in done.stdout.splitlines()[-1], done.stderr


def test_a_folder_too_deep_for_rays_sockets_is_refused(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 60)))
    message = refused(write(), "--storage-path", tmp_path / "results")
    assert message.startswith("Error: RAY_TMPDIR: Ray cannot be started on this machine: ")
    assert message.endswith("set RAY_TMPDIR to a shorter path, such as /tmp\n") and not (tmp_path / "results").exists()


def test_a_dry_run_prints_the_complete_experiment_and_the_resources_and_writes_nothing(write: Write, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = tune(write(), "--dry-run", "--storage-path", results, "--seeds", "0,7", "--set", "config.sac.actor_lr=1e-5")
    assert done.returncode == 0, done.stderr
    text, _, plan = done.stdout.partition("\n\n")
    experiment = yaml.safe_load(text)
    assert experiment["config"]["sac"]["actor_lr"] == 1e-5
    assert experiment["config"]["sac"]["score"]["samples_per_context"] == 4  # a default the file does not mention
    assert (experiment["seeds"], experiment["storage_path"]) == ([0, 7], str(results))
    first, second, total = plan.splitlines()
    assert (first, second) == ("seed=0: 1 CPU", "seed=7: 1 CPU")
    assert total.startswith("2 trials, ") and " at a time on " in total
    assert not results.exists()


def test_a_dry_run_of_a_task_prints_its_settings_and_every_trial_and_writes_nothing(write: Write, tmp_path: Path) -> None:
    results = tmp_path / "results"
    path = write("name: tiny\nrun: score_error\ngrid_search: {lr: [1e-3, 1e-4]}", base="")
    done = tune(path, "--dry-run", "--storage-path", results, "--seeds", "2", "--set", "resources.cpus_per_trial=0.5")
    assert done.returncode == 0, done.stderr
    text, _, plan = done.stdout.partition("\n\n")
    assert yaml.safe_load(text)["config"]["evaluate_every_steps"] > 0  # a default the file does not mention
    names = [f"lr={lr}_seed={seed}: 0.5 CPU" for lr in (0.001, 0.0001) for seed in (0, 1)]
    assert plan.splitlines()[:-1] == names
    assert plan.splitlines()[-1].startswith("4 trials, ")
    assert not results.exists()


def test_auto_resume_starts_what_is_not_there_and_continues_what_is(write: Write, tmp_path: Path) -> None:
    path, options = write(), ["--storage-path", tmp_path, "--auto-resume", "--dry-run"]
    begun = tune(path, *options)
    assert begun.returncode == 0 and "1 trial, " in begun.stdout, begun.stderr
    started(tmp_path / "tiny")
    (tmp_path / "tiny" / RECORD).write_text(begun.stdout.partition("\n\n")[0])
    assert tune(path, *options).returncode == 0
    assert "--resume: seeds: was 1 when " in refused(path, *options, "--seeds", "7,8"), "as --resume would, it minds what has changed"
    assert "a smoke run always starts anew" in refused(path, "--auto-resume", "--smoke")

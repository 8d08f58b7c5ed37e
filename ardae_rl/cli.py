"""The command line. ``scripts/`` holds one thin file per entry."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment, to_yaml

INVALID = 2
PLAIN_WIDTH = 140


def tune(
    config: Annotated[Path, typer.Argument(help="the experiment, such as tune_configs/quickstart.yaml", metavar="CONFIG.yaml")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="override one value of the file: config.sac.alpha=0.2 (repeatable)", metavar="KEY=VALUE"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="how many seeds (5), or which (0,3,7)")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="try the file for a minute or two: full-size networks, few steps, one seed")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the complete configuration and what each trial asks for; write nothing")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue an interrupted or crashed experiment from its last checkpoints")
    ] = False,
    address: Annotated[str | None, typer.Option(help="the Ray cluster to use (default: RAY_ADDRESS, else this machine)")] = None,
    storage_path: Annotated[Path | None, typer.Option(help="where results go; on a cluster a folder every node mounts")] = None,
) -> None:
    """Train the experiment described by CONFIG.yaml on Ray."""
    try:
        if smoke and resume:
            raise typer.BadParameter(
                "a smoke run always starts anew; leave out --smoke to resume the experiment itself", param_hint="--resume"
            )
        experiment = load_experiment(config, assignments=assignments or (), seeds=seeds, storage_path=storage_path, smoke=smoke)
        code = _tune(experiment, config, dry_run=dry_run, resume=resume, address=address)
    except InvalidExperimentError as error:
        typer.echo(f"Error: {error}" if len(error.problems) == 1 else f"{len(error.problems)} errors:\n{error}", err=True)
        code = INVALID
    except KeyboardInterrupt:
        typer.echo("\nStopped at once. Add --resume to continue from the checkpoints there are.", err=True)
        code = 130
    raise typer.Exit(code)


def _tune(experiment: Experiment, config: Path, *, dry_run: bool, resume: bool, address: str | None) -> int:
    from ardae_rl.experiment.preflight import check_folder

    experiment.check(str(config))
    check_folder(experiment, resume=resume, source=str(config))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if dry_run:
        _print_plan(experiment, address, console)
        return 0
    from ardae_rl.experiment.launch import run

    return run(experiment, resume=resume, address=address, command=_resume_command(), console=console)


def _print_plan(experiment: Experiment, address: str | None, console: Console) -> None:
    from ardae_rl.experiment.launch import available_resources, cluster, cluster_address, footprints, local_resources
    from ardae_rl.experiment.plan import concurrent_trials, trial_assignments, trial_name

    typer.echo(to_yaml(experiment))
    asked = footprints(experiment)
    for assignment, footprint in zip(trial_assignments(experiment), asked, strict=True):
        typer.echo(f"{trial_name(assignment)}: {footprint}")
    available = local_resources()
    if cluster_address(address):
        with cluster(address):
            available = available_resources()
    at_once = concurrent_trials(asked, available, experiment.resources.max_concurrent_trials)
    typer.echo(f"{len(asked)} trials, {at_once} at a time on {available.get('CPU', 0):g} CPU, {available.get('GPU', 0):g} GPU")


def _resume_command() -> str:
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    return shlex.join([Path(sys.executable).name, os.path.relpath(sys.argv[0]), *arguments, "--resume"])


def report(
    folder: Annotated[Path, typer.Argument(help="the folder of an experiment, such as runs/score_error", metavar="RESULTS")],
    output: Annotated[Path | None, typer.Option(help="where tables and figures go (default: results/NAME)")] = None,
) -> None:
    """Write the tables and figures of an experiment."""
    from ardae_rl.report import score_error
    from ardae_rl.report.records import read_experiment

    try:
        experiment = read_experiment(folder)
        if experiment["run"] != "score_error":
            message = f"its run is {experiment['run']!r}; reports are made of: score_error. Its curves are in {folder}/*/evaluations.csv"
            raise InvalidExperimentError([Problem(str(folder), "", message)])
        for path in score_error.write(experiment, folder, output or Path("results") / experiment["name"]):
            typer.echo(path)
    except (InvalidExperimentError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(INVALID) from None

"""The command line. ``scripts/`` holds one thin file per entry."""

import logging
import math
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ardae_rl.experiment.cluster import cluster_to_join, keep_to_this_machine
from ardae_rl.experiment.display import console_of
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.options import RunOptions
from ardae_rl.experiment.preflight import check_folder, has_run
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.yaml_file import Document

if TYPE_CHECKING:
    from ardae_rl.sac.export import TrainedPolicy

INVALID = 2
PICKLE_NOTE = "Checkpoints are read by pickle, which can run code: go on only with checkpoints you trust (docs/security.md)"


def tune(
    configs: Annotated[
        list[Path],
        typer.Argument(
            help="the experiment, such as tune_configs/quickstart.yaml; several, or a folder of them: a sweep", metavar="CONFIG.yaml..."
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="override one value of the file: config.sac.alpha=0.2 (repeatable)", metavar="KEY=VALUE"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="how many seeds (5), or which (0,3,7)")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="try the file for a minute: full-size networks, few steps, one seed")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the configuration and the trials; write nothing")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="continue what was interrupted or crashed, from its checkpoints")] = False,
    auto_resume: Annotated[bool, typer.Option("--auto-resume", help="--resume if something is there to continue, else start")] = False,
    address: Annotated[
        str | None, typer.Option(help="the Ray cluster to use: auto, or HOST:6379 (default: RAY_ADDRESS, else this machine)")
    ] = None,
    autoscaling: Annotated[
        bool, typer.Option("--autoscaling", help="the cluster starts machines on demand: wait for them where a trial has no room now")
    ] = False,
    storage_path: Annotated[str | None, typer.Option(help="where results go; on a cluster a folder every node mounts")] = None,
) -> None:
    """Train the experiment described by CONFIG.yaml on Ray; several of them side by side, as one sweep."""
    if smoke and (resume or auto_resume):
        raise typer.BadParameter("a smoke run always starts anew; leave out --smoke to resume the experiment itself", param_hint="--resume")
    documents: dict[str, Document] = {}
    with _exit_codes(documents):
        _check_folders()
        if cluster_to_join(address) is None:
            keep_to_this_machine()
        given: dict[str, Any] = {"assignments": assignments or (), "seeds": seeds, "storage_path": storage_path, "smoke": smoke}
        experiments = _loaded(_files(configs), partial(load_experiment, **given, documents=documents))
        resume = resume or (auto_resume and any(has_run(experiment.folder) for experiment in experiments.values()))
        options = RunOptions(
            resume=resume, address=address, may_grow=autoscaling, command=_resume_command(), console=console_of(sys.stdout)
        )
        if len(experiments) > 1:
            code = _sweep(experiments, _options(assignments or (), seeds, storage_path, smoke, autoscaling), options, dry_run=dry_run)
        else:
            code = _tune(*experiments.popitem(), options, dry_run=dry_run)
    raise typer.Exit(code)


@contextmanager
def _exit_codes(documents: Mapping[str, Document] = MappingProxyType({})) -> Iterator[None]:
    """Mistakes in files and on the command line, and Ctrl-C, end the program with a message and a code of their own.

    One that was found in one of ``documents`` as a whole is said to be where its key was written.
    """
    try:
        yield
    except InvalidExperimentError as error:
        lines = [
            str(replace(problem, where=documents[problem.where].place(problem.key)) if problem.where in documents else problem)
            for problem in error.problems
        ]
        typer.echo("\n".join(["Error: " + lines[0]] if len(lines) == 1 else [f"{len(lines)} errors:", *lines]), err=True)
        raise typer.Exit(INVALID) from None
    except KeyboardInterrupt:
        typer.echo("\nStopped at once. Add --resume to continue from the checkpoints there are.", err=True)
        raise typer.Exit(130) from None


def _check_folders() -> None:
    """Of home and temporary files, which libraries take for granted when they are imported."""
    try:
        Path.home(), tempfile.gettempdir()
    except (RuntimeError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        problem = Problem("HOME, TMPDIR", "", f"{reason}; set both to folders that this user can write to")
        raise InvalidExperimentError([problem]) from None


def _files(configs: list[Path]) -> list[Path]:
    """The files themselves, and those of the folders among them."""
    files = [file for config in configs for file in (sorted(config.glob("*.yaml")) if config.is_dir() else [config])]
    if not files:
        raise InvalidExperimentError([Problem(", ".join(map(str, configs)), "", "there is no *.yaml file in it")])
    return list(dict.fromkeys(files))


def _loaded(files: list[Path], load: Callable[[Path], Experiment]) -> dict[Path, Experiment]:
    """The experiment in each file. Raises InvalidExperimentError with the mistakes of all of them."""
    experiments: dict[Path, Experiment] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            experiments[file] = load(file)
        except InvalidExperimentError as error:
            problems += error.problems
    if problems:
        raise InvalidExperimentError(problems)
    return experiments


def _options(assignments: Sequence[str], seeds: str | None, storage_path: str | None, smoke: bool, autoscaling: bool) -> list[str]:
    """What the driver of each experiment of a sweep is told on its command line."""
    options = [option for assignment in assignments for option in ("--set", assignment)]
    options += ["--seeds", seeds] if seeds is not None else []
    options += ["--storage-path", storage_path] if storage_path is not None else []
    options += ["--smoke"] if smoke else []
    return options + (["--autoscaling"] if autoscaling else [])


def _sweep(experiments: dict[Path, Experiment], arguments: list[str], options: RunOptions, *, dry_run: bool) -> int:
    from ardae_rl.experiment import sweep

    here = cluster_to_join(options.address) is None
    sweep.check(experiments, resume=options.resume, here=here, dry_run=dry_run)
    if dry_run:
        return max(_print_plan(experiment, options.address) for experiment in experiments.values())
    drivers = []
    for config, experiment in experiments.items():
        again = ["--resume"] if options.resume and has_run(experiment.folder) else []
        drivers.append(sweep.Driver(experiment, [sys.executable, sys.argv[0], str(config), *arguments, *again]))
    code = sweep.run(drivers, options)
    folders = [os.path.relpath(experiment.folder) for experiment in experiments.values()]
    typer.echo(f"Report:      {shlex.join([_python(), 'scripts/report.py', *folders])}")
    return code


def _tune(config: Path, experiment: Experiment, options: RunOptions, *, dry_run: bool) -> int:
    experiment.check(str(config), here=cluster_to_join(options.address) is None)
    check_folder(experiment, resume=options.resume, source=str(config), dry_run=dry_run)
    if dry_run:
        return _print_plan(experiment, options.address)
    from ardae_rl.experiment.launch import run

    return run(experiment, options)


def _print_plan(experiment: Experiment, address: str | None) -> int:
    """What would be run; the exit code: whether it can."""
    from ardae_rl.experiment.cluster import cluster, cluster_address, cluster_nodes, footprints, local_nodes, obstacle
    from ardae_rl.experiment.plan import concurrent_trials, trial_assignments, trial_name

    typer.echo(to_yaml(experiment))
    asked = footprints(experiment)
    for assignment, footprint in zip(trial_assignments(experiment), asked, strict=True):
        typer.echo(f"{trial_name(assignment)}: {footprint}")
    nodes = local_nodes()
    if cluster_address(address):
        with cluster(address):
            nodes = cluster_nodes()
    at_once = concurrent_trials(asked, nodes, experiment.resources.max_concurrent_trials)
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    trials, machines = (f"{count} {what}{'s' * (count != 1)}" for count, what in ((len(asked), "trial"), (len(nodes), "machine")))
    typer.echo(f"{trials}, {at_once} at a time on {cpus:g} CPU, {gpus:g} GPU of {machines}")
    reason = obstacle(experiment, nodes)
    if reason:
        typer.echo(f"Error: a trial can never start there: {reason}", err=True)
    return INVALID if reason else 0


def _resume_command() -> str:
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--resume", "--auto-resume")]
    return shlex.join([_python(), os.path.relpath(sys.argv[0]), *arguments, "--resume"])


def _python() -> str:
    """What to type for the interpreter that runs this: its name where a shell finds it by that, else its path from here."""
    name = Path(sys.executable).name
    return name if shutil.which(name) == sys.executable else os.path.relpath(sys.executable)


def report(
    folders: Annotated[
        list[Path], typer.Argument(help="folders of experiments, such as runs/score_error; those of SAC are compared", metavar="RESULTS...")
    ],
    output: Annotated[
        Path | None, typer.Option(help="where tables and figures go (default: reports/NAME of the experiment; of several, reports/study)")
    ] = None,
) -> None:
    """Write the tables and figures of experiments.

    What is damaged, and of SAC what is missing or unfinished, is named and left out; the exit code is then 1, and 2 where nothing is left
    to report. Tables of tasks say how many seeds each row has.
    """
    from ardae_rl.report.reports import write_reports

    once = list({folder.resolve(): folder for folder in folders}.values())
    written, problems = write_reports(once, output, before_pickles=_warn_of_pickles)
    for path in written:
        typer.echo(path)
    for problem in problems:
        typer.echo(f"{'Warning' if written else 'Error'}: {problem}", err=True)
    raise typer.Exit(0 if not problems else 1 if written else INVALID)


def _warn_of_pickles(folders: Sequence[Path]) -> None:
    if folders:
        typer.echo(f"Note: the goals are those of checkpoints in {', '.join(map(str, folders))}. {PICKLE_NOTE}", err=True)


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="a checkpoint folder, or a policy that --export wrote (policy.safetensors)", metavar="CHECKPOINT")
    ],
    episodes: Annotated[int, typer.Option(min=0, help="how many for each seed; 0 to export only")] = 10,
    seeds: Annotated[str, typer.Option(help="how many seeds (5), or which (0,3,7)")] = "1",
    stochastic: Annotated[bool, typer.Option("--stochastic", help="draw the policy's noise instead of setting it to 0")] = False,
    max_episode_steps: Annotated[
        int | None, typer.Option(min=1, help="of an episode without a time limit of the environment's (default: as in training)")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="record the first episode", metavar="FILE.mp4|FILE.gif")] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the policy's weights, and a description beside them", metavar="POLICY.safetensors")
    ] = None,
) -> None:
    """Run the policy in CHECKPOINT in its environment: returns of whole episodes, mean and standard deviation."""
    from ardae_rl.rllib.evaluation import FILM_SUFFIXES, RenderingError, choose_renderer

    _check_suffix(video, FILM_SUFFIXES, "--video")
    _check_suffix(export, (".safetensors",), "--export")
    chosen = _seed_list(seeds)
    with _exit_codes():
        _check_folders()
    choose_renderer()
    try:
        policy = _trained_policy(checkpoint)
        if export:
            from ardae_rl.sac.export import save_policy

            typer.echo(f"Exported: {export}, {save_policy(policy, export)}")
        if episodes:
            _evaluate(policy, episodes, chosen, stochastic, max_episode_steps, video)
    except (OSError, ValueError, RenderingError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(INVALID) from None


def _check_suffix(path: Path | None, suffixes: tuple[str, ...], option: str) -> None:
    if path is not None and path.suffix not in suffixes:
        raise typer.BadParameter(f"must end in {' or '.join(suffixes)}, got {path}", param_hint=option)


def _seed_list(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if min(seeds) < 0 or seeds == [0] or len(set(seeds)) < len(seeds):
        raise typer.BadParameter(f"must be a number of seeds (5) or different seeds (0,3,7), got {text!r}", param_hint="--seeds")
    return seeds if "," in text else list(range(seeds[0]))


def _trained_policy(path: Path) -> "TrainedPolicy":
    if path.suffix == ".safetensors":
        from ardae_rl.sac.export import load_policy

        return load_policy(path)
    from ardae_rl.rllib.checkpoint import read_policy

    typer.echo(f"Note: {path} is a checkpoint. {PICKLE_NOTE}", err=True)
    logging.getLogger("ray").setLevel(logging.ERROR)  # RLlib warns of its own deprecations
    return read_policy(path)


def _evaluate(
    policy: "TrainedPolicy", episodes: int, seeds: list[int], stochastic: bool, max_episode_steps: int | None, video: Path | None
) -> None:
    from ardae_rl.rllib.evaluation import evaluate

    trained, noise = policy.description, "with noise" if stochastic else "zero noise"
    typer.echo(
        f"{trained.env} after {trained.env_steps:,} environment steps, {noise}, {episodes} episodes per seed, mean ± std over episodes"
    )
    returns = evaluate(
        policy, episodes=episodes, seeds=seeds, deterministic=not stochastic, max_episode_steps=max_episode_steps, film=video
    )
    for seed, values in returns.items():
        typer.echo(f"seed {seed}: {_mean_and_std(values)}")
    if len(returns) > 1:
        typer.echo(f"all:    {_mean_and_std([value for values in returns.values() for value in values])}")
    if video:
        typer.echo(f"Video:  {video}")


def _mean_and_std(values: list[float]) -> str:
    """Standard deviation over episodes, and the range; of those with a finite return, where others have none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return f"none of {len(values)} episodes has a finite return"
    spread = f" ± {statistics.stdev(finite):.1f}" if len(finite) > 1 else ""
    failed = f"; {len(values) - len(finite)} of {len(values)} have no finite return" if len(finite) < len(values) else ""
    return f"{statistics.fmean(finite):.1f}{spread}, from {min(finite):.1f} to {max(finite):.1f}{failed}"

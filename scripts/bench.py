"""Measure the project's claims about speed and accuracy, each beside its baseline. See ``python scripts/bench.py --help``."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmark/ is no part of what is installed
from benchmark import report


def _writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before measuring for minutes."""
    if path is not None and path.exists():
        if not os.access(path, os.W_OK):
            raise typer.BadParameter(f"cannot write {path}: no permission. Name a file of yours.")
    elif path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.unlink()
        except OSError as error:
            raise typer.BadParameter(f"cannot write {path}: {error.strerror}. Name a file in a folder of yours.") from error
    return path


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise typer.BadParameter(f"must be a new folder, and {folder} is there already", param_hint="FOLDER")


app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write rows and provenance to this file.", dir_okay=False, callback=_writable)
]
Repeats = Annotated[int, typer.Option(min=1, help="How often each contender has its turn; the median counts.")]
CONFIGS = Path(__file__).parents[1] / "tune_configs"
CORES = len(os.sched_getaffinity(0))


@app.command()
def rl(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Environment steps per second on HalfCheetah-v5, one update per step: ours, RLlib's SAC, Stable-Baselines3's (bench extra)."""
    from benchmark import rl

    if importlib.util.find_spec("stable_baselines3") is None:
        rich.print("[red]Stable-Baselines3 is not installed here.[/red] It comes with the bench extra: make .venv/.installed-bench")
        raise typer.Exit(2)
    threads = sorted({1, CORES})
    _finish("SAC on HalfCheetah-v5", rl.run(repeats=repeats, seed=0, threads=threads), json, seeds=range(repeats), threads=threads)


@app.command()
def update(json: JsonFile = None, repeats: Repeats = 3, threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1) -> None:
    """Seconds per update at HalfCheetah's sizes: plain SAC, SAC-AR-DAE by default and with the paper's settings, and written naively."""
    from benchmark import update

    rows = update.run(repeats=repeats, seed=0, threads=threads)
    _finish("One update", rows, json, seeds=range(repeats), threads=[threads])


@app.command()
def bandit(
    json: JsonFile = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each bandit.")] = 3,
    steps: Annotated[int, typer.Option(min=8, help="Steps of the policy.")] = 3000,
    whole_range: Annotated[bool, typer.Option(help="Other bandits, step sizes, temperatures and numbers of samples, too.")] = False,
) -> None:
    """How near SAC-AR-DAE comes to a soft-optimal policy that is known, and whether it runs away or collapses; one thread."""
    from benchmark import bandit

    cases = bandit.DEFAULTS + (bandit.RANGE if whole_range else [])
    rows = bandit.table(cases, seeds=range(seeds), steps=steps)
    _finish("Bandits with a known optimum", rows, json, seeds=range(seeds), threads=[1])


@app.command()
def score(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Error of the estimated score and log-density on a Gaussian sampler: this project's coordinates against the paper's fixed scale."""
    from benchmark import score

    rows = score.run(seeds=range(repeats), threads=CORES)
    _finish("AR-DAE on a state-conditional Gaussian sampler", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def energy(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Seconds per step of fitting an implicit sampler to an energy at the paper's settings, against the same written naively."""
    from benchmark import energy

    rows = energy.run(repeats=repeats, seed=0, threads=CORES)
    _finish("Fitting an energy", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def vae(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Seconds per training step of an implicit autoencoder at the paper's MNIST settings and per image for log p(x), against naive ones."""
    from benchmark import vae

    rows = vae.run(repeats=repeats, seed=0, threads=CORES)
    _finish("An implicit autoencoder", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def settings(
    json: JsonFile = None,
    configs: Annotated[
        Path, typer.Option(help="The folder of the study's files.", file_okay=False, exists=True, show_default="tune_configs")
    ] = CONFIGS,
    device: Annotated[str, typer.Option(help="cpu, or cuda on a machine with a GPU.")] = "cpu",
    updates: Annotated[int, typer.Option(min=1, help="Updates to time, after three that are not.")] = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="Run the score's loss through torch.compile.")] = False,
) -> None:
    """Seconds per full-size update for each of the paper's six environments, and the days that its 3 million would take."""
    import torch

    from ardae_rl.experiment.problems import InvalidExperimentError
    from benchmark import settings

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise typer.BadParameter(f"must be cpu, or cuda where torch finds a GPU, got {device!r}", param_hint="--device")
    threads = 1 if device != "cpu" else CORES
    try:
        rows = settings.run(configs, names=settings.NAMES, updates=updates, device=device, compiled=compiled, seed=0, threads=threads)
    except InvalidExperimentError as error:
        raise typer.BadParameter(str(error), param_hint="--configs") from None
    _finish(f"SAC-AR-DAE at the paper's settings on {device}", rows, json, seeds=[0], threads=[threads])


@app.command()
def soak(
    folder: Annotated[Path, typer.Argument(help="Where the run, soak.csv and soak.png go; a new folder.", file_okay=False)],
    minutes: Annotated[float, typer.Option(min=0.5, help="How long to train.")] = 60.0,
) -> None:
    """Memory, open files and throughput of a small training run over time, and what is left of it after SIGTERM (bench extra)."""
    from benchmark import soak

    _check_new(folder)
    try:
        watched = soak.run(folder, minutes=minutes)
    except RuntimeError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    soak.save(watched, folder)
    files = watched.file_slopes()
    for role, slope in watched.memory_slopes().items():
        rich.print(f"{role:<12}{slope:+8.1f} MB and {files[role]:+6.1f} open files per hour after the warm-up")
    rich.print(f"Env steps per second, last quarter over second: {watched.throughput_ratio():.2f}. Curves: {folder}/soak.png")
    for miss in watched.misses():
        print(f"Missed: {miss}")
    raise typer.Exit(bool(watched.misses()))


@app.command()
def scaling(
    folder: Annotated[Path, typer.Argument(help="Where records, scaling.csv and scaling.png go; a new folder.", file_okay=False)],
    trials: Annotated[str, typer.Option(help="How many at once, one sweep each.")] = "1,4,16,64",
    reports: Annotated[int, typer.Option(min=2, help="Of each trial; a last sweep has five times as many.")] = 20,
) -> None:
    """CPU time and memory that trials cost driver and cluster besides their own work, on four Ray nodes of this machine (bench extra)."""
    from benchmark import scaling

    counts = _counts(trials, "--trials")
    if len(set(counts)) < max(2, len(counts)):
        raise typer.BadParameter(f"must be two or more different numbers, got {trials!r}: costs are slopes", param_hint="--trials")
    _check_new(folder)
    longer = (sorted(counts)[len(counts) // 2], 5 * reports)
    sweeps = scaling.run(folder, [*((count, reports) for count in counts), longer])
    scaling.save(sweeps, folder)
    for role in ("driver", "head", "nodes"):
        cost = scaling.costs(sweeps, role)
        each = f"{cost.sweep_s:8.2f} s a sweep, {1e3 * cost.trial_s:8.1f} ms a trial, {1e3 * cost.report_s:8.2f} ms a report"
        rich.print(f"CPU of {role:<8}{each}")
    rich.print(f"Curves: {folder}/scaling.png")


@app.command()
def runners(
    json: JsonFile = None,
    repeats: Repeats = 3,
    counts: Annotated[str, typer.Option(help="Env runners; 0 samples in the collecting process.")] = "0,1,2,4,8",
    vector_envs: Annotated[str, typer.Option(help="Environments of each.")] = "1,8,32",
    env_steps: Annotated[int, typer.Option(min=100, help="To time, each.")] = 4000,
    updates_per_env_step: Annotated[float, typer.Option(min=0.0, help="Of plain SAC, while env runners sample on.")] = 0.0,
) -> None:
    """Environment steps per second on HalfCheetah-v5 against env runners and vectorised environments."""
    from benchmark import runners

    numbers = {"runners": _counts(counts, "--counts", least=0), "vector_envs": _counts(vector_envs, "--vector-envs")}
    rows = runners.run(**numbers, repeats=repeats, env_steps=env_steps, updates_per_env_step=updates_per_env_step)
    _finish("Sampling on HalfCheetah-v5", rows, json, seeds=range(repeats), threads=[CORES])


def _counts(text: str, option: str, *, least: int = 1) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < least:
        raise typer.BadParameter(f"must be whole numbers from {least} on with commas between them, got {text!r}", param_hint=option)
    return counts


def _finish(title: str, rows: Sequence[report.Row], json: Path | None, *, seeds: Sequence[int], threads: Sequence[int]) -> None:
    rich.print(report.table(title, rows))
    if json is not None:
        report.save(json, rows, seeds=seeds, torch_threads=threads)
        rich.print(f"Rows and provenance: {json}")


if __name__ == "__main__":
    app()

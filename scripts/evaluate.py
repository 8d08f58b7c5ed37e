"""Run a trained policy, film it, export it: ``python scripts/evaluate.py runs/quickstart/seed=0/checkpoint_000004``."""

import typer

from ardae_rl.cli import evaluate

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(evaluate)
    app()

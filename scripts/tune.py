"""Train the experiment described by a YAML file on Ray: ``python scripts/tune.py tune_configs/quickstart.yaml``."""

import typer

from ardae_rl.cli import tune

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(tune)
    app()

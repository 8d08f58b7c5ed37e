"""Tables and figures of experiments: ``python scripts/report.py runs/score_error``."""

import typer

from ardae_rl.cli import report

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(report)
    app()

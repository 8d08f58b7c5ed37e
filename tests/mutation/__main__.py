"""The mutation check of the score library, the samplers and SAC. See ``tests/mutation/README.md``."""

import re
from pathlib import Path
from typing import Annotated

import typer

from tests.mutation import mutants, report, run

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.command("list")
def write_list() -> None:
    """Write the list anew, from the code as it stands."""
    chosen = mutants.sample(mutants.all_mutants(run.ROOT))
    mutants.write_list(chosen)
    print(f"{len(chosen)} mutants of {len({mutant.symbol for mutant in chosen})} symbols: {mutants.LIST.relative_to(run.ROOT)}")


@app.command("run")
def try_mutants(
    folder: Annotated[Path, typer.Option(help="Results and report; a second call goes on there.")] = run.ROOT / "reports/mutation",
    only: Annotated[str, typer.Option(help="Try only the lines of the list in which this regular expression is found.")] = "",
) -> None:
    """Try the listed mutants and write the report. Exits with 1 where fewer than 95% are killed or the list does not fit the code."""
    chosen = [mutant for mutant in mutants.listed() if re.search(only, str(mutant))]
    unknown = {*chosen, *mutants.harmless()} - mutants.all_mutants(run.ROOT).keys()
    if unknown:
        raise SystemExit(
            f"{len(unknown)} mutants of mutants.txt or harmless.yaml are not in the code, the first is {min(unknown)}. "
            "Write the list anew (python -m tests.mutation list) and mend harmless.yaml by hand."
        )
    if not report.write(run.run(chosen, folder), folder):
        raise typer.Exit(1)


app()

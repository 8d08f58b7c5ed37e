"""What a report has to show, put into a folder."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

Tables = dict[str, pd.DataFrame | str]
Figures = dict[str, Figure]


def write(tables: Mapping[str, pd.DataFrame | str], figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Each under its name: data as CSV, text as it is, figures as their suffix says. The files written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if isinstance(table, str):
            (folder / name).write_text(table, encoding="utf-8")
        else:
            table.to_csv(folder / name, index=False)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=150)
    return [folder / name for name in (*tables, *figures)]

"""A report as Markdown, and as one HTML page that needs no other file."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

_STYLE = """
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.75rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
img { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #181818; } th, td { border-color: #444; }
}
"""


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and below it a table (of texts), a PNG picture by file name, or a list of lines; left out without them."""

    title: str
    text: str
    table: pd.DataFrame | None = None
    picture: str | None = None
    lines: Sequence[str] = ()

    def has_something(self) -> bool:
        return bool(self.picture or self.lines or (self.table is not None and len(self.table)))


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Pictures are links to the files beside it."""
    blocks = [f"# {title}"]
    for section in filter(Section.has_something, sections):
        blocks += [f"## {section.title}", section.text]
        if section.table is not None:
            rows = [list(section.table), ["---"] * len(section.table.columns), *section.table.to_numpy().tolist()]
            blocks.append("\n".join(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows))
        if section.picture:
            blocks.append(f"![{section.title}]({section.picture})")
        if section.lines:
            blocks.append("\n".join(f"- {line}" for line in section.lines))
    return "\n\n".join(blocks) + "\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def to_html(title: str, sections: Sequence[Section], folder: Path) -> str:
    """Pictures are read from ``folder`` and put into the page."""
    body = "\n".join(_section(section, folder) for section in filter(Section.has_something, sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{body}
</body>
</html>
"""


def _section(section: Section, folder: Path) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>", f"<p>{html.escape(section.text)}</p>"]
    if section.table is not None:
        parts.append(f'<div class="table">{section.table.to_html(index=False, border=0)}</div>')
    if section.picture:
        data = base64.b64encode((folder / section.picture).read_bytes()).decode("ascii")
        parts.append(f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(section.title)}"></p>')
    if section.lines:
        parts.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in section.lines) + "</ul>")
    return "\n".join(parts)

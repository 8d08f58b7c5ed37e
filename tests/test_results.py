"""Every record that is kept loads, says everything, and has a line in the index; no page links to what is not there."""

import re
from pathlib import Path

import pytest

from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.preflight import RECORD
from ardae_rl.experiment.record import SCHEMA
from ardae_rl.experiment.schema import to_yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
RECORDS = sorted(RESULTS.rglob(RECORD))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), RESULTS / "README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: str(path.parent.relative_to(RESULTS)))
def test_a_record_loads_states_its_version_and_says_everything(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"schema: {SCHEMA}\n")
    assert to_yaml(load_experiment(path)) == text


def test_every_experiment_that_was_run_has_its_record() -> None:
    assert len(RECORDS) > 40
    ran = {path.parent for path in RESULTS.rglob("provenance.jsonl")}
    assert ran <= {path.parent for path in RECORDS}


def test_every_folder_of_results_is_in_the_index() -> None:
    index = (RESULTS / "README.md").read_text(encoding="utf-8")
    folders = [path.name for path in RESULTS.iterdir() if path.is_dir()]
    assert [name for name in folders if f"`{name}/`" not in index] == []
    named = set(re.findall(r"`(\w+)/`", index))
    assert named <= {*folders, "results"}, "the index names a folder that is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_only_to_what_there_is(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not leads_somewhere(page, link)]
    assert dead == []


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether file and heading of a link within the repository are there."""
    if "://" in link or link.startswith("mailto:"):
        return True
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

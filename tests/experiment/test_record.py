"""A file that states its schema is a record: complete, of this code's version, or refused with the way on."""

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from ardae_rl.cli import report
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.preflight import PROVENANCE, RECORD, check_folder
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.record import SCHEMA, missing_keys
from ardae_rl.experiment.schema import as_record, to_yaml
from tests.experiment.conftest import Write
from tests.experiment.test_load import mistakes
from tests.experiment.test_preflight import started

CLAMPING = {"eta": 0.2, "xi": 0.01, "nu": 1.1, "perturbations": 10, "weight_max": 1e5}


@pytest.fixture
def record(write: Write) -> dict[str, Any]:
    """A complete one, with a section among the values of its grid."""
    return as_record(load_experiment(write("grid_search: {sac.jacobian_clamping: [null, {eta: 0.2}], sac.tau: [1, 0.5]}")))


def stored(record: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


def test_a_record_begins_with_its_version_and_reads_back_as_itself(record: dict[str, Any], tmp_path: Path) -> None:
    text = yaml.safe_dump(record, sort_keys=False, default_flow_style=None, width=120)
    path = tmp_path / "copy.yaml"
    path.write_text(text)
    assert text.startswith(f"schema: {SCHEMA}\nname: tiny\n")
    assert to_yaml(load_experiment(path)) == text


def test_sections_within_a_grid_are_recorded_with_every_default(record: dict[str, Any]) -> None:
    assert record["grid_search"] == {"sac.jacobian_clamping": [None, CLAMPING], "sac.tau": [1.0, 0.5]}


@pytest.mark.parametrize("key", ["seeds", "resources", "config.sac.tau", "config.replay", "stop.evaluation_return_mean"])
def test_a_key_that_a_record_lacks_is_named_where_a_file_without_version_gets_the_default(
    record: dict[str, Any], tmp_path: Path, key: str
) -> None:
    *sections, leaf = key.split(".")
    inner = record
    for section in sections:
        inner = inner[section]
    del inner[leaf]
    (message,) = mistakes(stored(record, tmp_path / "copy.yaml"))
    assert f": {key}: is missing from a file that states its schema" in message
    del record["schema"]
    load_experiment(stored(record, tmp_path / "copy.yaml"))


def test_a_section_of_a_grid_that_lacks_a_key_is_refused(record: dict[str, Any], tmp_path: Path) -> None:
    del record["grid_search"]["sac.jacobian_clamping"][1]["nu"]
    (message,) = mistakes(stored(record, tmp_path / "copy.yaml"))
    assert ": grid_search.sac.jacobian_clamping.nu: is missing" in message


def test_a_key_that_is_missing_may_come_from_the_command_line_or_from_a_file_on_top(record: dict[str, Any], tmp_path: Path) -> None:
    del record["seeds"]
    path = stored(record, tmp_path / "copy.yaml")
    assert load_experiment(path, seeds="3").seeds == 3
    above = stored({"base": path.name, "seeds": 2}, tmp_path / "above.yaml")
    assert load_experiment(above).seeds == 2


@pytest.mark.parametrize("version", [0, 2, True, "1", 1.0, None, [1]])
def test_another_version_is_refused_in_one_line_that_says_how_to_go_on(record: dict[str, Any], tmp_path: Path, version: object) -> None:
    path = stored(record | {"schema": version, "config": {"unheard_of": 1}}, tmp_path / "copy.yaml")
    (message,) = mistakes(path)
    assert message.startswith(
        f"{path}:1: schema: is {version!r} and this code reads {SCHEMA}; go on with the code that wrote it (git checkout"
    )
    (message,) = mistakes(stored({"base": path.name}, tmp_path / "above.yaml"))
    assert message.startswith(f"{path}:1: schema: is {version!r} and")


def test_the_record_of_a_run_of_older_code_is_not_read_with_the_defaults_of_this_one(record: dict[str, Any], tmp_path: Path) -> None:
    del record["schema"]
    path = stored(record, tmp_path / RECORD)
    load_experiment(path)
    (tmp_path / PROVENANCE).touch()
    (message,) = mistakes(path)
    assert message.startswith(f"{path}: schema: is not stated, as in records of older code, and this code reads {SCHEMA}; go on with")


def test_a_run_goes_on_from_its_own_record_and_not_from_one_of_another_version(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write("grid_search: {sac.jacobian_clamping: [{eta: 0.2}]}"), storage_path=tmp_path)
    started(experiment.folder)
    record = experiment.folder / RECORD
    record.write_text(to_yaml(experiment))
    check_folder(experiment, resume=True, source="tiny.yaml")
    check_folder(load_experiment(record), resume=True, source=str(record))
    data = as_record(experiment)
    for version, what in ((2, "is 2 and this code"), (None, "is None and this code")):
        stored(data | {"schema": version}, record)
        with pytest.raises(InvalidExperimentError, match=f"^--resume: {record}: schema: {what} reads 1; go on with the code that wrote it"):
            check_folder(experiment, resume=True, source="tiny.yaml")
    stored({key: value for key, value in data.items() if key != "schema"}, record)
    with pytest.raises(InvalidExperimentError, match="schema: is not stated, as in records of older code, and this code reads 1; go on"):
        check_folder(experiment, resume=True, source="tiny.yaml")


def test_resuming_a_run_older_than_a_setting_says_where_to_write_what_it_did(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write(), storage_path=tmp_path)
    started(experiment.folder)
    data = as_record(experiment)
    del data["config"]["sac"]["tau"]
    record = stored(data, experiment.folder / RECORD)
    with pytest.raises(InvalidExperimentError, match=rf"^--resume: config\.sac\.tau: is 0\.005 now and not in {record}; leave it out; or"):
        check_folder(experiment, resume=True, source="tiny.yaml")


@pytest.mark.parametrize(("version", "read"), [(SCHEMA, True), (SCHEMA + 1, False), (None, True)])
def test_a_report_is_made_of_records_of_this_version_and_of_those_older_than_versions(
    write: Write, tmp_path: Path, version: int | None, read: bool
) -> None:
    data = as_record(load_experiment(write("name: tiny\nrun: score_error", base="")))
    folder = tmp_path / "tiny"
    folder.mkdir()
    stored({key: value for key, value in (data | {"schema": version}).items() if value is not None}, folder / RECORD)
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(folder), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert ("none of its trials has been evaluated yet" if read else "schema: is 2 and this code reads 1; go on with") in result.output


def test_missing_keys_are_those_of_sections_and_of_sections_in_lists() -> None:
    complete = {"a": {"b": 1, "c": None}, "d": [{"e": 1}, 2], "f": None}
    assert list(missing_keys(complete, complete)) == []
    assert list(missing_keys(complete, {"a": {"b": 2}, "d": [{}, 3]})) == ["a.c", "d.e", "f"]

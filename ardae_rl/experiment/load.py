"""From a YAML file and command-line options to one complete, valid :class:`.schema.Experiment`. The command line wins over the file."""

import copy
import dataclasses
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import yaml

from ardae_rl.experiment.kinds import parse
from ardae_rl.experiment.preflight import OUTPUT, PROVENANCE, RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.record import KEY, check_version
from ardae_rl.experiment.schema import Experiment, put
from ardae_rl.experiment.yaml_file import Document, parse_value, read_document


def load_experiment(
    path: Path,
    *,
    assignments: Sequence[str] = (),
    seeds: str | None = None,
    storage_path: Path | str | None = None,
    smoke: bool = False,
    documents: dict[str, Document] | None = None,
) -> Experiment:
    """The experiment in ``path`` with ``assignments`` ("dotted.key=value") applied in order, then ``seeds`` and ``storage_path``.

    ``seeds`` is a count ("5") or a list ("0,3,7"). Raises InvalidExperimentError with every mistake found in the file and the options.
    What was read is put into ``documents``, by its path.
    """
    document = read_document(path)
    if documents is not None:
        documents[str(path)] = document
    if KEY not in document.data and _is_record(path):
        check_version(document.data, str(path))
    problems = [problem for assignment in assignments for problem in _assign(document, assignment)]
    if seeds is not None:
        problems += _override(document, "seeds", f"[{seeds}]" if "," in seeds else seeds, f"--seeds {seeds}")
    if storage_path is not None:
        _write(document, "storage_path", str(storage_path), "--storage-path")
    experiment, found = parse(document)
    if problems or experiment is None:
        raise InvalidExperimentError([*problems, *found])
    return shortened(experiment) if smoke else experiment


def _is_record(path: Path) -> bool:
    """Whether a run wrote it, even one of older code, which stated no version: today's defaults are not what it ran with."""
    return path.name == RECORD and path.with_name(PROVENANCE).is_file()


def shortened(experiment: Experiment) -> Experiment:
    """A minute or two of it, as its kind of run says: the first grid point, one seed, an evaluation, a checkpoint.

    The name gains ``-smoke`` and the first number not yet used in the storage path.
    """
    name = _unused_name(experiment.storage_folder, f"{experiment.name}-smoke")
    return dataclasses.replace(experiment.smoke(), name=name, seeds=experiment.seed_list[:1], grid_search={})


def _unused_name(folder: Path, stem: str) -> str:
    return next(name for number in count(1) if not _is_run(folder / (name := f"{stem}-{number}")))


def _is_run(folder: Path) -> bool:
    """More than the output file that a sweep puts into the folder of an experiment it is about to start; False where it may not look."""
    try:
        return any(path.name != OUTPUT for path in folder.iterdir())
    except OSError:
        return False


def _assign(document: Document, assignment: str) -> list[Problem]:
    key, equals, text = assignment.partition("=")
    place = f"--set {assignment}"
    if not equals or not key.strip():
        return [Problem(place, "", "expected key=value, such as --set config.sac.alpha=0.2")]
    key = key.strip()
    path = key.removeprefix("config.")
    if path != key and path in _mapping(document.data.get("grid_search")):
        return [Problem(place, key, f"is varied by grid_search in {document.source}; narrow it with --set 'grid_search.{path}=[{text}]'")]
    return _override(document, key, text, place)


def _override(document: Document, key: str, text: str, place: str) -> list[Problem]:
    try:
        value = parse_value(text)
    except yaml.YAMLError as error:
        reason = f": {error.problem}" if isinstance(error, yaml.constructor.ConstructorError) else "; quote it if it is meant as text"
        return [Problem(place, key, f"{text!r} is not a YAML value{reason}")]
    _write(document, key, value, place)
    return []


def _write(document: Document, key: str, value: object, place: str) -> None:
    section, _, path = key.partition(".")
    if section == "grid_search" and path:  # its keys are dotted paths themselves, not nested sections
        document.data[section] = {**_mapping(document.data.get(section)), path: value}
    else:
        put(document.data, key, copy.deepcopy(value))
    document.places[key] = place
    while key := key.rpartition(".")[0]:
        document.places.setdefault(key, place)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}

"""Which report an experiment gets: those of continuous control one together, those of a task one each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import CONTROL_RUN
from ardae_rl.report import control
from ardae_rl.report.events import events_page
from ardae_rl.report.multi_goal import ENV
from ardae_rl.report.provenance import copied
from ardae_rl.report.records import read_evaluations, read_experiment
from ardae_rl.report.write import write
from ardae_rl.tasks.registry import TASKS

REPORTS = Path("reports")


def write_reports(
    folders: Sequence[Path], output: Path | None, *, before_pickles: Callable[[list[Path]], None]
) -> tuple[list[Path], list[Problem]]:
    """Files written, and what could not be. ``before_pickles`` is told of the folders whose checkpoints are about to be read."""
    written: list[Path] = []
    problems: list[Problem] = []
    of_control = []
    for folder in folders:
        with _noting(problems, str(folder)):
            experiment = read_experiment(folder)
            if experiment["run"] == CONTROL_RUN:
                of_control.append((folder, experiment))
                continue
            place = output if output and len(folders) == 1 else (output or REPORTS) / experiment["name"]
            files, damaged = write_task_report(experiment, folder, place)
            written, problems = written + files, problems + damaged
    if of_control:
        before_pickles([folder for folder, experiment in of_control if experiment.get("env") == ENV])
        names = [experiment["name"] for _, experiment in of_control]
        with _noting(problems, ", ".join(names)):
            files, left_out = control.write_report(of_control, output or REPORTS / (names[0] if len(names) == 1 else "study"))
            written, problems = written + files, problems + left_out
    return written, problems


@contextmanager
def _noting(problems: list[Problem], where: str) -> Iterator[None]:
    try:
        yield
    except InvalidExperimentError as error:
        problems += error.problems
    except OSError as error:
        problems.append(Problem(where, "", str(error)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a file that says less than it should, or other
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        problems.append(Problem(where, "", f"its records are incomplete or damaged, {what}: left out"))


def write_task_report(experiment: dict[str, Any], folder: Path, output: Path) -> tuple[list[Path], list[Problem]]:
    """The files written, and the trials that are damaged. Raises InvalidExperimentError where there is nothing to report.

    Of every task ``evaluations.csv``, all of them, what happened to the trials, the experiment's file and its provenance; the rest is what
    the task's own report has.
    """
    module = import_module(_report_of(experiment, folder))
    evaluations, damaged = read_evaluations(folder, experiment["grid_search"])
    tables, figures = module.contents(experiment, folder, evaluations)
    written = write({"evaluations.csv": evaluations, **tables}, figures, output)
    copies = [copied(folder / name, output) for name in (RECORD, PROVENANCE)]
    return [*filter(None, copies), *written, *write(events_page(experiment, folder), {}, output)], damaged


def _report_of(experiment: dict[str, Any], folder: Path) -> str:
    run, known = experiment["run"], {name: kind.report for name, kind in TASKS.items() if kind.report}
    if run not in known:
        message, whose = f"its run is {run!r}; reports are made of: {', '.join([CONTROL_RUN, *known])}", "Its"
    elif "steps" in experiment["grid_search"]:
        message, whose = "its grid is over steps, and a report compares trials of one length", "Their"
    else:
        return known[run]
    raise InvalidExperimentError([Problem(str(folder), "", f"{message}. {whose} curves are in {folder}/*/evaluations.csv")])

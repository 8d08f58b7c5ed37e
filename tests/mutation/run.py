"""Try mutants: each is written into a copy of the tree, and the tests that call its symbol run there until one fails.

A result is a line of JSON in ``FOLDER/results.jsonl``: the mutant, its outcome, seconds, the test that killed it, the diff.
A stopped run goes on where it stopped. Another state of ``ardae_rl`` starts anew; other tests alone try only the survivors again.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import Queue, get_context
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

from tests.mutation.mutants import HERE, OPERATORS, ROOMS, Mutant, Place, all_mutants, symbols

ROOT = HERE.parents[1]
WORKERS = 2
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "reports", "results", "runs")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore")
TESTS = [f"tests/{room}" for room in ROOMS if (ROOT / "tests" / room).is_dir()]
KILLED, TIMEOUT, SURVIVED, BROKEN = "killed", "timeout", "survived", "broken"
DEAD = (KILLED, TIMEOUT)
Result = dict[str, Any]
TestsOf = dict[str, list[tuple[str, float]]]  # of a symbol: names and seconds
cosmic_ray.plugins.OPERATOR_PROVIDERS["ardae"] = OPERATORS


def run(mutants: list[Mutant], folder: Path) -> list[Result]:
    """The results of ``mutants``, those of earlier calls included."""
    places, state = all_mutants(ROOT), _state()
    folder.mkdir(parents=True, exist_ok=True)
    done = _earlier(folder, state)
    with _copies() as copies:
        tests = _tests_of_symbols(copies[0], folder / f"calls-{state['code']}-{state['tests']}.json")
        for result in _tried([m for m in mutants if m not in done], places, tests, copies):
            done[Mutant.parse(result["mutant"])] = result
            _append(folder, result | state)
    return [done[mutant] for mutant in mutants]


def _tried(mutants: list[Mutant], places: dict[Mutant, Place], tests: TestsOf, copies: list[Path]) -> Iterator[Result]:
    context = get_context("spawn")
    free: Queue[Path] = context.Queue()
    for copy in copies:
        free.put(copy)
    with ProcessPoolExecutor(len(copies), context, _enter, (free,)) as pool:
        jobs = [pool.submit(_try, mutant, places[mutant], tests.get(mutant.symbol, [])) for mutant in mutants]
        for number, job in enumerate(as_completed(jobs), 1):
            print(f"{number}/{len(jobs)} {job.result()['outcome']} {job.result()['mutant']} ({job.result()['seconds']} s)", flush=True)
            yield job.result()


def _enter(free: "Queue[Path]") -> None:
    os.chdir(free.get())
    os.environ |= _environment(Path.cwd())


def _environment(copy: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}


def _try(mutant: Mutant, place: Place, tests: list[tuple[str, float]]) -> Result:
    start = time.monotonic()
    spec = MutationSpec(place.path.relative_to(ROOT), f"ardae/{mutant.operator}", place.occurrence, place.start, place.end)
    Path("tests.txt").write_text("\n".join(name for name, _ in tests))
    command = shlex.join([*PYTEST, "-x", "--tb=no", "@tests.txt"]) if tests else "true"
    done = mutate_and_test([spec], command, timeout=60 + 5 * sum(seconds for _, seconds in tests))
    if done.worker_outcome != WorkerOutcome.NORMAL:
        raise RuntimeError(f"cosmic-ray could not apply {mutant}: {done.output}")
    outcome, killer = _outcome(done.test_outcome, done.output or "")
    return {"mutant": str(mutant), "outcome": outcome, "seconds": round(time.monotonic() - start, 1), "killer": killer, "diff": done.diff}


def _outcome(tested: TestOutcome | None, output: str) -> tuple[str, str]:
    """pytest also fails without a failing test, when it crashes or does not find one: that is no kill."""
    if tested == TestOutcome.SURVIVED:
        return SURVIVED, ""
    if output == "timeout":
        return TIMEOUT, ""
    failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return (KILLED, failed[0]) if failed else (BROKEN, output[-2000:])


@contextmanager
def _copies() -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="mutation-") as above:
        copies = [Path(above) / str(worker) for worker in range(WORKERS)]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        yield copies


def _tests_of_symbols(copy: Path, record: Path) -> TestsOf:
    """For each symbol the tests that call it, the quickest first, then the others of their files."""
    if not record.exists():
        _record(copy, record)
    tests = json.loads(record.read_text())
    symbol_at = {f"{s.path.relative_to(ROOT)}:{line}": s.name for s in symbols(ROOT) for line in range(s.first, s.last + 1)}
    calling = defaultdict(set)
    for name, test in tests.items():
        for call in test["calls"]:
            calling[symbol_at.get(call)].add(name)
    return {symbol: _ordered(names, tests) for symbol, names in calling.items() if symbol}


def _ordered(calling: set[str], tests: Result) -> list[tuple[str, float]]:
    files = {name.split("::")[0] for name in calling}
    chosen = [(name not in calling, test["seconds"], name) for name, test in tests.items() if name.split("::")[0] in files]
    return [(name, seconds) for _, seconds, name in sorted(chosen)]


def _record(copy: Path, record: Path) -> None:
    """What each test calls, while all of them pass."""
    print("Recording which test calls what ...", flush=True)
    environment = os.environ | _environment(copy) | {"MUTATION_CALLS": str(record.resolve())}
    if subprocess.run([*PYTEST, "-p", "tests.mutation.calls", *TESTS], cwd=copy, env=environment, check=False).returncode != 0:
        record.unlink(missing_ok=True)
        raise SystemExit("The tests must pass before mutants are tried. Mend the failures above and start again.")


def _earlier(folder: Path, state: dict[str, str]) -> dict[Mutant, Result]:
    """Results that still hold: of this code, and where no test failed of these tests too."""
    file = folder / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    held = [r for r in results if r["code"] == state["code"] and (r["outcome"] in DEAD or r["tests"] == state["tests"])]
    return {Mutant.parse(result["mutant"]): result for result in held}


def _append(folder: Path, result: Result) -> None:
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")


def _state() -> dict[str, str]:
    """Digests of the library and of the tests."""
    tests = [path for path in (ROOT / "tests").rglob("*.py") if HERE not in path.parents]
    return {"code": _digest([*(ROOT / "ardae_rl").rglob("*.py")]), "tests": _digest(tests)}


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(f"{path.relative_to(ROOT)}".encode() + path.read_bytes() for path in sorted(files))).hexdigest()[:12]

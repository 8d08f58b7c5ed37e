"""A pytest plugin: which test calls which function of the rooms, and how long it takes. ``pytest -p tests.mutation.calls``.

Writes, as JSON, for each test its outcome, its seconds and its calls as ``path:line`` of the function's code object, to the file named by
``MUTATION_CALLS``. What runs while a fixture of a wider scope is set up counts for every test of the file.
"""

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.mutation.mutants import ROOMS

_FOLDERS = tuple(str(Path.cwd() / "ardae_rl" / room) + os.sep for room in ROOMS)
_tests: dict[str, dict[str, Any]] = {}
_of_file: dict[str, set[CodeType]] = defaultdict(set)
_calls: set[CodeType] = set()


def _note(frame: FrameType, event: str, argument: Any) -> None:
    if event == "call" and frame.f_code.co_filename.startswith(_FOLDERS):
        _calls.add(frame.f_code)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _calls.clear()
    start = time.perf_counter()
    sys.setprofile(_note)
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        _tests[item.nodeid] = {"seconds": time.perf_counter() - start, "calls": set(_calls)}


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[Any]:
    before = set(_calls)
    _calls.clear()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            _of_file[request.node.nodeid.split("::")[0]] |= _calls
        _calls.update(before)


def pytest_sessionfinish() -> None:
    tests = {name: test | {"calls": _places(test["calls"] | _of_file[name.split("::")[0]])} for name, test in _tests.items()}
    Path(os.environ["MUTATION_CALLS"]).write_text(json.dumps(tests))


def _places(codes: set[CodeType]) -> list[str]:
    return sorted({f"{Path(code.co_filename).relative_to(Path.cwd())}:{code.co_firstlineno}" for code in codes})

"""The mutation check itself: operators do what they say, names survive moves of files, the committed list fits the code."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cosmic_ray", reason="comes with the extra 'mutation'")

from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_item import TestOutcome as Tested

from tests.mutation import mutants, report, run
from tests.mutation.operators import OWN

CODE = "class A:\n    def f(self, x, k=2):\n        return x + k\n\n\ndef g(x):\n    return f'{x + 1}'\n"


def _tree(root: Path, **modules: str) -> dict[mutants.Mutant, mutants.Place]:
    for name, code in modules.items():
        path = root / "ardae_rl" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(code)
    return mutants.all_mutants(root)


@pytest.mark.parametrize("operator", OWN)
def test_each_operator_changes_what_its_examples_say(operator: Any) -> None:
    for example in operator.examples():
        assert mutate_code(example.pre_mutation_code, operator(), example.occurrence) == example.post_mutation_code


def test_names_of_mutants_survive_a_move_to_another_file_and_room(tmp_path: Path) -> None:
    before, after = _tree(tmp_path / "a", score__one=CODE), _tree(tmp_path / "b", sac__two="\n\ny = 3\n" + CODE)
    assert before.keys() == after.keys() != set()


def test_a_name_that_two_modules_define_is_told_apart(tmp_path: Path) -> None:
    code = "def f(x):\n    return -x\n"
    assert {mutant.symbol for mutant in _tree(tmp_path, score__one=code, sac__two=code)} == {"one:f", "two:f"}


def test_occurrences_count_within_their_symbol(tmp_path: Path) -> None:
    places = _tree(tmp_path, score__one="def f(x):\n    return x + 1\n\n\ndef g(x):\n    return x + x + 1\n")
    place = places[mutants.Mutant("ReplaceBinaryOperator_Add_Sub", "g", 1)]
    assert place.mutated("ReplaceBinaryOperator_Add_Sub").splitlines()[-1] == "    return x + x - 1"


def test_messages_and_defaults_are_left_alone(tmp_path: Path) -> None:
    operators = {(mutant.operator, mutant.symbol) for mutant in _tree(tmp_path, score__one=CODE)}
    assert operators == {("ReplaceBinaryOperator_Add_Sub", "A.f"), ("ReturnZero", "A.f")}


def test_what_no_result_shows_is_left_alone(tmp_path: Path) -> None:
    code = "def f(x):\n    return g(zip(x, x, strict=True), device=x, size=x).sum(-1) * -0.5 - x[-1]\n"
    places = _tree(tmp_path, score__one=code)
    lines = {place.mutated(mutant.operator).splitlines()[1] for mutant, place in places.items()}
    assert all("strict=True" in line and "device=x" in line for line in lines)
    assert sum(mutant.operator == "ReplaceUnaryOperator_USub_UAdd" for mutant in places) == 1


def test_the_sample_of_a_symbol_depends_on_that_symbol_alone(tmp_path: Path) -> None:
    few = mutants.sample(_tree(tmp_path / "a", score__one=CODE))
    more = mutants.sample(_tree(tmp_path / "b", score__one=CODE, score__two="def h(x):\n    return 2 * x - 1\n"))
    assert few == [mutant for mutant in more if mutant.symbol != "h"] != more


def test_the_list_fits_the_code_and_excuses_only_what_it_holds() -> None:
    listed = mutants.listed()
    assert len(set(listed)) == len(listed) > 0
    assert set(listed) <= mutants.all_mutants(run.ROOT).keys(), "run: python -m tests.mutation list"
    assert mutants.harmless().keys() <= set(listed)
    assert all(entry["reason"].strip() for entry in mutants.harmless().values())


@pytest.mark.parametrize(
    ("tested", "output", "outcome"),
    [
        (Tested.SURVIVED, "3 passed", (run.SURVIVED, "")),
        (Tested.KILLED, "timeout", (run.TIMEOUT, "")),
        (Tested.KILLED, "FAILED tests/a.py::test_b - AssertionError", (run.KILLED, "tests/a.py::test_b")),
        (Tested.KILLED, "ERROR: not found: tests/a.py::test_b", (run.BROKEN, "ERROR: not found: tests/a.py::test_b")),
    ],
)
def test_only_a_failing_test_kills(tested: Tested, output: str, outcome: tuple[str, str]) -> None:
    assert run._outcome(tested, output) == outcome


def test_tests_that_call_a_symbol_come_first_and_the_quickest_before_the_others() -> None:
    tests = {"a::slow": 9.0, "a::quick": 1.0, "a::other": 0.1, "b::other": 0.1}
    ordered = run._ordered({"a::slow", "a::quick"}, {name: {"seconds": seconds} for name, seconds in tests.items()})
    assert [name for name, _ in ordered] == ["a::quick", "a::slow", "a::other"]


def test_a_second_call_keeps_kills_of_this_code_and_survivors_of_these_tests(tmp_path: Path) -> None:
    rows = [("A f 0", "killed", "c", "old"), ("A f 1", "survived", "c", "old"), ("A f 2", "survived", "c", "t")]
    rows.append(("A f 3", "killed", "old", "t"))
    lines = [json.dumps(dict(zip(("mutant", "outcome", "code", "tests"), row, strict=True))) for row in rows]
    (tmp_path / "results.jsonl").write_text("\n".join(lines))
    assert [str(mutant) for mutant in run._earlier(tmp_path, {"code": "c", "tests": "t"})] == ["A f 0", "A f 2"]


def test_a_reason_excuses_one_change_only(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"mutant": "A f 0", "becomes": "return x", "reason": "x is 1"}
    monkeypatch.setattr(report, "harmless", lambda: {mutants.Mutant.parse(entry["mutant"]): entry})
    result = {"mutant": "A f 0", "outcome": "survived", "diff": "--- a\n+++ b\n-    return 1\n+    return x"}
    assert report._reason(result) == "x is 1"
    assert report._reason(result | {"diff": result["diff"].replace("return x", "return 2")}) == ""

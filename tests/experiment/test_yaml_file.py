"""Scalars mean what YAML 1.2 says, places are remembered, duplicates and broken files are refused with their line."""

import math
from pathlib import Path

import pytest

from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.yaml_file import parse_value, read_document


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e6", 1e6),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000_000", 1_000_000),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("-7", -7),
        ("on", "on"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("e5", "e5"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("auto", "auto"),
        ("'3e-4'", "3e-4"),
        ("[1, 2e0]", [1, 2.0]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value and type(parsed) is type(value)


def test_infinity_and_not_a_number_are_floats() -> None:
    assert parse_value("-.inf") == -math.inf
    assert math.isnan(float(str(parse_value(".nan"))))


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\nb:\n  c:\n    d: 2\n")
    document = read_document(path)
    assert document.data == {"a": 1, "b": {"c": {"d": 2}}}
    assert document.place("b.c.d") == f"{path}:4"
    assert document.place("b.c.unwritten") == f"{path}:3"
    assert document.place("unwritten") == str(path)


def test_all_duplicate_keys_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\nb: {c: 1, c: 2}\na: 3\n")
    with pytest.raises(InvalidExperimentError) as caught:
        read_document(path)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}:2: b.c: is written twice (first on line 2); keep one",
        f"{path}:3: a: is written twice (first on line 1); keep one",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", r"x\.yaml:1:9: is not valid YAML"),
        ("a: 1\n\tb: 2", r"x\.yaml:2:1: is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", r"is not valid YAML: could not determine a constructor"),
        ("a: &x {b: {c: *x}}", r"x\.yaml:1:12: is not valid YAML: a\.b\.c refers to itself"),
        ("a: {1: 2}", r"x\.yaml:1: a\.1: is no name for a key; if it is meant as text, quote it"),
        ("", "must hold 'key: value' lines"),
        ("- 1\n- 2", "must hold 'key: value' lines"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidExperimentError, match=message):
        read_document(write(tmp_path, text))


def test_a_missing_file_and_binary_contents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidExperimentError, match="cannot be read: No such file"):
        read_document(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidExperimentError, match="not UTF-8"):
        read_document(tmp_path / "x.yaml")

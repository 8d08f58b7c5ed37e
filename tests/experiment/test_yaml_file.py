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


# base


def write_all(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_file_says_only_how_it_differs_from_its_base(tmp_path: Path) -> None:
    write_all(
        tmp_path,
        root="name: root\nsac: {alpha: 0.1, score: {width: 8, layers: 2}}\nseeds: [1, 2]\ngrid_search: {sac.tau: [0.1]}\n",
        middle="base: root.yaml\nsac:\n  score: {width: 16}\n",
        leaf="base: middle.yaml\nname: leaf\nseeds: [3]\ngrid_search: {sac.gamma: [0.9]}\nsac: {alpha: auto}\n",
    )
    document = read_document(tmp_path / "leaf.yaml")
    assert document.data == {
        "name": "leaf",
        "sac": {"alpha": "auto", "score": {"width": 16, "layers": 2}},
        "seeds": [3],
        "grid_search": {"sac.tau": [0.1], "sac.gamma": [0.9]},
    }
    places = {key: document.place(key).removeprefix(f"{tmp_path}/") for key in ("name", "seeds", "sac.score.width", "sac.score.layers")}
    assert places == {"name": "leaf.yaml:2", "seeds": "leaf.yaml:3", "sac.score.width": "middle.yaml:3", "sac.score.layers": "root.yaml:2"}
    assert document.source == str(tmp_path / "leaf.yaml")


def test_null_takes_a_section_out_and_a_section_replaces_null(tmp_path: Path) -> None:
    write_all(tmp_path, root="clamping: {xi: 1}\nother: null\n", leaf="base: root.yaml\nclamping: null\nother: {x: 2}\n")
    document = read_document(tmp_path / "leaf.yaml")
    assert document.data == {"clamping": None, "other": {"x": 2}}
    assert document.place("clamping.xi") == f"{tmp_path}/leaf.yaml:2", "the base no longer says anything about it"
    assert document.place("other.x") == f"{tmp_path}/leaf.yaml:3"


def test_the_base_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_all(tmp_path, root="a: 1\n")
    write_all(tmp_path / "deep", leaf="base: ../root.yaml\nb: 2\n")
    assert read_document(tmp_path / "deep" / "leaf.yaml").data == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nbase: none.yaml", r"x\.yaml:2: base: .*none\.yaml cannot be read: No such file"),
        ("base: x.yaml", r"x\.yaml:1: base: goes round in a circle: x\.yaml -> x\.yaml"),
        ("base: other.yaml", r"other\.yaml:1: base: goes round in a circle: x\.yaml -> other\.yaml -> x\.yaml"),
        ("base: [1]", r"x\.yaml:1: base: must name a YAML file beside this one, got \[1\]"),
        ("base: broken.yaml", r"broken\.yaml:1:9: is not valid YAML"),
    ],
)
def test_a_base_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_all(tmp_path, other="base: x.yaml", broken="a: [1, 2")
    with pytest.raises(InvalidExperimentError, match=message):
        read_document(write(tmp_path, text))

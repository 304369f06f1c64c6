"""Metric and tag names: only mkd/names.py spells them, and its parsers invert its functions."""

import ast
import re
import sys
from pathlib import Path

import pytest

from mkd import names

ROOT = Path(__file__).parents[2]
PACKAGES = ("mkd", "experiments", "analysis")
PLACEHOLDER = "\0"
"""Replaces a value in an f-string."""

COLUMNS = {"teacher", "baseline", "retention", "agreement", "selection"}
"""Prefixes of columns in the tables of analysis, which look like families of metrics."""
ALLOWED = {
    "analysis/charts/retention.py": {"retention"},
    "analysis/page/content.py": {"baseline", "selection", "teacher"},
    "analysis/runs/models.py": COLUMNS,
    "analysis/runs/runs.py": COLUMNS,
}


def strings(source: str) -> list[str]:
    """Returns all strings of a module without docstrings; values of f-strings are PLACEHOLDER."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    values_of_joined = {id(part) for node in joined for part in node.values}
    plain = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation | values_of_joined
    ]
    return plain + ["".join(_text(part) for part in node.values) for node in joined]


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER


SPELLED = strings((ROOT / "mkd" / "names.py").read_text("utf-8"))
FAMILIES = {text.split("/")[0] for text in SPELLED if "/" in text} - {"", "rows"}  # rows/s: a unit
CONSTANTS = {
    value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)
}
TAGS = {name for name in CONSTANTS if name.startswith("mkd.")}
LAST = {name for name in CONSTANTS if re.fullmatch(r"\w+", name)}
ONLY_NAMES = {
    names.P50,
    names.MAX_DIFFERENCE,
    names.LOSS_BATCHES,
    names.LOSS_SINGLE_ROWS,
    names.ROWS_TOKENISED,
}
"""Words that are only used as names of metrics."""

FAMILY = re.compile(rf"(?<![\w.-])({'|'.join(sorted(FAMILIES))})/")
TAG = re.compile(
    rf"\b({'|'.join(map(re.escape, sorted(TAGS)))})\b|(?<![^`])mkd\.[a-z_.{PLACEHOLDER}]+(?![^`])"
)


def spelled(text: str) -> set[str]:
    """Returns the families, tags and last words of metric or tag names in a string."""
    matches = {match[1] for match in FAMILY.finditer(text)} | {
        match[0] for match in TAG.finditer(text)
    }
    ends = text.startswith("/") and text[1:] in LAST
    return matches | ({text} if ends or text in ONLY_NAMES else set())


def names_by_file(root: Path) -> dict[str, set[str]]:
    """Returns for each file the names that are spelled in it; the set may be empty."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    paths = {file.relative_to(root).as_posix(): file for file in files}
    return {
        path: set().union(*map(spelled, strings(file.read_text("utf-8"))))
        for path, file in paths.items()
        if path != "mkd/names.py"
    }


def test_only_names_py_spells_names() -> None:
    by_file = names_by_file(ROOT)
    assert len(by_file) > 100
    assert {path: used for path, used in by_file.items() if used} == ALLOWED


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ('"quality/mean"', "quality"),
        ('f"speed/{backend}/x"', "speed"),
        ('f"{prefix}speed/busy_share"', "speed"),
        ('name.startswith("train/")', "train"),
        ('"of `quality/<task>/ece`"', "quality"),
        ('rf"teacher/speed/{name}"', "speed"),
        ('{"mkd.kind": "trial"}', "mkd.kind"),
        ("\"tags.`mkd.study` = 'x'\"", "mkd.study"),
        ('f"mkd.hardware.{name}"', f"mkd.hardware.{PLACEHOLDER}"),
        ('tags.get("mkd.novel")', "mkd.novel"),
        ('name.endswith(("/score", "/mean"))', "/score"),
        ('key == "p50_ms"', "p50_ms"),
    ],
)
def test_a_name_that_is_planted_is_found(tmp_path: Path, code: str, what: str) -> None:
    (tmp_path / "mkd" / "deep").mkdir(parents=True)
    (tmp_path / "mkd" / "deep" / "er.py").write_text(f"def f():\n    return {code}\n")
    assert what in names_by_file(tmp_path)["mkd/deep/er.py"]


def test_strings_that_are_not_names_are_not_found() -> None:
    source = '''
"""Of `quality/mean` and mkd.kind."""
A = ["rows/s", "mkd/rates.py has a number for it", "what mkd.precision.chosen makes of it"]
B = ["a/b", "mean", "mkd/pipeline.py"]
"""Of `mkd.state`."""
'''
    assert len(strings(source)) == 6
    assert set().union(*map(spelled, strings(source))) == set()


def test_the_docstring_lists_every_family() -> None:
    assert len(FAMILIES) > 20
    missing = [family for family in sorted(FAMILIES) if f"`{family}/" not in (names.__doc__ or "")]
    assert missing == []


def test_names_py_imports_only_the_standard_library() -> None:
    tree = ast.parse((ROOT / "mkd" / "names.py").read_text("utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_parsers_invert_the_functions_that_build_names() -> None:
    assert names.quality("sst2") == "quality/sst2/score"
    assert names.parsed_quality(names.quality("sst2", "accuracy")) == ("sst2", "accuracy")
    assert names.task_of_score(names.quality("sst2")) == "sst2"
    assert names.parsed_speed(names.speed("int8", "b1-text-t1", names.percentile(50))) == (
        "int8",
        "b1-text-t1",
        "p50_ms",
    )
    assert names.parsed_export(names.export("int8", names.QUALITY_MEAN)) == ("int8", "quality/mean")
    assert names.parsed_progress(names.progress("baseline/student")) == "baseline/student"
    assert names.of(names.TEACHER, {names.QUALITY_MEAN: 1.0}) == {"teacher/quality/mean": 1.0}


def test_other_names_are_not_parsed() -> None:
    assert names.parsed_quality("quality/mean") is None
    assert names.parsed_quality("teacher/quality/sst2/score") is None
    assert names.task_of_score("quality/sst2/ece") is None
    assert names.task_of_score("selection/sst2") is None
    assert names.parsed_speed("speed/protocol") is None
    assert names.parsed_speed("teacher/speed/torch/b1-text-t1/p50_ms") is None
    assert names.parsed_export("size/bytes") is None
    assert names.parsed_progress("train/loss/sst2") is None
    assert [
        name
        for name in ("quality/mean", "quality/a/score", "quality/a/ece", "selected/mean")
        if names.is_score(name)
    ] == [
        "quality/mean",
        "quality/a/score",
    ]

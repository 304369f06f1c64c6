"""Metric and tag names are spelled in mkd/names.py alone, and its parsers undo what its functions
build."""

import ast
import re
import sys
from pathlib import Path

import pytest

from mkd import names

ROOT = Path(__file__).parents[2]
PACKAGES = ("mkd", "experiments", "analysis")
PLACEHOLDER = "\0"
"""What stands for a value in an f-string."""

COLUMNS = {"teacher", "baseline", "retention", "agreement", "selection"}
"""Prefixes of columns of analysis' tables, which have the names of families of metrics and are
none."""
ALLOWED = {
    "analysis/charts/retention.py": {"retention"},
    "analysis/page/content.py": {"baseline", "selection", "teacher"},
    "analysis/runs/models.py": COLUMNS,
    "analysis/runs/runs.py": COLUMNS,
}


def strings(source: str) -> list[str]:
    """All strings of a module, f-strings with PLACEHOLDER for each value; without docstrings."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in joined for part in node.values}
    plain = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation | parts
    ]
    return plain + ["".join(_text(part) for part in node.values) for node in joined]


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER


OWN = strings((ROOT / "mkd" / "names.py").read_text("utf-8"))
FAMILIES = {name.split("/")[0] for name in OWN if "/" in name} - {"", "rows"}  # rows/s is a unit
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
"""Words that mean nothing else."""

FAMILY = re.compile(rf"(?<![\w.-])({'|'.join(sorted(FAMILIES))})/")
TAG = re.compile(
    rf"\b({'|'.join(map(re.escape, sorted(TAGS)))})\b|(?<![^`])mkd\.[a-z_.{PLACEHOLDER}]+(?![^`])"
)


def spelled(text: str) -> set[str]:
    """What of metric or tag names is in a string: families, tags, ends of names."""
    found = {match[1] for match in FAMILY.finditer(text)} | {
        match[0] for match in TAG.finditer(text)
    }
    ends = text.startswith("/") and text[1:] in LAST
    return found | ({text} if ends or text in ONLY_NAMES else set())


def found_in(root: Path) -> dict[str, set[str]]:
    """By file what is spelled in it; files without any are there too."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    paths = {file.relative_to(root).as_posix(): file for file in files}
    return {
        path: set().union(*map(spelled, strings(file.read_text("utf-8"))))
        for path, file in paths.items()
        if path != "mkd/names.py"
    }


def test_names_are_spelled_in_names_alone() -> None:
    found = found_in(ROOT)
    assert len(found) > 100
    assert {path: own for path, own in found.items() if own} == ALLOWED


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
    assert what in found_in(tmp_path)["mkd/deep/er.py"]


def test_what_is_no_name_is_not_found() -> None:
    source = '''
"""Of `quality/mean` and mkd.kind."""
A = ["rows/s", "mkd/rates.py has a number for it", "what mkd.precision.chosen makes of it"]
B = ["a/b", "mean", "mkd/pipeline.py"]
"""Of `mkd.state`."""
'''
    assert len(strings(source)) == 6
    assert set().union(*map(spelled, strings(source))) == set()


def test_the_docstring_tells_of_every_family() -> None:
    assert len(FAMILIES) > 20
    found = [family for family in sorted(FAMILIES) if f"`{family}/" not in (names.__doc__ or "")]
    assert found == []


def test_names_need_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "mkd" / "names.py").read_text("utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_parsers_undo_what_is_built() -> None:
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

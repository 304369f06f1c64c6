"""Files whose content differs from what it looks like, or that cannot be read."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mkd.config import DataConfig
from mkd.storage import strict_yaml
from mkd.tasks.sources import load_tasks

TASK = "t: {{kind: classification, labels: {0}, text: text, label: label, metrics: [accuracy], \
train: {1}, dev: {1}}}\n"


def rows(folder: Path, labels: str, name: str, content: str) -> list[object]:
    """Returns the rows of a task whose only file has this content."""
    (folder / name).write_text(content)
    (folder / "t.yaml").write_text(TASK.format(labels, name))
    (task,) = load_tasks(DataConfig(source="files", path=str(folder / "t.yaml")))
    return [(row.text_a, row.label) for row in task.train.read()]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[077, 1]", "t.yaml:1: 077 is read as the number 63; allowed: '077' in quotes, or"),
        ("[12:30, 1]", "t.yaml:1: 12:30 is read as the number 750; allowed: '12:30' in quotes"),
        ("[0x1f, 1]", "t.yaml:1: 0x1f is read as the number 31"),
        ("[1_000, 1]", "t.yaml:1: 1_000 is read as the number 1000"),
        (
            "[a, @b]",
            "t.yaml:1: not valid YAML: found character that cannot start any token; "
            "text with ? : #",
        ),
        ("[" * 1000 + "]" * 1000, "t.yaml:1: more than 64 levels"),
    ],
)
def test_an_unquoted_value_that_yaml_changes_is_refused(
    labels: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        rows(tmp_path, labels, "a.csv", "text,label\na,1\n")
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_plain_numbers_are_accepted() -> None:
    strict_yaml.check_yaml("[0, -1, 10, 1.50, .5, 1e-3, 1.5e3, .inf, '077', on]", "f.yaml")


def test_a_range_may_have_an_exponent(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,0\nb,1000\nc,2.5\n")
    (tmp_path / "t.yaml").write_text(
        "t: {kind: regression, range: [0, 1e3], text: text, label: label, metrics: [pearson], "
        "train: a.csv, dev: a.csv}\n"
    )
    (task,) = load_tasks(DataConfig(source="files", path=str(tmp_path / "t.yaml")))
    assert task.kind.range == (0.0, 1000.0)
    assert [row.label for row in task.train.read()] == [0.0, 1000.0, 2.5]


def test_too_many_nested_aliases_are_refused() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ValueError, match="f.yaml: its aliases stand for over 1,000,000 values"):
        strict_yaml.check_yaml("\n".join(["l0: &l0 [x]", *levels]), "f.yaml")


def test_one_wrong_label_of_many_names_the_nearest_ones(tmp_path: Path) -> None:
    labels = [f"label_{number}" for number in range(77)]
    with pytest.raises(ValueError) as caught:
        rows(tmp_path, json.dumps(labels), "a.csv", "text,label\na,labl_42\n")
    message = f"{tmp_path}/a.csv:2: label is 'labl_42'; allowed: 77 labels, such as 'label_42', "
    assert str(caught.value).startswith(message)
    assert str(caught.value).count("'label_") == 10


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_blank_lines_at_the_end_are_not_rows(name: str, end: str, tmp_path: Path) -> None:
    row = {".csv": "text,label\nfine,y\n", ".tsv": "text\tlabel\nfine\ty\n"}
    content = row.get(Path(name).suffix, '{"text": "fine", "label": "y"}\n') + end
    assert rows(tmp_path, '["n", "y"]', name, content) == [("fine", 1.0)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_blank_lines_are_not_rows_as_in_pandas(separator: str, end: str, tmp_path: Path) -> None:
    lines = ["", f"text{separator}label", f"a{separator}y", "", "  ", f"b{separator}n", "", ""]
    name = "a.csv" if separator == "," else "a.tsv"
    content = end.join(lines)
    assert rows(tmp_path, '["n", "y"]', name, content) == [("a", 1.0), ("b", 0.0)]
    frame = pd.read_csv(tmp_path / name, sep=separator)
    assert frame.to_numpy().tolist() == [["a", "y"], ["b", "n"]]
    with pytest.raises(ValueError, match=f"{name}:5: 1 columns; allowed: 2, as in line 1"):
        rows(tmp_path, '["n", "y"]', name, end.join([*lines[1:5], "b", ""]))


def test_a_blank_line_in_a_quoted_cell_is_text(tmp_path: Path) -> None:
    content = 'text,label\n"a\n\nb",y\n\nc,n\n'
    assert rows(tmp_path, '["n", "y"]', "a.csv", content) == [("a\n\nb", 1.0), ("c", 0.0)]


def test_a_cell_of_any_size_is_read(tmp_path: Path) -> None:
    content = f"text,label,more\n{'x' * 200_000},y,{'z' * 200_000}\n"
    assert rows(tmp_path, '["n", "y"]', "a.csv", content) == [("x" * 200_000, 1.0)]


@pytest.mark.parametrize(
    ("value", "message"),
    [("[" * 100_000, "not valid JSON: "), ("1" * 5000, "not valid JSON: Exceeds the limit")],
)
def test_the_error_for_json_that_python_cannot_read_is_one_line(
    value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        rows(tmp_path, '["n", "y"]', "a.jsonl", f'{{"text": "a", "label": "y", "more": {value}}}\n')
    assert str(caught.value).startswith(f"{tmp_path}/a.jsonl:1: {message}")

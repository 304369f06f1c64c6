"""The source of tasks if only data.path is stated, and files of rows without a task file."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from mkd.config import DataConfig
from mkd.tasks.origins import check_file, source_of, task_name
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task

HEADER = "id,customer text,team\n"


def table(first: int, rows: int = 40) -> str:
    """Returns a CSV file; every second row has the label sales."""
    lines = (
        f"{i},I would like to have order {i} now,{('billing', 'sales')[i % 2]}\n"
        for i in range(first, first + rows)
    )
    return HEADER + "".join(lines)


def save(folder: Path, splits: dict[str, list[int]]) -> None:
    """Writes a DatasetDict with two declared classes."""
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "sentence": [f"film number {i} of {split}" for i in range(len(labels))],
                    "label": labels,
                },
                features=features,
            )
            for split, labels in splits.items()
        }
    ).save_to_disk(folder)


def load(path: Path, **more: Any) -> list[Task]:
    return load_tasks(DataConfig(path="" if path == Path() else str(path), **more))


def labels(task: Task, name: str = "train") -> list[float | None]:
    split = task.train if name == "train" else task.dev[""]
    return [row.label for row in split.read()]


def refusal(path: Path | str, **more: Any) -> str:
    with pytest.raises(ValueError) as caught:
        load(Path(path), **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_source_follows_from_the_path(tmp_path: Path) -> None:
    def source(path: str) -> str:
        return source_of(DataConfig(path=path))

    assert source("") == "demo"
    for name in ("tickets.csv", "a/B.TSV", "x.jsonl", "x.parquet", "tasks.yaml", "notes.txt"):
        assert source(name) == "files"
    assert source("imdb") == source("nyu-mll/glue") == source(str(tmp_path)) == "hub"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.tsv").touch()
    assert source(str(tmp_path / "folder")) == "files"
    (tmp_path / "glue" / "RTE").mkdir(parents=True)
    assert source(str(tmp_path / "glue")) == "glue"
    assert source_of(DataConfig(source="hub", path="x.csv")) == "hub"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/tickets.csv", "tickets"), ("intents/train.tsv", "intents"), ("b/my data.v2", "my_data.v2"),
     ("org/imdb", "imdb"), ("my reviews (new).csv", "my_reviews_new"), ("mean.csv", "task"),
     ("!.csv", "task")],
)  # fmt: skip
def test_a_task_is_named_like_its_file_or_folder(path: str, name: str) -> None:
    assert task_name(Path(path)) == name


def test_a_file_of_rows_needs_no_task_file(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(table(0), encoding="utf-8-sig")
    (task,) = load(tmp_path / "tickets.csv")
    assert (task.name, task.kind.labels, task.dev) == ("tickets", ("billing", "sales"), {})
    assert labels(task) == [0.0, 1.0] * 20
    assert task.notes == (
        "text 'customer text', label 'team' (2 classes: billing, sales), 40 rows of "
        f"{tmp_path / 'tickets.csv'}",
        "dev: 10 % of the labelled rows, held out of train",
    )


def test_text_label_kind_and_dev_can_be_stated(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(table(0))
    (tmp_path / "others.csv").write_text(table(40, 6))
    (task,) = load(
        tmp_path / "tickets.csv",
        text=["team", "customer text"],
        label="id",
        kind="regression",
        dev=str(tmp_path / "others.csv"),
    )
    assert task.kind.pair and task.kind.labels == () and task.notes == ()
    assert labels(task, "dev") == [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]
    assert load(tmp_path / "tickets.csv", dev=0.25)[0].dev_share == 0.25


@pytest.mark.parametrize("path", ["train.csv", ""])
def test_a_file_beside_train_is_dev(tmp_path: Path, path: str) -> None:
    (tmp_path / "train.csv").write_text(table(0))
    (tmp_path / "test.csv").write_text(table(40, 4))
    (tmp_path / "validation.csv").write_text(HEADER + "1,without a label here,\n")
    (task,) = load(tmp_path / path)
    assert labels(task, "dev") == [0.0, 1.0, 0.0, 1.0]
    assert task.notes[1] == f"dev: {tmp_path / 'test.csv'}"


def test_a_task_file_may_name_train_alone(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(table(0))
    (tmp_path / "tasks.yaml").write_text(
        "a: {train: tickets.csv}\nb: {train: tickets.csv, dev: 0.3}"
    )
    a, b = load(tmp_path / "tasks.yaml")
    assert a.kind == b.kind and a.kind.labels == ("billing", "sales")
    assert (a.dev_share, b.dev_share) == (0.1, 0.3)
    assert refusal(tmp_path / "tasks.yaml", label="team").endswith(
        f"data.label is 'team'; allowed: empty, as {tmp_path / 'tasks.yaml'} describes the tasks"
    )


def test_a_saved_dataset_is_a_task_with_its_classes_and_dev_split(tmp_path: Path) -> None:
    save(tmp_path / "films", {"train": [0, 1, -1, 1], "test": [1, 0]})
    (task,) = load(tmp_path / "films")
    assert (task.name, task.kind.labels) == ("films", ("neg", "pos"))
    assert labels(task) == [0.0, 1.0, None, 1.0] and labels(task, "dev") == [1.0, 0.0]
    assert load(tmp_path / "films", dev=0.2)[0].dev == {}
    expected = f"data.dev is 'valid'; {tmp_path / 'films'} has the splits: 'train', 'test'"
    assert refusal(tmp_path / "films", dev="valid") == expected


def test_a_folder_of_saved_datasets_has_a_task_of_each(tmp_path: Path) -> None:
    for name in ("films", "books"):
        save(tmp_path / name, {"train": [0, 1, 1]})
    assert [task.name for task in load(tmp_path)] == ["books", "films"]
    assert [task.name for task in load(tmp_path, tasks=["films"])] == ["films"]
    Dataset.from_dict({"text": ["a b c d"] * 4, "label": ["x", "y"] * 2}).save_to_disk(
        tmp_path / "one"
    )
    (task,) = load(tmp_path / "one")
    assert (task.name, task.kind.labels) == ("one", ("x", "y"))


def test_paths_without_data_are_refused_in_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file"
    assert refusal(tmp_path).startswith(f"data.path is '{tmp_path}'; allowed: a file of rows")
    assert "the ending is '.txt'; allowed: '.csv', '.tsv'" in refusal(tmp_path / "notes.txt")
    for ending in ("csv", "tsv"):
        (tmp_path / f"train.{ending}").touch()
    assert "which has 'train.csv', 'train.tsv'; allowed: a folder with one" in refusal(tmp_path)
    assert refusal("", text="x") == "data.text is 'x'; allowed: empty for data.source=demo"


def test_a_sequence_of_declared_classes_is_several_labels_a_row(tmp_path: Path) -> None:
    features = Features(
        {"text": Value("string"), "labels": Sequence(ClassLabel(names=["joy", "anger", "fear"]))}
    )
    sets = [[0, 2], [], [1], [2]]
    Dataset.from_dict(
        {"text": [f"a text of row {i}" for i in range(4)], "labels": sets}, features=features
    ).save_to_disk(tmp_path / "emotions")
    (task,) = load(tmp_path / "emotions")
    assert task.kind.multilabel and task.kind.labels == ("joy", "anger", "fear")
    assert [row.classes for row in task.train.read()] == [(0, 2), (), (1,), (2,)]
    assert "(3 labels, several a row: joy, anger, fear)" in task.notes[0], "no separator is named"


NAMES = ["anger", "fear", "joy", "love"]


def cells(folder: Path, column: list[str]) -> Path:
    """Writes a file of rows whose labels are these cells, each of them twenty times."""
    lines = (f"I say {i} of {n}\t{cell}\n" for n in range(20) for i, cell in enumerate(column))
    (folder / "said.tsv").write_text("text\tlabel\n" + "".join(lines))
    return folder / "said.tsv"


@pytest.mark.parametrize("separator", [",", "|", ";", ", "])
def test_cells_of_several_labels_are_recognised_by_their_parts(
    separator: str, tmp_path: Path
) -> None:
    """The cells are the four labels alone and eight combinations: three cells for each label."""
    written = [separator.join(some) for n in (1, 2, 3) for some in combinations(NAMES, n)][:12]
    path = cells(tmp_path, written)
    (task,) = load(path)
    assert (task.kind.multilabel, task.kind.labels) == (True, tuple(NAMES))
    assert [row.classes for row in task.train.read()][:5] == [(0,), (1,), (2,), (3,), (0, 1)]
    divider = separator.strip()
    assert task.notes[0].startswith(
        f"text 'text', label 'label' (4 labels, several a row, divided by {divider!r}: anger, "
        "fear, joy, love), 240 rows of "
    )
    assert task.notes[-1] == "state --data.kind=classification if each cell of 'label' is one label"
    (stated,) = load(path, kind="classification")
    assert len(stated.kind.labels) == 12 and not stated.kind.multilabel


def test_advice_on_a_task_of_a_file_names_the_line_the_task_and_the_file(tmp_path: Path) -> None:
    """The line that the note advises removes the note."""
    cells(tmp_path, [",".join(some) for n in (1, 2, 3) for some in combinations(NAMES, n)][:12])
    file = tmp_path / "tasks.yaml"
    file.write_text("said:\n  train: said.tsv\n")
    advice = f"state `kind: classification` under said in {file} if each cell of 'label' is one"
    assert load(file)[0].notes[-1] == f"{advice} label"
    file.write_text("said:\n  train: said.tsv\n  kind: classification\n")
    (task,) = load(file)
    assert len(task.kind.labels) == 12 and advice not in " ".join(task.notes)


def test_a_class_called_na_is_stated_in_a_task_file(tmp_path: Path) -> None:
    lines = (f"text {i} of some words\t{('joy', 'NA', 'fear')[i % 3]}\n" for i in range(30))
    (tmp_path / "said.tsv").write_text("text\tlabel\n" + "".join(lines))
    (tmp_path / "tasks.yaml").write_text("said: {train: said.tsv}\n")
    for path, where in (
        ("said.tsv", "in a task file, which `mkd init` drafts"),
        ("tasks.yaml", f"under said in {tmp_path / 'tasks.yaml'}"),
    ):
        (task,) = load(tmp_path / path)
        assert task.kind.labels == ("fear", "joy")
        assert task.notes[-1].endswith(f"as in pandas; if it is a class, state `labels` {where}")


def test_two_columns_that_fit_are_reported_with_the_line_to_write(tmp_path: Path) -> None:
    rows = "".join(f"I would like {i} now,a,{'xy'[i % 2]},{'uv'[i % 2]}\n" for i in range(9))
    (tmp_path / "t.csv").write_text("said,one,team,country\n" + rows)
    (tmp_path / "tasks.yaml").write_text("tickets: {train: t.csv}\n")
    message = f"state `label` under tickets in {tmp_path / 'tasks.yaml'}; columns: "
    assert message in refusal(tmp_path / "tasks.yaml")
    assert "state data.label; columns: " in refusal(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "names",
    [
        # Parts of names that are not labels themselves.
        [f"{team}, {place}" for team in ("Sales", "Support", "Legal") for place in
         ("EMEA", "APAC", "US", "UK")],
        ["Sales", "Support", *(f"{team}, {place}" for team in ("Sales", "Support") for place in
         ("EMEA", "APAC", "US", "UK", "DE"))],
        # Too few combinations.
        ["joy", "anger", "fear", "joy,anger", "joy,fear", "anger,fear"],
        # Numbers with a decimal comma, such as 5,5.
        [f"{i},{j}" if j else str(i) for i in range(10) for j in range(10)],
        # A part is missing.
        [",".join(some) + "," * (len(some) == 3) for n in (1, 2, 3)
         for some in combinations(NAMES, n)],
    ],
)  # fmt: skip
def test_names_with_commas_are_one_label(names: list[str], tmp_path: Path) -> None:
    (task,) = load(cells(tmp_path, names))
    assert not task.kind.multilabel
    assert len(task.kind.labels) == len(names)
    assert sum("--data.kind=multilabel" in note for note in task.notes) == 1
    shown = [repr(label) if "," in label else label for label in task.kind.labels[:4]]
    assert f"classes: {', '.join(shown)}" in task.notes[0], "a comma in a name is not a separator"


@pytest.mark.parametrize("separator", [",", "|", ";", ", "])
def test_a_note_asks_about_cells_whose_parts_never_occur_alone(
    separator: str, tmp_path: Path
) -> None:
    path = cells(tmp_path, [separator.join(pair) for pair in combinations(NAMES, 2)])
    (task,) = load(path)
    assert not task.kind.multilabel and len(task.kind.labels) == 6
    first = separator.join(NAMES[:2])
    assert task.notes[-1] == (
        f"each cell, such as {first!r}, is one label; state --data.kind=multilabel if it is several"
    )
    (several,) = load(path, kind="multilabel")  # as the note advises
    assert several.kind.labels == tuple(NAMES) and several.kind.multilabel
    assert [row.classes for row in several.train.read()][:2] == [(0, 1), (0, 2)]
    assert f"several a row, divided by {separator.strip()!r}" in several.notes[0]
    (single,) = load(path, kind="classification")
    assert not any("--data.kind" in note for note in several.notes + single.notes)


@pytest.mark.parametrize(("rows", "asked"), [(99, True), (101, False)])
def test_a_note_asks_about_one_cell_with_a_comma_in_a_hundred(
    rows: int, asked: bool, tmp_path: Path
) -> None:
    lines = [f"I say {i} of that\t{NAMES[i % 4]}" for i in range(rows - 1)]
    lines.append("I say this of that\tjoy, oh joy")
    (tmp_path / "said.tsv").write_text("\n".join(["text\tlabel", *lines]))
    (task,) = load(tmp_path / "said.tsv")
    assert any("'joy, oh joy', is one label" in note for note in task.notes) == asked


def test_too_many_combinations_for_classes_may_be_several_labels(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(9)]
    lines = [f"I say {some} of that\t{'|'.join(some)}" for some in combinations(words, 2)]
    (tmp_path / "said.tsv").write_text("\n".join(["text\tlabel", *lines]))
    assert refusal(tmp_path / "said.tsv").endswith(
        "36 different labels in 36 rows are no classes; state another column as data.label, or "
        "--data.kind=multilabel"
    )
    assert load(tmp_path / "said.tsv", kind="multilabel")[0].kind.labels == tuple(words)


def test_a_separator_that_a_stated_label_holds_does_not_divide(tmp_path: Path) -> None:
    cells(tmp_path, ["a|b", "c", "a|b, c"])
    (tmp_path / "tasks.yaml").write_text(
        "said: {train: said.tsv, kind: multilabel, labels: [a|b, c]}\n"
    )
    (task,) = load(tmp_path / "tasks.yaml")
    assert [row.classes for row in task.train.read()][:3] == [(0,), (1,), (0, 1)]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("label: verdit", "train.csv: no column 'verdit'; there are: 'review', 'verdict'"),
        ("text: body", "train.csv: no column 'body'; there are: 'review', 'verdict'"),
        ("text: [review, body]", "train.csv: no column 'body'; there are: 'review', 'verdict'"),
        ("dev: {file: dev.csv, label: verdit}", "dev.csv: no column 'verdit'; there are: "),
        ("dev: none.csv", "none.csv: no such file"),
        ("header: false, label: verdict", "train.csv: no column 'verdict'; there are: '0', '1'"),
    ],
)
def test_a_wrong_column_of_a_task_file_is_refused_before_anything_is_loaded(
    stated: str, message: str, tmp_path: Path
) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("review,verdict\na good film,good\na bad one,bad\n")
    (tmp_path / "tasks.yaml").write_text(
        f"reviews: {{train: train.csv, {stated}}}\nother: {{train: train.csv}}\n"
    )
    path = str(tmp_path / "tasks.yaml")
    with pytest.raises(ValueError) as caught:
        check_file(DataConfig(path=path))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    check_file(DataConfig(path=path, tasks=["other"]))
    # The check must import neither scipy nor torch: their imports take seconds.
    code = "import sys, mkd.tasks.origins; print({'scipy', 'sklearn', 'torch'} & set(sys.modules))"
    argv = [sys.executable, "-c", code]
    process = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert process.stdout == "set()\n"

"""Drafted task files: what they say about a file of rows, with reasons, and that they can be
read."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mkd.config import DataConfig
from mkd.tasks.draft import draft_task
from mkd.tasks.sources import load_tasks

ROWS = [
    ("1", "the printer is broken again", "hardware"),
    ("2", "i cannot log in to my mail", "010"),
    ("3", "my screen stays black all day", "hardware"),
    ("4", "please reset my password now", "010"),
    ("5", "", "010"),
    ("6", "where is my new mouse today", ""),
]


def write(file: Path, rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    file.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    return file


def test_every_line_has_its_reason(tmp_path: Path) -> None:
    file = write(tmp_path / "tickets.tsv", ROWS, ("id", "body", "queue"))
    draft = draft_task([file], tmp_path)
    assert draft.name == "tickets"
    assert draft.summary == "text 'body', label 'queue' (2 classes)"
    lines = [line.split(" # ") for line in draft.text.splitlines()[2:]]
    assert [[piece.strip() for piece in line] for line in lines] == [
        [
            "train: tickets.tsv",
            "5 rows, 1 of them without a label, for the teacher to label, "
            "1 more without a text, which are left out",
        ],
        ["text: body", "by name"],
        ["label: queue", "its values repeat"],
        ["kind: classification", "2 different labels in 4 rows"],
        ["labels:", "in the order of the model's outputs"],
        ["- '010'", "2 rows"],
        ["- hardware", "2 rows"],
        ["metrics: [accuracy, macro_f1]", "the usual ones of a classification"],
        [
            "dev: 0.1",
            "the share of labelled rows that is held out to be scored; or name a file of its own",
        ],
    ]


def test_a_drafted_task_can_be_read_from_another_folder(tmp_path: Path) -> None:
    pairs = [("a man eats food", "a man eats", "4.5"), ("a dog runs fast", "two cats sit", "0.25")]
    header = ("sentence1", "sentence2", "score")
    (tmp_path / "near duplicates").mkdir()
    train = write(tmp_path / "near duplicates" / "train.tsv", pairs * 9, header)
    dev = write(tmp_path / "near duplicates" / "dev.tsv", pairs, header)
    (tmp_path / "work").mkdir()
    draft = draft_task([train, dev], tmp_path / "work")
    (tmp_path / "work" / "tasks.yaml").write_text(draft.text)
    path = str(tmp_path / "work" / "tasks.yaml")
    (task,) = load_tasks(DataConfig(source="files", path=path))
    assert task.name == "near_duplicates", "a file called train is named by its folder"
    assert task.kind.pair and task.kind.labels == ()
    assert [row.label for row in task.dev[""].read()] == [4.5, 0.25]


def test_a_stated_column_is_used(tmp_path: Path) -> None:
    file = write(tmp_path / "tickets.tsv", ROWS, ("id", "body", "queue"))
    with pytest.raises(ValueError, match="no column 'text'; there are: 'id', 'body', 'queue'"):
        draft_task([file], tmp_path, text=("text",))
    draft = draft_task([file], tmp_path, text=("body",), label="queue")
    assert "text: body                            # stated" in draft.text


def test_cells_of_several_labels_are_drafted_with_their_separator(tmp_path: Path) -> None:
    cells = ["a", "b", "c", "a|b", "a|c", "b|c", "b|a", "c|a", "a|b|c"]
    rows = [(f"{n} texts about {cell}", cell) for n in range(9) for cell in cells]
    draft = draft_task([write(tmp_path / "t.tsv", rows, ("text", "label"))], tmp_path)
    lines = [line.split(" # ")[0].strip() for line in draft.text.splitlines()]
    assert [line for line in lines if line.startswith(("kind", "separator"))] == [
        "kind: multilabel",
        "separator: '|'",
    ]
    assert "  - c                                 # 45 rows" in draft.text
    (tmp_path / "t.yaml").write_text(draft.text)
    (task,) = load_tasks(DataConfig(path=str(tmp_path / "t.yaml")))
    assert task.kind.labels == ("a", "b", "c") and task.kind.multilabel


def test_a_draft_asks_about_cells_that_may_be_several_labels(tmp_path: Path) -> None:
    rows = [(f"{n} texts about {cell}", cell) for n in range(9) for cell in ("a;b", "a;c", "b;c")]
    file = write(tmp_path / "t.tsv", rows, ("text", "label"))
    asked = "3 different labels in 27 rows; --kind multilabel if 'a;b' is several labels\n"
    assert asked in draft_task([file], tmp_path).text
    draft = draft_task([file], tmp_path, kind="multilabel").text
    assert "separator: ;  " in draft and "--kind" not in draft
    assert "# 3 different labels in 27 rows\n" in draft
    (tmp_path / "t.yaml").write_text(draft)
    (task,) = load_tasks(DataConfig(path=str(tmp_path / "t.yaml")))
    assert task.kind.labels == ("a", "b", "c") and task.kind.multilabel


@pytest.mark.parametrize(
    "word",
    [
        "1e3",
        "-2E5",
        "007",
        "on",
        "1_000",
        "12:30",
        ".inf",
        "2020-01-01",
        "a\x85b",
        "a\u2028b\u2029c",
    ],
)
def test_labels_and_columns_that_look_like_other_values_are_in_quotes(
    tmp_path: Path, word: str
) -> None:
    rows = [(f"{kind} film {i}", kind) for i in range(20) for kind in (word, "other")]
    file = write(tmp_path / "rows.tsv", rows, ("text", word))
    draft = draft_task([file], tmp_path, text=("text",), label=word)
    (tmp_path / "tasks.yaml").write_text(draft.text)
    (task,) = load_tasks(DataConfig(source="files", path=str(tmp_path / "tasks.yaml")))
    assert sorted(task.kind.labels) == sorted([word, "other"])

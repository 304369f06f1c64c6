import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mkd.config import DataConfig, DemoConfig, TransferConfig
from mkd.tasks import demo
from mkd.tasks.sources import GLUE_FILES, load_tasks
from mkd.tasks.task import GLUE, Row, Split, Task
from tests.support.needs import real_glue
from tests.support.official import LABELLED, NUM, lines_of, make_folder
from tests.support.official import rows as made_rows

REVIEWS: dict[str, Any] = {
    "kind": "classification", "labels": ["bad", "good"], "text": "review", "label": "verdict",
    "metrics": ["accuracy"], "train": "train.csv", "dev": "dev.csv",
}  # fmt: skip
SCORES: dict[str, Any] = {"kind": "regression", "metrics": ["pearson"], "range": [0, 5]}
CLASSES = "two or more classes, each once, as the files write them, in quotes"
TRAIN_CSV = "review,verdict\nfine film,good\ndull,bad\n"
DEV_CSV = "review,verdict\nlovely,good\n"


def write(folder: Path, **files: str | bytes) -> None:
    """Writes files; the argument `train_csv="..."` is written to train.csv."""
    for name, content in files.items():
        path = folder / name.replace("_", ".", 1)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def described(folder: Path, **changes: Any) -> DataConfig:
    """Returns a config of the task `reviews` with these changes; None removes a key."""
    task = {key: value for key, value in (REVIEWS | changes).items() if value is not None}
    (folder / "tasks.yaml").write_text(yaml.safe_dump({"reviews": task}, sort_keys=False))
    return DataConfig(source="files", path=str(folder / "tasks.yaml"))


def reviews(folder: Path, **changes: Any) -> Task:
    return load_tasks(described(folder, **changes))[0]


def rows(split: Split) -> list[Row]:
    return list(split.read())


def test_a_training_file_read_as_dev_needs_all_labels(tmp_path: Path) -> None:
    write(tmp_path, train_csv=TRAIN_CSV + "so so,\n")
    task = reviews(tmp_path, dev="train.csv")
    assert len(rows(task.train)) == 3 and task.dev[""].fingerprint != task.train.fingerprint
    with pytest.raises(ValueError, match="train.csv:4: label is ''; allowed"):
        rows(task.dev[""])


def refusal(read: Any) -> str:
    """Returns the message of a refusal, which must be one line."""
    with pytest.raises(ValueError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, train_csv=TRAIN_CSV, dev_csv=DEV_CSV)
    return tmp_path


# The four formats.

TWO = [Row("fine film", None, 1.0), Row("dull", None, 0.0)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", b"review,verdict\nfine film,good\ndull,bad\n"),
        ("train.csv", b'\xef\xbb\xbfreview,verdict\r\n"fine film",good\r\ndull,bad'),
        ("train.csv", b"id,verdict,review\n1,good,fine film\n2,bad,dull\n"),
        ("train.tsv", b"review\tverdict\nfine film\tgood\ndull\tbad\n"),
        ("train.TSV", b"\xef\xbb\xbfreview\tverdict\r\nfine film\tgood\r\ndull\tbad"),
        (
            "train.jsonl",
            b'{"review": "fine film", "verdict": "good"}\n'
            b'{"verdict": "bad", "review": "dull", "x": 1}\n',
        ),
    ],
)
def test_each_text_format_gives_the_same_rows(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    task = reviews(folder, train=name)
    assert rows(task.train) == TWO
    assert rows(task.train) == TWO, "a second pass gives the same rows"
    assert rows(task.dev[""]) == [Row("lovely", None, 1.0)]


def test_parquet_gives_the_same_rows_across_its_batches(folder: Path) -> None:
    table = pa.table(
        {
            "id": range(2500),
            "verdict": ["good", "bad", None, ""] * 625,
            "review": ["fine film", "dull", "c", "d"] * 625,
        }
    )
    pq.write_table(table, folder / "train.parquet")
    read = rows(reviews(folder, train="train.parquet").train)
    assert read == [*TWO, Row("c", None, None), Row("d", None, None)] * 625


def test_rows_without_text_are_left_out_and_a_missing_label_is_none(folder: Path) -> None:
    """As in pandas: an empty cell, NaN, NA in text files, or a missing key."""
    write(
        folder,
        train_csv="review,verdict\nfine film,good\n ,good\na,NA\nb,nan\n,bad\nc,\ndull,bad\n",
        train_jsonl='{"review": "fine film", "verdict": "good"}\n{"verdict": "bad"}\n'
        '{"review": "a"}\n{"review": "b", "verdict": NaN}\n{"review": null, "verdict": "bad"}\n'
        '{"review": "c", "verdict": null}\n{"review": "dull", "verdict": "bad"}\n',
    )
    empty = [Row(text, None, None) for text in "abc"]
    for name in ("train.csv", "train.jsonl"):
        task = reviews(folder, train=name)
        assert rows(task.train) == [TWO[0], *empty, TWO[1]]
        assert task.notes[0] == f"2 rows lack a text in {folder / name}: left out"
    assert "NA" in str(reviews(folder).notes[1]) and len(task.notes) == 1
    named = reviews(folder, labels=["bad", "good", "NA"])
    assert [row.label for row in rows(named.train)] == [1.0, 2.0, None, None, 0.0]


def test_csv_is_quoted_and_tsv_is_not(folder: Path) -> None:
    write(
        folder,
        train_csv='review,verdict\n"a, ""b""\nc",good\nd,bad\n',
        train_tsv='review\tverdict\n"a\tgood\n""\tbad\n',
    )
    assert [row.text_a for row in rows(reviews(folder).train)] == ['a, "b"\nc', "d"]
    assert [row.text_a for row in rows(reviews(folder, train="train.tsv").train)] == ['"a', '""']


def test_only_line_ends_are_stripped_and_only_line_feeds_end_a_line(folder: Path) -> None:
    write(folder, train_tsv="verdict\treview\ngood\t  a\u2028b\x0bc \n")
    assert rows(reviews(folder, train="train.tsv").train) == [Row("  a\u2028b\x0bc ", None, 1.0)]


def test_without_a_header_columns_are_numbers(folder: Path) -> None:
    write(folder, train_csv="x,good,fine film\nx,bad,dull\n", dev_csv="x,good,lovely\n")
    for text, label in (2, 1), ("2", "1"):
        assert rows(reviews(folder, header=False, text=text, label=label).train) == TWO


def test_pairs_fill_both_texts_and_numbers_are_labels_of_regression(folder: Path) -> None:
    scored = (("y", 2.5), ("z", "3"), ("z", None))
    lines = [json.dumps({"a": "x", "b": text, "s": score}) for text, score in scored]
    write(folder, train_jsonl="\n".join(lines), dev_tsv="a\tb\ts\nx\ty\t0\n")
    task = reviews(
        folder, **SCORES, labels=None, text=["a", "b"], label="s", train="train.jsonl",
        dev="dev.tsv",
    )  # fmt: skip
    assert rows(task.train) == [Row("x", "y", 2.5), Row("x", "z", 3.0), Row("x", "z", None)]
    assert task.kind.pair and task.kind.labels == () and task.kind.range == (0.0, 5.0)


def test_train_files_have_columns_of_their_own(folder: Path) -> None:
    write(folder, more_jsonl='{"body": "so so", "stars": "good"}\n', raw_tsv="review\nunread\n")
    more = {"file": "more.jsonl", "text": "body", "label": "stars"}
    task = reviews(folder, train=["train.csv", more, {"file": "raw.tsv", "label": None}])
    assert rows(task.train) == [*TWO, Row("so so", None, 1.0), Row("unread", None, None)]


def test_the_first_of_many_train_files_are_named_and_all_are_in_the_fingerprint(
    folder: Path,
) -> None:
    files = [f"{number}.csv" for number in range(102)]
    for name in files:
        (folder / name).write_text(f"review,verdict\nfilm {name},good\n")
    first, changed = reviews(folder, train=files), folder / files[-1]
    named = [f"{folder}/{number}.csv" for number in range(5)]
    assert first.train.source == f"{', '.join(named)} and 97 more"
    changed.write_text("review,verdict\nanother,good\n")
    other = reviews(folder, train=files)
    assert len(rows(other.train)) == 102 and other.train.source == first.train.source
    assert other.train.fingerprint != first.train.fingerprint
    assert reviews(folder, train=files[:5]).train.source == ", ".join(named)


SEVERAL: dict[str, Any] = {"kind": "multilabel", "metrics": ["micro_f1"]}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("good", (1,)),
        ("good,bad", (0, 1)),
        (" good , bad ", (0, 1)),
        ("good,good", (1,)),
        ('["good", "bad"]', (0, 1)),
        ("['good', 'bad']", (0, 1)),
        ("[]", ()),
        ("", None),
        ("?", None),
    ],
)
def test_a_cell_of_several_labels(
    folder: Path, cell: str, expected: tuple[int, ...] | None
) -> None:
    """An empty list is a row with none of the classes; an empty cell is a row without a label."""
    write(folder, train_tsv=f"review\tverdict\nso\t{cell}\n", dev_tsv="review\tverdict\nso\t[]\n")
    task = reviews(folder, **SEVERAL, train="train.tsv", dev="dev.tsv", unlabelled="?")
    if expected is None:
        assert rows(task.train) == [Row("so", None, None)]
    else:
        assert rows(task.train) == [Row("so", None, float(len(expected)), expected)]
    assert rows(task.dev[""]) == [Row("so", None, 0.0, ())]


def test_lists_of_labels_in_json_and_parquet(folder: Path) -> None:
    """Labels may also be numbers, as in a dataset with named classes."""
    (folder / "train.jsonl").write_text(
        '{"review": "a", "verdict": [1]}\n'
        '{"review": "b", "verdict": []}\n'
        '{"review": "c", "verdict": null}\n'
    )
    cells = pa.array([[0, 1], [1]], pa.list_(pa.int64()))
    pq.write_table(pa.table({"review": ["a", "b"], "verdict": cells}), folder / "dev.parquet")
    described_task = SEVERAL | {"labels": [0, 1], "train": "train.jsonl", "dev": "dev.parquet"}
    task = reviews(folder, **described_task)
    assert [row[2:] for row in task.train.read()] == [(1.0, (1,)), (0.0, ()), (None, ())]
    assert [row[2:] for row in task.dev[""].read()] == [(2.0, (0, 1)), (1.0, (1,))]


@pytest.mark.parametrize("cell", ["fair", "good,fair", "good,", "good/bad", '["good", 3]', "[1"])
def test_an_unknown_label_among_several_is_refused(folder: Path, cell: str) -> None:
    write(folder, train_tsv=f"review\tverdict\nso\tgood\nso\t{cell}\n")
    task = reviews(folder, **SEVERAL, train="train.tsv")
    assert refusal(lambda: rows(task.train)) == (
        f"{folder / 'train.tsv'}:3: label is {cell!r}; allowed: 'bad', 'good', with ',' between "
        "them, or [] for none of them"
    )


def test_a_stated_separator_divides_labels(folder: Path) -> None:
    write(folder, train_tsv="review\tverdict\nso\tgood|bad\n")
    task = reviews(folder, **SEVERAL, train="train.tsv", separator="|")
    assert rows(task.train)[0].classes == (0, 1)
    inferred = reviews(folder, **SEVERAL, train="train.tsv")  # the separator that most cells have
    assert inferred.train.fingerprint == task.train.fingerprint
    other = reviews(folder, **SEVERAL, train="train.tsv", separator=",")
    assert other.train.fingerprint != task.train.fingerprint


def test_several_labels_need_an_answer_in_dev(folder: Path) -> None:
    write(folder, train_tsv="review\tverdict\nso\tgood\n", dev_tsv="review\tverdict\nso\t\n")
    task = reviews(folder, **SEVERAL, train="train.tsv", dev="dev.tsv")
    assert "dev.tsv:2: label is ''; allowed: 'bad', 'good', with" in refusal(
        lambda: rows(task.dev[""])
    )


def test_an_empty_label_and_the_unlabelled_value_are_none(folder: Path) -> None:
    write(folder, train_csv="review,verdict\na,\nb,-1\nc,1\n", dev_csv="review,verdict\na,1\n")
    assert [row.label for row in rows(reviews(folder, labels=[0, 1], unlabelled=-1).train)] == [
        None,
        None,
        1.0,
    ]
    assert [row.label for row in rows(reviews(folder, labels=[-1, 0, 1]).train)] == [None, 0.0, 2.0]
    expected = (
        "train.csv:3: label is '-1'; allowed: '', '0', '1'; if that is no label: unlabelled: -1"
    )
    assert expected in refusal(lambda: rows(reviews(folder, labels=[0, 1]).train))


def test_unlabelled_rows_are_another_split_and_never_in_dev(folder: Path) -> None:
    write(folder, train_csv="review,verdict\na,-1\nc,1\n")
    tasks = [
        reviews(folder, labels=[0, 1], dev="train.csv"),
        reviews(folder, labels=[0, 1], dev="train.csv", unlabelled=-1),
    ]
    assert tasks[0].train.fingerprint != tasks[1].train.fingerprint
    for dev in (task.dev[""] for task in tasks):
        expected = f"{folder / 'train.csv'}:2: label is '-1'; allowed: '0', '1'"
        assert refusal(partial(rows, dev)) == expected


def test_a_score_may_mean_no_label(folder: Path) -> None:
    write(
        folder, train_csv="review,verdict\na,-1\nb,-1.0\nc,2.5\n", dev_csv="review,verdict\na,1\n"
    )
    task = reviews(folder, **SCORES, labels=None, unlabelled=-1)
    assert [row.label for row in rows(task.train)] == [None, None, 2.5]


def test_whole_numbers_are_labels_however_a_program_writes_them(folder: Path) -> None:
    """pandas converts a column of integers to floats if a label is missing."""
    frame = pd.DataFrame({"review": ["a", "b", "c", "d"], "verdict": [0, 1, None, -1]})
    frame.to_csv(folder / "train.csv", index=False)
    frame.to_parquet(folder / "train.parquet")
    frame.to_json(folder / "train.jsonl", orient="records", lines=True)
    for name in ("train.csv", "train.parquet", "train.jsonl"):
        for labels in ([0, 1], ["0", "1"], ["0.0", "1.0"]):
            task = reviews(folder, labels=labels, unlabelled=-1, train=name, dev=name)
            assert [row.label for row in rows(task.train)] == [0.0, 1.0, None, None]
    write(folder, train_csv="review,verdict\na,0.5\n")
    assert "label is '0.5'; allowed: '', '0', '1'" in refusal(
        lambda: rows(reviews(folder, labels=[0, 1]).train)
    )


@pytest.mark.parametrize("labels", [[False, True], ["false", "true"], ["False", "True"]])
def test_truth_values_are_labels(folder: Path, labels: list[Any]) -> None:
    frame = pd.DataFrame({"review": ["a", "b"], "verdict": [False, True]})
    frame.to_csv(folder / "train.csv", index=False)
    frame.to_parquet(folder / "train.parquet")
    frame.to_json(folder / "train.jsonl", orient="records", lines=True)
    for name in ("train.csv", "train.parquet", "train.jsonl"):
        task = reviews(folder, labels=labels, train=name, dev=name)
        assert (
            [row.label for row in rows(task.train)]
            == [row.label for row in rows(task.dev[""])]
            == [0.0, 1.0]
        )


def test_labels_that_are_booleans_in_yaml_1_1_are_words(folder: Path) -> None:
    write(
        folder, train_csv="review,verdict\na,no\nb,yes\nc,off\n", dev_csv="review,verdict\na,yes\n"
    )
    lines = "\n  ".join(
        [
            "kind: classification",
            "labels: [no, yes, off]",
            "text: review",
            "label: verdict",
            "metrics: accuracy",
        ]
    )
    (folder / "tasks.yaml").write_text(f"on:\n  {lines}\n  train: train.csv\n  dev: dev.csv\n")
    (task,) = load_tasks(DataConfig(source="files", path=str(folder / "tasks.yaml")))
    assert (task.name, task.kind.labels) == ("on", ("no", "yes", "off"))
    assert [row.label for row in rows(task.train)] == [0.0, 1.0, 2.0]


# Refusals when a row is read.


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", "review,verdict\na,good\nb,fair\n",
         ":3: label is 'fair'; allowed: '', 'bad', 'good'"),
        ("t.csv", "review,verdict\na,good\nb\n", ":3: 1 columns; allowed: 2, as in line 1"),
        ("t.csv", "review,verdict\na,good,x\n", ":2: 3 columns; allowed: 2, as in line 1"),
        ("t.csv", 'review,verdict\n"a\nb",good\n"c,bad\n',
         ":4: not valid CSV: unexpected end of data"),
        ("t.csv", 'review,verdict\n"a\nb",good\n"c\nd",x\n',
         ":4: label is 'x'; allowed: '', 'bad', 'good'"),
        ("t.csv", b"review,verdict\na,good\nb\xff,good\n", ":3: byte 1 is 0xff; allowed: UTF-8"),
        ("t.csv", "review,verdict\n", ": no rows; allowed: one or more"),
        ("t.tsv", "review\tverdict\na\tgood\n\nb\n", ":4: 1 columns; allowed: 2, as in line 1"),
        ("t.tsv", "review\tverdict\na\tgood\tx\n", ":2: 3 columns; allowed: 2, as in line 1"),
        ("t.csv", b"a\0,\0b\0", ":1: has zero bytes, as UTF-16 has; allowed: UTF-8"),
        ("t.tsv", b"review\tverdict\na\xe4\tgood\n", ":2: byte 1 is 0xe4; allowed: UTF-8"),
        ("t.tsv", "review\tverdict\n", ": no rows; allowed: one or more"),
        ("t.tsv", "review\tverdict\na\t" + "x" * 500 + "\n",
         f":2: label is '{'x' * 76}...; allowed: '', 'bad', 'good'"),
        ("t.jsonl", '{"review": "a", "verdict": "good"}\n{"review\n', ":2: not valid JSON: "),
        ("t.jsonl", '{"review": "a", "verdict": "good"}\n["a"]\n',
         ":2: ['a']; allowed: a JSON object"),
        ("t.jsonl", '{"review": 7, "verdict": "good"}\n',
         ":1: text column 'review' is 7; allowed: text"),
        ("t.jsonl", '{"review": "a", "verdict": {"x": 1}}\n',
         ":1: label is \"{'x': 1}\"; allowed: '', 'bad', 'good'"),
        ("t.jsonl", '{"review": "a", "verdict": null}\n{"review": "\\ud83d", "verdict": null}\n',
         ":2: half a \\u surrogate"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_file_line_value_and_what_is_allowed(
    folder: Path, name: str, content: str | bytes, expected: str
) -> None:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    message = refusal(lambda: rows(reviews(folder, train=name).train))
    assert message.startswith(f"{folder / name}{expected}")


@pytest.mark.parametrize("value", ["six", "6", "-0.5", "inf", "-1"])
def test_a_score_that_is_no_finite_number_in_range_is_refused(folder: Path, value: str) -> None:
    write(folder, train_csv=f"review,verdict\na,5\nb,{value}\n", dev_csv="review,verdict\na,1\n")
    task = reviews(folder, **SCORES, labels=None)
    expected = f"{folder / 'train.csv'}:3: label is '{value}'; allowed: a finite number from 0 to 5"
    assert refusal(lambda: rows(task.train)) == expected


def test_a_score_may_be_any_finite_number_without_a_range(folder: Path) -> None:
    write(folder, train_csv="review,verdict\na,-1e6\n")
    for value in ("inf", "1.7e308"):
        write(folder, dev_csv=f"review,verdict\na,{value}\n")
        task = reviews(folder, **(SCORES | {"range": None}), labels=None)
        assert rows(task.train) == [Row("a", None, -1e6)]
        assert refusal(partial(rows, task.dev[""])).endswith(
            f"dev.csv:2: label is '{value}'; allowed: a finite number from -1e+38 to 1e+38"
        )


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_dev_row_without_a_label_is_refused(folder: Path, value: str) -> None:
    write(folder, dev_csv=f"review,verdict\na,good\nb,{value}\n")
    expected = f"{folder / 'dev.csv'}:3: label is '{value}'; allowed: 'bad', 'good'"
    assert refusal(lambda: rows(reviews(folder).dev[""])) == expected


def test_a_wrong_row_of_parquet_is_refused_with_its_number(folder: Path) -> None:
    pq.write_table(
        pa.table({"review": ["a"] * 1500, "verdict": ["good"] * 1499 + ["fair"]}),
        folder / "t.parquet",
    )
    message = refusal(lambda: rows(reviews(folder, train="t.parquet").train))
    assert message == f"{folder / 't.parquet'}:1500: label is 'fair'; allowed: '', 'bad', 'good'"


# Refusals before a row is read.


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", "text,verdict\na,good\n", ": no column 'review'; there are: 'text', 'verdict'"),
        ("t.csv", "review,review,verdict\na,b,good\n", ": 2 columns 'review'; allowed: one"),
        ("t.csv", "", ":1: no header; the file is empty"),
        ("t.tsv", "review\tlabel\na\tgood\n",
         ": no column 'verdict'; there are: 'review', 'label'"),
        ("t.jsonl", '{"text": "a", "verdict": "good"}\n',
         ": no column 'review'; there are: 'text', 'verdict'"),
        ("t.jsonl", "", ":1: no row; the file is empty"),
        ("t.parquet", "no parquet", ": not readable as Parquet: "),
        ("t.txt", "review\na\n",
         ": the ending is '.txt'; allowed: '.csv', '.tsv', '.jsonl', '.parquet'"),
    ],
)  # fmt: skip
def test_an_unfit_file_is_refused(folder: Path, name: str, content: str, expected: str) -> None:
    (folder / name).write_text(content)
    message = refusal(lambda: reviews(folder, train=["train.csv", name]))
    assert message.startswith(f"{folder / name}{expected}")


def test_a_missing_column_of_parquet_is_refused_with_those_there_are(folder: Path) -> None:
    pq.write_table(pa.table({"review": ["a"]}), folder / "t.parquet")
    message = refusal(lambda: reviews(folder, train="t.parquet"))
    assert message == f"{folder / 't.parquet'}: no column 'verdict'; there are: 'review'"


def test_a_column_number_beyond_the_first_row_is_refused(folder: Path) -> None:
    message = refusal(lambda: reviews(folder, header=False, text=2, label=1))
    assert message == f"{folder / 'train.csv'}: no column '2'; there are: '0', '1'"


def test_a_format_that_names_its_columns_is_refused_without_a_header(folder: Path) -> None:
    write(folder, train_jsonl='{"0": "a", "1": "good"}\n')
    message = refusal(lambda: reviews(folder, header=False, text=0, label=1, train="train.jsonl"))
    assert message.startswith(f"{folder / 'train.jsonl'}: header is False; allowed: True")


@pytest.mark.parametrize("key", ["train", "dev"])
def test_a_missing_file_is_refused(folder: Path, key: str) -> None:
    expected = f"{folder / 'none.csv'}: no such file"
    assert refusal(lambda: reviews(folder, **{key: "none.csv"})) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"texts": "review"},
         "unknown key 'texts'; allowed: kind, labels, text, label, metrics, train, dev, range"),
        ({"train": None}, "no key 'train'; needed: train"),
        ({"dev": 1.5}, ".dev is 1.5; allowed: a share between 0 and 1, or a file"),
        ({"kind": "ranking"},
         ".kind is 'ranking'; allowed: classification, multilabel, regression"),
        ({"labels": ["good"]}, f".labels is ['good']; allowed: {CLASSES}"),
        ({"labels": ["a", "a"]}, f".labels is ['a', 'a']; allowed: {CLASSES}"),
        ({"labels": [True, "True"]}, f".labels is [True, 'True']; allowed: {CLASSES}"),
        ({"labels": ["1", "1.0"]}, f".labels is ['1', '1.0']; allowed: {CLASSES}"),
        ({"labels": [None, "a"]}, f".labels is [None, 'a']; allowed: {CLASSES}"),
        ({"labels": [0, 1], "unlabelled": 1}, ".unlabelled is '1'; allowed: none of '0', '1'"),
        ({"labels": [0, 1], "unlabelled": "1.0"},
         ".unlabelled is '1.0'; allowed: none of '0', '1'"),
        ({"unlabelled": [1, 2]},
         ".unlabelled is [1, 2]; allowed: what stands for no label, in quotes"),
        ({"range": [0, 1]}, ".range is for another kind; this one is classification"),
        ({"kind": "regression", "metrics": ["pearson"]},
         ".labels is for another kind; this one is regression"),
        ({"separator": "|"}, ".separator is for another kind; this one is classification"),
        ({"kind": "multilabel"},
         ".metrics is 'accuracy'; allowed: 'micro_f1', 'macro_f1', 'mean_average_precision'"),
        ({"kind": "multilabel", "metrics": ["micro_f1"], "range": [0, 1]},
         ".range is for another kind; this one is multilabel"),
        ({"kind": "multilabel", "metrics": ["micro_f1"], "labels": ["a", "b", "a, b"]},
         ".separator is ','; allowed: text that no label contains, such as ',' or '|'; 'a, b'"),
        ({"kind": "multilabel", "metrics": ["micro_f1"], "labels": ["a", "a,a", "b"]},
         ".separator is ','; allowed: text that no label contains, such as ',' or '|'; 'a,a'"),
        ({"kind": "multilabel", "metrics": ["micro_f1"], "separator": 1},
         ".separator is 1; allowed: text that no label contains, such as ',' or '|'"),
        ({"kind": "regression", "labels": None},
         ".metrics is 'accuracy'; allowed: 'pearson', 'spearman'"),
        ({"metrics": ["bleu"]},
         ".metrics is 'bleu'; allowed: 'accuracy', 'auc', 'average_precision', 'f1'"),
        ({"metrics": ["map"]},
         ".metrics is 'map'; allowed: 'accuracy', 'auc', 'average_precision', 'f1'"),
        ({"kind": "regression", "labels": None, "metrics": ["mrr"]},
         ".metrics is 'mrr'; allowed: 'pearson', 'spearman'"),
        ({"metrics": ["f1"], "labels": ["a", "b", "c"]},
         ".metrics is 'f1'; allowed: 'accuracy', 'macro_f1', 'matthews'"),
        ({"metrics": []}, ".metrics is []; allowed: 'accuracy', 'auc', 'average_precision', 'f1'"),
        ({**SCORES, "labels": None, "range": [5, 0]},
         ".range is [5, 0]; allowed: two numbers, the smaller first"),
        ({"text": ["a", "b", "c"]},
         ".text is ['a', 'b', 'c']; allowed: a column's name or number, or two in a list"),
        ({"label": ["a", "b"]}, ".label is ['a', 'b']; allowed: a column's name or number"),
        ({"header": "no"}, ".header is 'no'; allowed: true, false"),
        ({"train": []}, ".train is []; allowed: at least one file"),
        ({"train": 7}, ".train is 7; allowed: a mapping with the keys file, text, label"),
        ({"train": {"file": "a.csv", "header": False}},
         ".train: unknown key 'header'; allowed: file, text, label"),
        ({"train": {"text": "a"}}, ".train: no key 'file'; needed: file"),
        ({"train": {"file": "train.csv", "text": ["a", "b"]}},
         ".train.text is ['a', 'b']; allowed: as many columns as the task's text has"),
        ({"dev": {"file": "dev.csv", "label": None}},
         ".dev.label is None; allowed: a column; a dev split is there to be scored"),
    ],
)  # fmt: skip
def test_wrong_descriptions_refused(folder: Path, changes: dict[str, Any], expected: str) -> None:
    message = refusal(lambda: reviews(folder, **changes))
    assert message.startswith(f"{folder / 'tasks.yaml'}: reviews")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("reviews:\n  kind: [a\nb: c\n", ":3: not valid YAML: "),
     ("reviews: 5\n", ": reviews is 5; allowed: a mapping with the keys kind, "),
     ("- a\n", " is ['a']; allowed: a mapping from tasks' names to their description"),
     ("", " is None; allowed: a mapping from tasks' names to their description"),
     *((f"{name}: {{}}\n",
        f": a task's name is {shown}; allowed: up to 100 letters, digits, _, - and .,") for name,
       shown in [("a/b", "'a/b'"), ("mean", "'mean'"), ("Mean", "'Mean'"), ("7", "7"),
                 ("true", "True"), ("''", "''"), (".hidden", "'.hidden'"), ("a b", "'a b'"),
                 ("x" * 101, f"'{'x' * 76}...")]),
     ("a: \x00\n", ": not valid YAML: ")],
)  # fmt: skip
def test_files_that_do_not_describe_tasks_are_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    assert refusal(lambda: load_tasks(DataConfig(source="files", path=str(path)))).startswith(
        f"{path}{expected}"
    )


def test_a_missing_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    expected = f"{path}: no such file"
    assert refusal(lambda: load_tasks(DataConfig(source="files", path=str(path)))) == expected


# The choice of tasks.


def glue_folder(root: Path, *names: str) -> None:
    """Writes the smallest GLUE folder: two rows in each train file, one in each dev file."""
    for name in names:
        layout = GLUE_FILES[name]
        columns = ["0", "1", "2", "3"] if name == "cola" else ["index", *layout.text, layout.label]
        labels = layout.values or ("0.5", "5.000")
        lines = [
            "\t".join(labels[i % 2] if c == layout.label else f"{c} {i}" for c in columns) + "\n"
            for i in range(2)
        ]
        header = "\t".join(columns) + "\n" if layout.header else ""
        (root / layout.folder).mkdir(parents=True)
        (root / layout.folder / "train.tsv").write_text(header + "".join(lines))
        dev = ["dev_matched.tsv", "dev_mismatched.tsv"] if name == "mnli" else ["dev.tsv"]
        for file in dev:
            (root / layout.folder / file).write_text(header + lines[0])


def glue(root: Path, *names: str) -> list[Task]:
    return load_tasks(DataConfig(source="glue", path=str(root), tasks=list(names)))


def test_all_nine_tasks_of_a_glue_folder_are_read_in_the_order_of_glue(tmp_path: Path) -> None:
    glue_folder(tmp_path, *reversed(GLUE))
    tasks = glue(tmp_path)
    assert [task.name for task in tasks] == list(GLUE)
    assert all(task.kind == GLUE[task.name] and task.notes == () for task in tasks)
    assert [list(task.dev) for task in tasks if len(task.dev) > 1] == [["", "_mismatched"]]
    for task in tasks:
        expected = [0.5, 5.0] if task.name == "stsb" else [0.0, 1.0]
        assert [row.label for row in rows(task.train)] == expected
        assert all((row.text_b is not None) == task.kind.pair for row in rows(task.train))
        assert all(len(rows(split)) == 1 for split in task.dev.values())


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a GLUE folder whose files have all columns of the official ones."""
    return make_folder(tmp_path_factory.mktemp("official"))


@pytest.mark.parametrize("name", list(GLUE))
def test_official_files_have_the_rows_that_were_written(name: str, official: Path) -> None:
    [task] = glue(official, name)
    assert rows(task.train) == made_rows(name, 3 * NUM, 0)
    expected = [made_rows(name, 3 * NUM, seed) for seed in range(1, 1 + len(task.dev))]
    assert [rows(split) for split in task.dev.values()] == expected
    assert list(task.dev) == (["", "_mismatched"] if name == "mnli" else [""]) and task.notes == ()


def test_the_config_chooses_tasks_or_all_in_the_folder_are_read(tmp_path: Path) -> None:
    glue_folder(tmp_path, "rte", "sst2", "cola")
    assert [task.name for task in glue(tmp_path, "rte", "cola")] == ["rte", "cola"]
    assert [task.name for task in glue(tmp_path)] == ["cola", "sst2", "rte"]


def test_unknown_and_missing_tasks_are_refused(tmp_path: Path) -> None:
    glue_folder(tmp_path, "cola", "rte")
    message = refusal(lambda: glue(tmp_path, "rte", "snli"))
    assert message == "data.tasks names 'snli'; known: cola, rte"
    expected = f"{tmp_path / 'WNLI' / 'train.tsv'}: no such file"
    assert refusal(lambda: glue(tmp_path, "wnli")) == expected
    (tmp_path / "RTE" / "dev.tsv").unlink()
    assert refusal(lambda: glue(tmp_path)) == f"{tmp_path / 'RTE' / 'dev.tsv'}: no such file"


def test_a_glue_folder_that_is_missing_or_holds_no_task_is_refused(tmp_path: Path) -> None:
    for path in tmp_path, tmp_path / "none":
        message = refusal(lambda path=path: glue(path))
        assert message.startswith(
            f"data.path is {str(path)!r}; allowed: a folder that holds some of CoLA, SST-2, MRPC"
        )


def test_an_unknown_source_is_refused_with_the_known_ones() -> None:
    config: Any = DataConfig(source="kaggle", path="x")  # type: ignore[arg-type]
    expected = "data.source is 'kaggle'; allowed: auto, 'demo', 'glue', 'hub', 'files'"
    assert refusal(lambda: load_tasks(config)) == expected


def test_mnli_is_read_without_its_mismatched_dev_file_and_a_note_says_so(tmp_path: Path) -> None:
    glue_folder(tmp_path, "mnli")
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    [task] = glue(tmp_path)
    assert list(task.dev) == [""]
    assert task.notes == ("there is no mismatched dev split; the matched one is scored alone",)
    (tmp_path / "MNLI" / "dev_matched.tsv").unlink()
    expected = f"{tmp_path / 'MNLI' / 'dev_matched.tsv'}: no such file"
    assert refusal(lambda: glue(tmp_path)) == expected


def test_broken_rows_of_qqp_are_left_out_but_wrong_labels_refused(tmp_path: Path) -> None:
    glue_folder(tmp_path, "qqp")
    train, dev = tmp_path / "QQP" / "train.tsv", tmp_path / "QQP" / "dev.tsv"
    train.write_text(train.read_text() + '"\tWhat?\t0\n5\tWhat?\t\t0\n6\tWhy?\tWhy not?\t1\n')
    [task] = glue(tmp_path)
    assert [row.label for row in rows(task.train)] == [0.0, 1.0, 1.0]
    assert task.notes == (f"2 rows of {train} lack a text or a column and are left out",)
    train.write_text(train.read_text() + "7\tWho?\tWhom?\tmaybe\n")
    assert refusal(lambda: rows(glue(tmp_path)[0].train)).startswith(f"{train}:7: label is 'maybe'")
    dev.write_text(dev.read_text() + "5\tWhat?\t\t0\n")
    assert refusal(lambda: rows(task.dev[""])) == f"{dev}:3: text column 'question2' is empty"


def test_the_demo_has_generated_rows() -> None:
    settings = DemoConfig(seed=3, train_rows=20, unlabelled_rows=10, dev_rows=5)
    tasks = load_tasks(DataConfig(demo=settings))
    assert [(task.name, task.kind) for task in tasks] == list(demo.DEMO_TASKS.items())
    assert rows(tasks[0].train) == list(demo.demo_rows(tasks[0].name, "train", settings))
    assert rows(tasks[0].dev[""]) == list(demo.demo_rows(tasks[0].name, "dev", settings))
    assert tasks[0].train.fingerprint == demo.demo_fingerprint(tasks[0].name, "train", settings)


# Transfer rows.


def test_transfer_rows_are_added_to_the_named_tasks(tmp_path: Path) -> None:
    glue_folder(tmp_path, "sst2", "cola", "rte")
    write(tmp_path, one_csv="body,verdict\nx,good\n", two_tsv="p\tq\nr\ts\n")
    transfer = [
        TransferConfig(str(tmp_path / "one.csv"), ["body"], tasks=["cola"]),
        TransferConfig(str(tmp_path / "two.tsv"), ["0", "1"], tasks=["rte"], header=False),
        TransferConfig(str(tmp_path / "two.tsv"), ["q"], tasks=["cola"]),
    ]
    config = DataConfig(source="glue", path=str(tmp_path), transfer=transfer)
    plain, tasks = glue(tmp_path), load_tasks(config)
    assert [[rows(split) for split in task.added] for task in tasks] == [
        [[Row("x", None, None)], [Row("s", None, None)]],
        [],
        [[Row("p", "q", None), Row("r", "s", None)]],
    ]
    for task, alone in zip(tasks, plain, strict=True):
        assert (rows(task.train), task.train.fingerprint) == (
            rows(alone.train),
            alone.train.fingerprint,
        )
    assert tasks[0].added[0].source == str(tmp_path / "one.csv")


def test_a_transfer_file_joins_all_tasks_of_as_many_texts(tmp_path: Path) -> None:
    glue_folder(tmp_path, "sst2", "cola", "rte", "stsb")
    write(tmp_path, one_csv="body\nx\n", two_csv="p,q\nr,s\n")
    transfer = [
        TransferConfig(str(tmp_path / "one.csv"), ["body"]),
        TransferConfig(str(tmp_path / "two.csv"), ["p", "q"]),
    ]
    tasks = load_tasks(DataConfig(source="glue", path=str(tmp_path), transfer=transfer))
    assert {task.name: [rows(split) for split in task.added] for task in tasks} == {
        "cola": [[Row("x", None, None)]],
        "sst2": [[Row("x", None, None)]],
        "stsb": [[Row("r", "s", None)]],
        "rte": [[Row("r", "s", None)]],
    }
    fingerprints = [task.added[0].fingerprint for task in tasks]
    assert len(set(fingerprints)) == 2, "tasks with classes and with scores share the stored file"


def test_transfer_rows_join_the_demo_too(tmp_path: Path) -> None:
    write(tmp_path, more_jsonl='{"t": "x"}\n')
    settings = DemoConfig(train_rows=20, unlabelled_rows=0, dev_rows=5)
    config = DataConfig(
        demo=settings,
        transfer=[TransferConfig(str(tmp_path / "more.jsonl"), ["t"], tasks=["sentiment"])],
    )
    assert rows(load_tasks(config)[0].added[0]) == [Row("x", None, None)]


@pytest.mark.parametrize(
    ("text", "tasks", "expected"),
    [
        (["body"], ["rte"], "data.transfer.tasks names 'rte'; chosen: cola"),
        (["body", "verdict"], ["cola"],
         "data.transfer.text is ['body', 'verdict'] for {file}; cola takes one column"),
        (["body", "verdict"], [],
         "data.transfer.text is ['body', 'verdict'] for {file}; each of the tasks takes one"),
        (["title"], ["cola"],
         "data.transfer: {file}:1: no column 'title'; there are: 'body', 'verdict'"),
    ],
)  # fmt: skip
def test_transfer_to_a_task_that_cannot_take_it_is_refused(
    tmp_path: Path, text: list[str], tasks: list[str], expected: str
) -> None:
    glue_folder(tmp_path, "cola", "rte")
    write(tmp_path, one_csv="body,verdict\nx,good\n")
    file = str(tmp_path / "one.csv")
    config = DataConfig(
        source="glue",
        path=str(tmp_path),
        tasks=["cola"],
        transfer=[TransferConfig(file, text, tasks=tasks)],
    )
    assert refusal(lambda: load_tasks(config)).startswith(expected.format(file=file))


def test_an_empty_transfer_file_is_refused_when_read(tmp_path: Path) -> None:
    glue_folder(tmp_path, "cola")
    write(tmp_path, one_csv="body\n")
    transfer = [TransferConfig(str(tmp_path / "one.csv"), ["body"], tasks=["cola"])]
    [task] = load_tasks(DataConfig(source="glue", path=str(tmp_path), transfer=transfer))
    expected = f"{tmp_path / 'one.csv'}: no rows; allowed: one or more"
    assert refusal(lambda: rows(task.added[0])) == expected


# Fingerprints and laziness.


def test_fingerprints_are_equal_on_a_second_load_and_in_another_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    write(other, train_csv=TRAIN_CSV, dev_csv=DEV_CSV)
    prints = [
        (task.train.fingerprint, task.dev[""].fingerprint)
        for task in (reviews(folder), reviews(folder), reviews(other))
    ]
    assert len(set(prints)) == 1


def test_a_fingerprint_changes_with_bytes_columns_and_labels(folder: Path) -> None:
    first = reviews(folder)
    prints = [first.train.fingerprint, reviews(folder, labels=["good", "bad"]).train.fingerprint]
    prints.append(reviews(folder, text="verdict", label="review").train.fingerprint)
    write(folder, train_csv=TRAIN_CSV.replace("dull", "dumb"))
    second = reviews(folder)
    assert len({*prints, second.train.fingerprint}) == 4
    assert second.dev[""].fingerprint == first.dev[""].fingerprint
    # Metrics do not change the rows.
    assert reviews(folder, metrics=["f1"]).train.fingerprint == second.train.fingerprint


def test_rows_are_read_one_at_a_time_and_only_when_asked_for(folder: Path) -> None:
    write(folder, train_csv=TRAIN_CSV + "late,fair\n")
    passing = reviews(folder).train.read()
    assert isinstance(passing, Iterator)
    assert list(islice(passing, 2)) == TWO
    assert "train.csv:4: label is 'fair'" in refusal(lambda: next(passing))


def test_two_passes_do_not_disturb_each_other(folder: Path) -> None:
    train = reviews(folder).train
    assert list(zip(train.read(), train.read(), strict=True)) == [(row, row) for row in TWO]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_official_rows_survive_each_format(official: Path, tmp_path: Path, ending: str) -> None:
    expected = made_rows("mrpc", 3 * NUM, 1)
    assert any('"' in row.text_a for row in expected) and any("é" in row.text_a for row in expected)
    table = [
        {"label": str(int(row.label or 0)), "a": row.text_a, "b": row.text_b} for row in expected
    ]
    path = tmp_path / f"dev.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["label", "a", "b"], *(row.values() for row in table)])
    task = reviews(
        tmp_path, labels=["0", "1"], text=["a", "b"], label="label", train=path.name, dev=path.name
    )
    assert rows(task.dev[""]) == rows(glue(official, "mrpc")[0].dev[""]) == expected


# The hub's datasets.


def saved(root: Path, task: str, **splits: dict[str, Any]) -> None:
    """Writes a dataset of one task like save_to_disk, with the features of the hub."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    label = ClassLabel(names=list(GLUE[task].labels)) if GLUE[task].labels else Value("float32")
    datasets = {}
    for name, columns in splits.items():
        features = Features(
            {column: label if column == "label" else Value("string") for column in columns}
        )
        datasets[name] = Dataset.from_dict(columns, features=features)
    DatasetDict(datasets).save_to_disk(str(root / task))


def hub(root: Path, *names: str) -> list[Task]:
    return load_tasks(DataConfig(source="hub", path=str(root), tasks=list(names)))


def test_a_saved_dataset_equals_the_tsv_files(official: Path, tmp_path: Path) -> None:
    columns = {}
    for name, seed in ("train", 0), ("validation", 1):
        firsts, seconds, labels, _ = zip(*made_rows("rte", 3 * NUM, seed), strict=True)
        columns[name] = {
            "sentence1": firsts,
            "sentence2": seconds,
            "label": [int(label) for label in labels],
        }
    saved(tmp_path, "rte", **columns)
    [ours], [theirs] = hub(tmp_path), glue(official, "rte")
    assert rows(ours.train) == rows(theirs.train)
    assert rows(ours.dev[""]) == rows(theirs.dev[""])


def test_a_saved_dataset_gives_its_tasks_splits_and_missing_labels(tmp_path: Path) -> None:
    pair = {"premise": ["a", "b"], "hypothesis": ["c", "d"]}
    saved(
        tmp_path,
        "mnli",
        train=pair | {"label": [2, -1]},
        validation_matched=pair | {"label": [0, 1]},
        validation_mismatched=pair | {"label": [1, -1]},
    )
    score = {"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]}
    saved(tmp_path, "stsb", train=score, validation=score)
    assert [task.name for task in hub(tmp_path)] == ["stsb", "mnli"]
    [mnli] = hub(tmp_path, "mnli")
    assert rows(mnli.train) == [Row("a", "c", 2.0), Row("b", "d", None)]
    assert list(mnli.dev) == ["", "_mismatched"] and mnli.notes == ()
    expected = f"{tmp_path}/mnli/validation_mismatched:2: label is '-1'; allowed: '0', '1', '2'"
    assert refusal(lambda: rows(mnli.dev["_mismatched"])) == expected
    assert rows(hub(tmp_path, "stsb")[0].train) == [Row("a", "b", 2.5)]


def test_empty_questions_of_a_saved_qqp_are_left_out(tmp_path: Path) -> None:
    columns = {"question1": ["a", "b"], "question2": ["c", ""], "label": [0, 1]}
    saved(tmp_path, "qqp", train=columns, validation=columns)
    [task] = hub(tmp_path)
    assert rows(task.train) == [Row("a", "c", 0.0)]
    notes = task.notes
    assert notes == ((f"1 rows of {tmp_path}/qqp/train lack a text or a column and are left out",))
    expected = f"{tmp_path}/qqp/validation:2: text column 'question2' is empty"
    assert refusal(lambda: rows(task.dev[""])) == expected


def test_a_saved_dataset_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    columns = {"sentence": ["a"], "label": [0]}
    saved(tmp_path, "cola", train=columns)
    expected = f"{tmp_path}/cola: no split 'validation'; there are: 'train'"
    assert refusal(lambda: hub(tmp_path)) == expected
    saved(tmp_path, "rte", train=columns)
    message = refusal(lambda: hub(tmp_path, "rte"))
    assert message == f"{tmp_path}/rte/train: no column 'sentence1'; there are: 'sentence', 'label'"
    assert refusal(lambda: hub(tmp_path, "wnli")).startswith(
        f"data.path is {str(tmp_path)!r}: neither a folder nor a dataset with"
    )


def test_a_saved_dataset_whose_classes_are_in_another_order_is_refused(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features(
        {"sentence": Value("string"), "label": ClassLabel(names=["positive", "negative"])}
    )
    dataset = Dataset.from_dict({"sentence": ["a"], "label": [0]}, features=features)
    DatasetDict({"train": dataset, "validation": dataset}).save_to_disk(str(tmp_path / "sst2"))
    expected = "sst2/train: its classes are 'positive', 'negative'; allowed: 'negative', 'positive'"
    assert refusal(lambda: hub(tmp_path)).endswith(expected)


def test_the_fingerprint_of_a_saved_dataset_is_stable_and_follows_its_bytes(tmp_path: Path) -> None:
    columns = {"sentence": ["original text"], "label": [0]}
    saved(tmp_path, "cola", train=columns, validation=columns)
    first = hub(tmp_path)[0].train.fingerprint
    assert hub(tmp_path)[0].train.fingerprint == first
    [file] = (tmp_path / "cola" / "train").glob("*.arrow")
    content = file.read_bytes()
    assert content.count(b"original text") == 1
    file.unlink()
    file.write_bytes(content.replace(b"original text", b"mutilated one"))
    third = hub(tmp_path)[0]
    assert rows(third.train) == [Row("mutilated one", None, 0.0)]
    assert third.train.fingerprint != first


def test_an_unreachable_hub_is_one_line_with_the_datasets_name(tmp_path: Path) -> None:
    code = (
        "from mkd.config import DataConfig\nfrom mkd.tasks.sources import load_tasks\n"
        "try:\n    load_tasks(DataConfig(source='hub', path='nyu-mll/glue', tasks=['rte']))\n"
        "except ValueError as error:\n    print(repr(str(error)))\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=True
    )
    message = done.stdout.strip()
    assert (
        "data.path is 'nyu-mll/glue': neither a folder nor a dataset with 'rte' to load: "
        in message
    )
    assert "\\n" not in message


# The real files of GLUE, if they are available.

COUNTS: dict[str, tuple[dict[float, int] | int, dict[float, int] | int]] = {
    "cola": ({1: 6023, 0: 2528}, {1: 721, 0: 322}),
    "sst2": ({1: 37569, 0: 29780}, {1: 444, 0: 428}),
    "mrpc": ({1: 2474, 0: 1194}, {1: 279, 0: 129}),
    "stsb": (5749, 1500),
    "qqp": ({0: 15904, 1: 9458}, {0: 4871, 1: 2729}),
    "mnli": ({0: 7652, 2: 7605, 1: 7593}, {0: 3479, 2: 3213, 1: 3123}),
    "qnli": ({0: 1019, 1: 981}, {1: 2761, 0: 2702}),
    "rte": ({0: 1249, 1: 1241}, {0: 146, 1: 131}),
    "wnli": ({0: 323, 1: 312}, {0: 40, 1: 31}),
}
"""Rows of train and dev by label index (only their number for STS-B), as stated in the README of
the files."""


@pytest.fixture(scope="module")
def real() -> Path:
    folder = real_glue()
    assert folder, "the tests that need it are marked"
    return folder


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(LABELLED))
def test_the_made_folder_has_the_real_layout(name: str, real: Path, official: Path) -> None:
    file = LABELLED[name]
    for split in ("train", *file.dev):
        path = real / file.folder / f"{split}.tsv"
        if path.exists() or split != "dev_mismatched":
            header, official_header = (
                lines_of(folder / file.folder / f"{split}.tsv", 1)[0].split("\t")
                for folder in (real, official)
            )
            assert (
                len(header) == len(official_header) if name == "cola" else header == official_header
            )


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(GLUE))
def test_real_files_have_their_readmes_rows_and_labels(name: str, real: Path) -> None:
    [task] = glue(real, name)
    for split, expected in zip((task.train, task.dev[""]), COUNTS[name], strict=True):
        labels = [row.label for row in split.read()]
        assert (len(labels) if isinstance(expected, int) else Counter(labels)) == expected
    alone = ("there is no mismatched dev split; the matched one is scored alone",)
    has_both = (real / "MNLI" / "dev_mismatched.tsv").exists()
    assert task.notes == (alone if name == "mnli" and not has_both else ())


@pytest.mark.real_data
def test_the_scores_of_real_stsb_have_the_means_that_its_readme_states(real: Path) -> None:
    [task] = glue(real, "stsb")
    for split, mean in (task.train, 2.701), (task.dev[""], 2.364):
        scores = [row.label or 0.0 for row in split.read()]
        assert round(sum(scores) / len(scores), 3) == mean


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.date64()], ids=str)
def test_a_date_that_python_does_not_have_is_named_with_its_column(
    tmp_path: Path, kind: pa.DataType
) -> None:
    path = tmp_path / "rows.parquet"
    rows = {"text": ["a film"] * 9, "label": list("ab") * 4 + ["a"], "when": [2**55] * 9}
    pq.write_table(pa.table(rows).set_column(2, "when", pa.array([2**55] * 9, kind)), path)
    with pytest.raises(ValueError, match=f"^{path}:1: column 'when': "):
        load_tasks(DataConfig(source="files", path=str(path)))

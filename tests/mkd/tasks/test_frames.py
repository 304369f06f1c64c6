"""Tasks from tables in Python: what is inferred, refused and left out."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from mkd.config import Config
from mkd.pipeline import tasks_with_dev
from mkd.tasks.frames import task_from_data
from mkd.tasks.task import Row, Split

TEXTS = ["a fine film", "a dull film", "a film of the sea", "songs of the rain"]


def frame(**more: Any) -> pd.DataFrame:
    """Returns forty rows: an index, a date, a text and a column of two classes."""
    columns = {
        "id": range(40),
        "created": ["2024-01-05 12:30"] * 40,
        "body": [f"{TEXTS[i % 4]} {i}" for i in range(40)],
        "team": ["sales", "billing"] * 20,
    }
    return pd.DataFrame(columns | more)


def rows(split: Split) -> list[Row]:
    return list(split.read())


def dataset(labels: list[Any], feature: Any, text: str = "sentence") -> Dataset:
    return Dataset.from_dict(
        {text: [f"a film {i}" for i in range(len(labels))], "label": labels},
        features=Features({text: Value("string"), "label": feature}),
    )


def test_columns_kind_and_classes_of_a_frame_are_inferred_and_reported() -> None:
    task = task_from_data("tickets", frame())
    assert (task.kind.labels, task.kind.pair) == (("billing", "sales"), False)
    assert task.kind.metrics == ("accuracy", "macro_f1")
    assert rows(task.train)[:2] == [
        Row("a fine film 0", None, 1.0),
        Row("a dull film 1", None, 0.0),
    ]
    assert task.dev == {} and task.dev_share == 0.1
    assert task.notes == (
        "text 'body', label 'team' (2 classes: billing, sales), 40 rows of tickets",
        "dev: 10 % of the labelled rows, held out of train",
    )


@pytest.mark.parametrize("name", ["mean", "Mean", "", "a/b", "-a", "a b", "a" * 101])
def test_a_name_that_metrics_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a task's name is"):
        task_from_data(name, frame())


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    stores = Config(cache=str(tmp_path)).stores
    tasks = [task_from_data(name, frame()) for name in ("a", "b", "a")]
    with pytest.raises(ValueError, match="2 tasks are called 'a'"):
        tasks_with_dev(stores, tasks)
    assert [task.name for task in tasks_with_dev(stores, tasks[:2])] == ["a", "b"]


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        (
            {"premise": "prose", "hypothesis": "prose", "label": "few"},
            ["premise", "hypothesis"],
            "label",
        ),
        ({"Text": "prose", "title": "prose", "label": "few"}, ["Text"], "label"),
        ({"author": "words", "comment": "prose", "topic": "few"}, ["comment"], "topic"),
        ({"query": "word", "intent": "few"}, ["query"], "intent"),
        ({"value": "number", "x": "prose"}, ["x"], "value"),
        ({"x": "chinese", "y": "few", "user_id": "number"}, ["x"], "y"),
        ({"label": "few", "label_text": "words", "text": "prose"}, ["text"], "label"),
    ],
)
def test_columns_are_recognised_by_name_or_by_content(
    columns: dict[str, str], text: list[str], label: str
) -> None:
    content = {
        "prose": [f"a long text with number {i} in it" for i in range(30)],
        "words": ["Ada Lovelace", "Alan Turing", "Grace Hopper"] * 10,
        "word": [f"word{i}" for i in range(30)],
        "few": ["a", "b", "c"] * 10,
        "number": [i / 7 for i in range(30)],
        "chinese": [f"今天天气很好{i}" for i in range(30)],
    }
    data = pd.DataFrame({name: content[kind] for name, kind in columns.items()})
    stated = task_from_data("x", data, text=text, label=label)
    task = task_from_data("x", data)
    assert rows(task.train) == rows(stated.train) and task.kind == stated.kind


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["yes", "no"], ("no", "yes")),
        ([True, False], ("false", "true")),
        ([1.0, 2.0, None], ("1", "2")),
        ([5, 1, 10], ("1", "5", "10")),
        ([0.5, 1.0, 2.0], ()),
        ([100 * i for i in range(40)], ()),
        (["None", "NA"], ("NA", "None")),
    ],
)
def test_the_kind_follows_from_the_labels(values: list[Any], labels: tuple[str, ...]) -> None:
    column = [values[i % len(values)] for i in range(40)]
    kind = task_from_data("x", frame(team=column), label="team").kind
    assert kind.labels == labels
    assert kind.metrics == (("accuracy", "macro_f1") if labels else ("pearson", "spearman"))


def test_whole_numbers_from_0_are_classes_if_each_has_many_rows() -> None:
    texts = [f"a text with number {i}" for i in range(300)]
    many = pd.DataFrame({"text": texts, "label": [i % 30 for i in range(300)]})
    assert task_from_data("x", many).kind.labels == tuple(map(str, range(30)))
    assert task_from_data("x", many[:299]).kind.labels == ()
    assert task_from_data("x", many, kind="regression").kind.labels == ()
    apart = many.assign(label=many["label"] * 2)
    assert task_from_data("x", apart).kind.labels == ()


def test_rows_without_text_are_left_out_and_those_without_label_are_unlabelled() -> None:
    data = frame(team=["sales", None, float("nan"), "billing"] * 10)
    data.loc[[4, 8], "body"] = [None, "  "]
    task = task_from_data("x", data)
    labels = [row.label for row in rows(task.train)]
    assert len(labels) == 38 and labels.count(None) == 20
    assert "2 rows lack a text in x: left out" in task.notes


def test_a_dataset_has_the_classes_that_it_declares() -> None:
    data = dataset([1, 0, -1, None], ClassLabel(names=["neg", "pos", "unseen"]))
    task = task_from_data("x", data)
    assert task.kind.labels == ("neg", "pos", "unseen")
    assert [row.label for row in rows(task.train)] == [1.0, 0.0, None, None]
    turned = task_from_data("x", data, labels=["pos", "neg", "unseen"])
    assert [row.label for row in rows(turned.train)] == [0.0, 1.0, None, None]


def test_a_dict_of_splits_has_its_dev_split_unless_that_has_no_labels() -> None:
    names = ClassLabel(names=["neg", "pos"])
    train, test = dataset([0, 1] * 4, names), dataset([1, 0], names)
    hidden = dataset([-1, -1], names)
    task = task_from_data("x", DatasetDict(train=train, validation=hidden, test=test))
    assert [row.label for row in rows(task.dev[""])] == [1.0, 0.0]
    assert task.notes[1] == "dev: x/test"
    assert task_from_data("x", DatasetDict(train=train, test=hidden)).dev == {}
    assert task_from_data("x", DatasetDict(train=train, test=test), dev=0.25).dev_share == 0.25


def test_a_class_that_only_dev_has_is_a_class() -> None:
    dev = pd.DataFrame({"body": ["a text of the third"], "team": ["third"]})
    assert task_from_data("x", frame(), dev).kind.labels == ("billing", "sales", "third")


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    def key(data: Any) -> str:
        return task_from_data("x", data).train.fingerprint

    data = frame()
    assert key(data) == key(data.copy()) == key(data.assign(id=0))
    changed = data.copy()
    changed.loc[7, "body"] = "another text than before"
    assert key(changed) != key(data)
    whole = Dataset.from_pandas(data)
    few = whole.select(range(10, 40))
    assert key(few) != key(whole.select(range(30)))
    whole.save_to_disk(tmp_path / "saved")
    assert key(Dataset.load_from_disk(str(tmp_path / "saved"))) == key(whole) != key(few)


@pytest.mark.parametrize(
    ("data", "stated", "expected"),
    [
        (frame(subject=[f"help with order {i}" for i in range(40)]), {},
         "x: the text may be 'body' or 'subject'; state text in mkd.task_from_data: one column, or "
         "two for pairs; columns: 'id', 'created', 'body', 'team', 'subject'"),
        (frame(country=["x", "y"] * 20), {"text": "body"},
         "x: the label may be 'team' or 'country'; state label in mkd.task_from_data; "
         "columns: 'id', 'created', 'body', 'team', 'country'"),
        (frame()[["id", "body"]], {},
         "x: no label found; state label in mkd.task_from_data; columns: 'id', 'body'"),
        (frame(), {"label": "teem"},
         "x: no column 'teem'; there are: 'id', 'created', 'body', 'team'"),
        (frame(team="sales"), {"label": "team"},
         "x: column 'team': its only label is 'sales'; allowed: two or more classes"),
        (frame(), {"label": "team", "kind": "ranking"},
         "data.kind is 'ranking'; allowed: classification, multilabel, regression"),
        (frame(ref=[f"ref{i}" for i in range(40)]), {"label": "ref"},
         "x: column 'ref': 40 different labels in 40 rows are no classes; state another column "
         "as label in mkd.task_from_data"),
        (frame(team=None), {"label": "team"},
         "x: column 'team': no row has a label; allowed: one or more"),
        ([1, 2], {}, "x: rows of type list; allowed: a pandas DataFrame, a Dataset or "
         "DatasetDict of datasets, or the path of a file"),
        ({"a": frame(), "b": frame()}, {}, "x: no split 'train'; there are: 'a', 'b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_inferred_is_refused_with_the_choices(
    data: Any, stated: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError) as caught:
        task_from_data("x", data, **stated)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (pd.PeriodIndex(["2000", "2001"] * 20, freq="Y"), {"2000", "2001"}),
        (pd.Series([2**70, 2**71] * 20, dtype=object), {str(2**70), str(2**71)}),
        (pd.Series([1j, 2j] * 20), {"1j", "2j"}),
        ([["x", None], ["y"]] * 20, {"x", "y"}),
    ],
    ids=["periods", "large numbers", "complex numbers", "a null in a list"],
)
def test_labels_that_arrow_has_no_type_for_are_text(values: Any, classes: set[str]) -> None:
    frame = pd.DataFrame({"text": [f"a film of {i} songs" for i in range(40)], "label": values})
    kind = "multilabel" if "x" in classes else "classification"
    task = task_from_data("films", frame, label="label", kind=kind)
    assert set(task.kind.labels) == classes


def test_half_a_surrogate_pair_in_a_frame_is_named_with_its_column() -> None:
    frame = pd.DataFrame(
        {"text": ["fine"] * 9 + ["half \ud800 of one"], "label": ["x", "y"] * 5}, dtype=object
    )
    with pytest.raises(ValueError, match=r"column 'text': half a surrogate pair in .*ud800.*"):
        task_from_data("named", frame)


def test_a_frame_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="no columns; allowed: one or more"):
        task_from_data("films", pd.DataFrame(index=range(4)))


@pytest.mark.parametrize("dev", [-3.0, 0.0, 1.0, 5.0, float("nan")])
def test_a_share_of_dev_rows_is_between_0_and_1(dev: float) -> None:
    frame = pd.DataFrame({"text": ["a film", "no film"] * 9, "label": ["a", "b"] * 9})
    with pytest.raises(ValueError, match=r"^films: dev is .*; allowed: a share between 0 and 1"):
        task_from_data("films", frame, dev=dev)

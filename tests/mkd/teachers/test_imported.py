import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mkd.config import DataConfig
from mkd.evaluation.answers import Answers, dev_predictions
from mkd.evaluation.scoring import quality_metrics
from mkd.tasks.task import Task
from mkd.teachers import imported as module
from mkd.teachers import teacher_notes
from mkd.teachers.imported import import_logits
from mkd.teachers.probabilities import FLOOR, as_logits, not_probabilities
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import TaskData
from tests.support.tiny import SCORE, Datas, Tokenizer, make_datas, make_tasks, score_rows
from tests.support.tiny import split as of_list

Rows = list[dict[str, Any]]


def rows_of(data: TaskData, seed: int = 0) -> Rows:
    """A logit per class for all rows, in random order."""
    draw = np.random.default_rng(seed)
    sizes = {"train": len(data.train.labels), "dev": len(data.dev[""].labels)}
    rows: Rows = [
        {"split": split, "row": row, "logits": draw.normal(size=data.kind.num_logits).tolist()}
        for split, size in sizes.items()
        for row in range(size)
    ]
    return [rows[place] for place in draw.permutation(len(rows))]


def jsonl(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def values(rows: Rows, split: str) -> np.ndarray:
    mine = sorted((row for row in rows if row["split"] == split), key=lambda row: int(row["row"]))
    return np.array([row["logits"] for row in mine], dtype=np.float32)


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_logits_are_assigned_to_their_rows_whatever_their_order(
    write: Callable[[Path, Rows], Path], tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    rows = rows_of(datas[0])
    teacher = import_logits(tmp_path, write(tmp_path / "x", rows), tasks[0], datas[0])
    for split in ("train", "dev"):
        logits = teacher.logits(split)
        assert logits is not None and logits.dtype == np.float32
        np.testing.assert_array_equal(logits, values(rows, split))
    assert teacher.name.startswith("x.")


def test_scores_are_in_the_tasks_own_units(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    data, rows = datas[2], rows_of(datas[2])
    labels = data.train.labels[data.train_rows]
    logits = import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[2], data).logits("train")
    assert logits is not None
    np.testing.assert_allclose(
        logits, (values(rows, "train") - labels.mean()) / labels.std(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_large_scores_with_small_differences_keep_their_precision(
    write: Callable[[Path, Rows], Path], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = [row._replace(label=1.7e9 + place) for place, row in enumerate(score_rows(50, 0))]
    task = Task("time", replace(SCORE, range=None), of_list(rows), {"": of_list(rows)})
    data = tokenise_task(tmp_path, task, tokenizer, DataConfig(), 0)
    lines = [
        {"split": name, "row": place, "logits": [row.label]}
        for name in ("train", "dev")
        for place, row in enumerate(rows)
    ]
    logits = import_logits(tmp_path, write(tmp_path / "x", lines), task, data).logits("dev")
    assert logits is not None
    assert quality_metrics([data], {("time", ""): logits})["quality/time/score"] == pytest.approx(
        100
    )
    answers = Answers({("time", ""): logits})
    predictions = dev_predictions([data], answers, answers)
    for column in ("label", "prediction", "teacher"):
        np.testing.assert_allclose(predictions[column] - 1.7e9, np.arange(50), atol=1e-4)


def test_a_file_may_lack_the_dev_split(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    rows = [row for row in rows_of(datas[0]) if row["split"] == "train"]
    assert (
        import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[0], datas[0]).logits("dev")
        is None
    )


def test_the_chunk_size_does_not_change_imported_logits(
    tmp_path: Path, tasks: list[Task], datas: Datas, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(datas[0])
    monkeypatch.setattr(module, "IMPORT_CHUNK_ROWS", 7)
    logits = import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[0], datas[0]).logits(
        "train"
    )
    np.testing.assert_array_equal(logits, values(rows, "train"))


def test_a_changed_file_has_another_key(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    keys = {
        import_logits(
            tmp_path, jsonl(tmp_path / "x", rows_of(datas[0], seed)), tasks[0], datas[0]
        ).key
        for seed in (0, 1, 0)
    }
    assert len(keys) == 2


def changed(rows: Rows, **cells: Any) -> Rows:
    """The sorted rows, with some cells of the second changed."""
    rows = sorted(rows, key=lambda row: (row["split"] != "train", row["row"]))
    return [rows[0], rows[1] | cells, *rows[2:]]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"row": 0}, ":2: row 0 of train occurs twice"),
    ({"row": 30}, ":31: row 30 of train occurs twice"),
    ({"row": 40}, ":2: row is 40; allowed: 0 to 39, the rows of train"),
    ({"row": -1}, ":2: row is -1; allowed: 0 to 39, the rows of train"),
    ({"row": 1.0}, ":2: row is 1.0; allowed: 0 to 39, the rows of train"),
    ({"split": "test"}, ":2: split is 'test'; allowed: 'train', 'dev'"),
    ({"split": ["dev"]}, ":2: split is ['dev']; allowed: 'train', 'dev'"),
    ({"split": {"of": 1}}, ":2: split is {'of': 1}; allowed: 'train', 'dev'"),
    ({"logits": [1, 2, 3]},
     ":2: logits of row 1 of train are [1, 2, 3]; allowed: a list of 2, one for each of "),
    ({"logits": 0.5}, ":2: logits of row 1 of train are 0.5; allowed: a list of 2"),
    ({"logits": [0.5, float("nan")]},
     ":2: logits of row 1 of train are [0.5, nan]; allowed: finite numbers"),
    ({"logits": [0.5, 1e300]},
     ":2: logits of row 1 of train are [0.5, 1e+300]; allowed: finite numbers"),
    ({"logits": [0.5, "1"]},
     ":2: logits of row 1 of train are [0.5, '1']; allowed: finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize("chunk", [8, 1000])
@pytest.mark.parametrize(("cells", "message"), REFUSED)
def test_a_wrong_row_is_named_in_one_line(
    cells: dict[str, Any],
    message: str,
    chunk: int,
    tmp_path: Path,
    tasks: list[Task],
    datas: Datas,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IMPORT_CHUNK_ROWS", chunk)
    path = jsonl(tmp_path / "x", changed(rows_of(datas[0]), **cells))
    with pytest.raises(ValueError) as caught:
        import_logits(tmp_path, path, tasks[0], datas[0])
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "imported").glob("*/manifest.json"))


@pytest.mark.parametrize(
    ("split", "gone", "message"),
    [
        ("dev", {0, 19}, "of dev, 2 of 20 rows are missing: 0, 19"),
        ("dev", set(range(4, 12)),
         "of dev, 8 of 20 rows are missing: 4, 5, 6, 7, 8 and 3 more"),
        ("train", set(range(40)), "it answers no row of train; allowed: one or more"),
    ],
)  # fmt: skip
def test_missing_rows_are_named(
    split: str, gone: set[int], message: str, tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    rows = [row for row in rows_of(datas[0]) if row["split"] != split or row["row"] not in gone]
    path = jsonl(tmp_path / "x", rows)
    with pytest.raises(ValueError) as caught:
        import_logits(tmp_path, path, tasks[0], datas[0])
    assert str(caught.value) == f"{path}: {message}"


def test_a_regression_needs_one_number(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    path = jsonl(tmp_path / "x", changed(rows_of(datas[2]), logits=[1.0, 2.0]))
    with pytest.raises(ValueError, match="a list of 1, the score, as the task is a regression"):
        import_logits(tmp_path, path, tasks[2], datas[2])


def test_missing_columns_are_refused(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    path = jsonl(tmp_path / "x", [{"split": "train", "logits": [0, 1]}])
    with pytest.raises(ValueError, match=":1: no column 'row'; there are: 'split', 'logits'"):
        import_logits(tmp_path, path, tasks[0], datas[0])
    with pytest.raises(ValueError, match="none.parquet: no such file"):
        import_logits(tmp_path, tmp_path / "none.parquet", tasks[0], datas[0])


def test_a_file_for_other_rows_of_the_task_is_refused(
    tmp_path: Path, tasks: list[Task], datas: Datas, tokenizer: Any
) -> None:
    path = jsonl(tmp_path / "x", rows_of(datas[0]))
    import_logits(tmp_path, path, tasks[0], datas[0])
    (fewer_task,) = make_tasks(30, ["single"])
    (fewer,) = make_datas(tmp_path, [fewer_task], tokenizer)
    with pytest.raises(ValueError, match=r"row is \d+; allowed: 0 to \d+, the rows of"):
        import_logits(tmp_path, path, fewer_task, fewer)


def test_unanswered_rows_are_nan_and_are_not_used_for_fitting(
    tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    data = datas[0]
    gone = set(data.selection_rows[:-3].tolist()) | {int(data.train_rows[0])}
    rows = [row for row in rows_of(data) if row["split"] != "train" or row["row"] not in gone]
    teacher = import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[0], data)
    train_logits = teacher.logits("train")
    assert train_logits is not None
    assert set(np.flatnonzero(np.isnan(train_logits).all(1)).tolist()) == gone
    chosen, logits = teacher.on_selection()
    assert chosen.tolist() == data.selection_rows[-3:].tolist()
    np.testing.assert_array_equal(logits, train_logits[chosen])
    assert all("nan" not in note for note in teacher_notes(data, teacher))


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("name", ["single", "pair"])
def test_rows_can_be_identified_by_their_texts(
    write: Callable[[Path, Rows], Path], name: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """Rows with the same text, and added rows with it, share one answer."""
    (task,) = make_tasks(40, [name])
    task_rows = list(task.train.read())
    task = replace(
        task,
        train=of_list([*task_rows, task_rows[3]]),
        added=(of_list([task_rows[5], task_rows[0]]),),
    )
    (data,) = make_datas(tmp_path, [task], tokenizer)
    firsts = {
        (row.text_a, row.text_b): place for place, row in reversed(list(enumerate(task_rows)))
    }

    def line_of(place: int) -> dict[str, Any]:
        row = task_rows[place]
        pair = {} if row.text_b is None else {"text_pair": row.text_b}
        return {"split": "train", "text": row.text_a, "logits": [float(place), 0.0]} | pair

    rows = [line_of(place) for place in sorted(firsts.values()) if place != 7]
    teacher = import_logits(tmp_path, write(tmp_path / "x", rows), task, data)
    logits = teacher.logits("train")
    assert logits is not None and len(logits) == 43 and teacher.notes == []
    expected = [
        firsts[row.text_a, row.text_b]
        for row in [*task_rows, task_rows[3], task_rows[5], task_rows[0]]
    ]
    places = np.array([place if place != 7 else np.nan for place in expected])
    np.testing.assert_array_equal(logits[:, 0], places)
    again = write(tmp_path / "again", [*rows, rows[0]])
    with pytest.raises(ValueError, match=rf":{len(rows) + 1}: row 0 of train occurs twice"):
        import_logits(tmp_path, again, task, data)
    strange = write(tmp_path / "strange", [rows[0], rows[1] | {"text": "no such row"}])
    with pytest.raises(ValueError, match=":2: the text is 'no such row'; allowed: that of a row"):
        import_logits(tmp_path, strange, task, data)


def test_logits_of_probabilities_match_hand_computed_values(
    tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    """Rounded probabilities are divided by their sum; 0 counts as FLOOR."""
    rows = [
        {"split": "train", "row": row, "probabilities": chances}
        for row, chances in enumerate([[0.75, 0.25], [0.66, 0.33], [1, 0]])
    ]
    logits = import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[0], datas[0]).logits(
        "train"
    )
    assert logits is not None
    chances = np.exp(logits[:3].astype(float))
    np.testing.assert_allclose(chances, [[0.75, 0.25], [2 / 3, 1 / 3], [1, FLOOR]], rtol=1e-5)
    np.testing.assert_allclose(
        as_logits(np.array([[0.75, 0, 1]]), True),
        [[np.log(3), np.log(FLOOR / (1 - FLOOR)), -np.log(FLOOR / (1 - FLOOR))]],
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([0.5, 0.3], ":1: probabilities of row 0 of train are [0.5, 0.3]; allowed: numbers that "
                     "add up to 1 (these: 0.8)"),
        ([1.5, -0.5], ":1: probabilities of row 0 of train are [1.5, -0.5]; allowed: numbers from "
                      "0 to 1"),
        ([1.0], ":1: probabilities of row 0 of train are [1.0]; allowed: a list of 2"),
    ],
)  # fmt: skip
def test_invalid_probabilities_are_refused(
    cells: list[float], message: str, tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    path = jsonl(tmp_path / "x", [{"split": "train", "row": 0, "probabilities": cells}])
    with pytest.raises(ValueError) as caught:
        import_logits(tmp_path, path, tasks[0], datas[0])
    assert str(caught.value).startswith(f"{path}{message}")
    assert not_probabilities([0.9, 0.8], True) == "", "each label has its own"
    score = jsonl(tmp_path / "y", [{"split": "train", "row": 0, "probabilities": [1.0]}])
    with pytest.raises(ValueError, match="`logits` with the score, as the task is a regression"):
        import_logits(tmp_path, score, tasks[2], datas[2])
    both = jsonl(tmp_path / "z", [{"split": "train", "row": 0, "probabilities": [], "logits": []}])
    with pytest.raises(ValueError, match="it has columns `logits` and `probabilities`"):
        import_logits(tmp_path, both, tasks[0], datas[0])


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("name", ["single", "pair"])
def test_a_file_with_texts_is_refused_for_rows_in_another_order(
    write: Callable[[Path, Rows], Path],
    name: str,
    tmp_path: Path,
    tokenizer: Tokenizer,
) -> None:
    (task,) = make_tasks(40, [name])
    (data,) = make_datas(tmp_path, [task], tokenizer)
    read = {"train": list(task.train.read()), "dev": list(task.dev[""].read())}
    rows = rows_of(data)
    for row in rows:
        task_row = read[row["split"]][row["row"]]
        row |= {"text": task_row.text_a} | (
            {} if task_row.text_b is None else {"text_pair": task_row.text_b}
        )
    path = write(tmp_path / "x", rows)
    teacher = import_logits(tmp_path, path, task, data)
    assert teacher.has_texts
    np.testing.assert_array_equal(teacher.logits("train"), values(rows, "train"))
    moved = Task(task.name, task.kind, of_list(read["train"][::-1]), task.dev)
    (others,) = make_datas(tmp_path, [moved], tokenizer)
    message = r"x\.[a-z]+:\d+: row \d+ of train is '.*'; allowed: the text that the task has as"
    with pytest.raises(ValueError, match=message):
        import_logits(tmp_path, path, moved, others)


def test_a_file_without_texts_has_a_note(tmp_path: Path, tasks: list[Task], datas: Datas) -> None:
    teacher = import_logits(tmp_path, jsonl(tmp_path / "x", rows_of(datas[0])), tasks[0], datas[0])
    assert not teacher.has_texts
    assert any(
        note.startswith("single: x.jsonl has no column `text`")
        for note in teacher_notes(datas[0], teacher)
    )


@pytest.mark.parametrize("text", [None, 5])
def test_a_text_that_is_no_string_is_refused(
    text: Any, tmp_path: Path, tasks: list[Task], datas: Datas
) -> None:
    rows = [row | {"text": text} for row in rows_of(datas[0])]
    with pytest.raises(ValueError, match="x.jsonl:1: row .* allowed: the text that the task has"):
        import_logits(tmp_path, jsonl(tmp_path / "x", rows), tasks[0], datas[0])

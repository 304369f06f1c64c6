"""Tasks in memory that are saved as files and read again, of all kinds."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mkd.config import DataConfig
from mkd.storage.versions import STAGES
from mkd.tasks.frames import task_from_data
from mkd.tasks.saved import save_tasks
from mkd.tasks.sources import load_tasks

TEXTS = [f"text number {number}" for number in range(20)]
OTHERS = [f"other {number}" for number in range(20)]
LABELS: dict[str, list[Any]] = {
    "classes": [["yes", "no", None][number % 3] for number in range(20)],
    "scores": [number / 4 for number in range(20)],
    "sets": [[["a"], ["a", "b"], []][number % 3] for number in range(20)],
}


@pytest.mark.parametrize("kind", LABELS)
def test_rows_and_kind_are_kept(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": TEXTS, "b": OTHERS, "label": LABELS[kind]})
    dev = frame[frame["label"].notna()]
    task = task_from_data("t", frame, dev, text=["a", "b"], label="label")
    file = save_tasks(tmp_path, [task])
    assert save_tasks(tmp_path, [task]) == file
    (again,) = load_tasks(DataConfig(source="files", path=str(file)))
    assert (again.name, again.kind) == (task.name, task.kind)
    assert list(again.train.read()) == list(task.train.read())
    assert list(again.dev[""].read()) == list(task.dev[""].read())


def test_a_share_of_train_that_becomes_dev_is_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS["scores"]})
    file = save_tasks(tmp_path, [task_from_data("t", frame, 0.25)])
    (again,) = load_tasks(DataConfig(source="files", path=str(file)))
    assert (again.dev, again.dev_share) == ({}, 0.25)


def test_another_version_of_the_code_writes_the_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_from_data("t", pd.DataFrame({"text": TEXTS, "label": LABELS["scores"]}), 0.25)
    older = save_tasks(tmp_path, [task])
    monkeypatch.setitem(STAGES, "tasks", STAGES["tasks"]._replace(version=99))
    newer = save_tasks(tmp_path, [task])
    assert newer != older and newer.read_text() == older.read_text()
    assert save_tasks(tmp_path, [task]) == newer

"""Dev splits that are made of train rows."""

from pathlib import Path

import pytest

from mkd.config import DataConfig
from mkd.selection.dev import with_dev_splits
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from tests.support.tiny import SINGLE, single_rows, split


def task(rows: int, share: float = 0.1) -> Task:
    return Task("x", SINGLE, split(single_rows(rows, 0)), {}, dev_share=share)


def test_rows_of_train_become_dev_and_no_row_is_close_to_one_of_the_other_side(
    tmp_path: Path,
) -> None:
    whole = task(400)
    doubled = [*single_rows(400, 0), *single_rows(400, 0)]
    (divided,) = with_dev_splits(tmp_path, [Task("x", SINGLE, split(doubled), {})])
    train, dev = (list(rows.read()) for rows in (divided.train, divided.dev[""]))
    assert 60 <= len(dev) <= 80 and len(train) > 600
    assert not {row.text_a for row in train} & {row.text_a for row in dev}
    assert {row.label for row in dev} == {0.0, 1.0}
    keys = {divided.train.fingerprint, divided.dev[""].fingerprint, whole.train.fingerprint}
    assert len(keys) == 3
    again, larger = with_dev_splits(tmp_path, [task(400), task(400, 0.3)])
    assert len(list(larger.dev[""].read())) > 2 * len(list(again.dev[""].read()))
    assert again.dev[""].fingerprint != larger.dev[""].fingerprint


def test_a_dev_split_that_is_there_is_kept(tmp_path: Path) -> None:
    stated = Task("x", SINGLE, split(single_rows(20, 0)), {"": split(single_rows(5, 1))})
    assert with_dev_splits(tmp_path, [stated]) == [stated]


def test_the_note_has_the_number_of_dev_rows_instead_of_the_share(tmp_path: Path) -> None:
    lines = (f"row number {i} is of group {i % 2},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(lines))
    loaded = load_tasks(DataConfig(path=str(tmp_path / "t.csv")))
    (divided,) = with_dev_splits(tmp_path / "cache", loaded)
    num = len(list(divided.dev[""].read()))
    assert loaded[0].notes[1:] == ("dev: 10 % of the labelled rows, held out of train",)
    assert divided.notes == (loaded[0].notes[0], f"dev: {num} rows, held out of train")


def test_too_few_rows_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 4 labelled rows.*; or state dev rows of your own"):
        with_dev_splits(tmp_path, [task(4)])

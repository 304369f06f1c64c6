"""Makes a dev split of train rows for tasks that have none.

The rows are drawn as the selection split is: by groups of rows whose text overlaps, so that no dev
row is close to a train row. The draw does not depend on the run's seed, so that all runs on the
same rows are scored on the same rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

from mkd.config import DataConfig
from mkd.selection.split import LEVELS, SPLIT_VERSION, selection_split
from mkd.tasks.build import dev_note
from mkd.tasks.rows import hash_values
from mkd.tasks.task import Row, Split, Task

DEV_SEED = 20_231
"""Seed of the draw; it differs from usual seeds of a run, whose selection split is drawn alike."""
MOST_DEV_ROWS = 5000
"""Largest number of rows that become dev."""


def with_dev_splits(root: Path, tasks: list[Task]) -> list[Task]:
    """Returns the tasks, each with a dev split. Where there was none, rows of train become dev.

    root: the cache folder.

    Raises ValueError if a task has too few labelled rows.
    """
    return [task if task.dev else _divided(root, task) for task in tasks]


def _divided(root: Path, task: Task) -> Task:
    settings = DataConfig(selection_fraction=task.dev_share, selection_rows=MOST_DEV_ROWS)
    try:
        drawn = selection_split(root, replace(task, added=()), settings, DEV_SEED)
    except ValueError as error:
        raise ValueError(f"{error}; or state dev rows of your own") from error
    rows_by_split = {"train": drawn.train_rows, "dev": drawn.selection_rows}
    num = sum(len(rows) for rows in (*rows_by_split.values(), drawn.left_out))
    train, dev = (_part(task, name, rows, num) for name, rows in rows_by_split.items())
    note = f"dev: {len(drawn.selection_rows):,} rows, held out of train"
    if len(drawn.left_out):
        note += f"; {len(drawn.left_out):,} more that overlap with these are left out"
    if drawn.statistics.together != LEVELS[0]:
        note = f"DEV OVERLAPS with train: {note}; kept apart: {drawn.statistics.together}"
    # The number of rows replaces the share in the notes.
    notes = [known for known in task.notes if known != dev_note(task.dev_share)]
    return replace(task, train=train, dev={"": dev}, notes=(*notes, note))


def _part(task: Task, name: str, rows: np.ndarray, num: int) -> Split:
    """Returns some rows of train as a split. num: number of rows of train."""
    chosen = np.zeros(num, dtype=bool)
    chosen[rows] = True

    def read() -> Iterator[Row]:
        return compress(task.train.read(), chosen)

    key = hash_values(task.train.fingerprint, name, task.dev_share, MOST_DEV_ROWS, SPLIT_VERSION)
    return task.train._replace(read=read, fingerprint=key, source=f"{task.train.source} ({name})")

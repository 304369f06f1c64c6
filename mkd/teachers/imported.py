"""Answers of a teacher that runs elsewhere (a large decoder, a paid service), from a file per task.

A row of the file, JSON lines or Parquet, is the answer for one row of the task:

    {"split": "train", "row": 0, "logits": [-1.2, 0.7]}
    {"split": "train", "text": "a film to forget", "probabilities": [0.9, 0.1]}

- `split`: `train`, `dev`, or another dev split with its suffix (`dev_mismatched`).
- `row`: the row's index in that split, from 0, in the order of the task's files; rows that
  data.transfer adds follow. Rows that MKD leaves out are not counted. The rows of the file may be
  in any order.
- `text`, `text_pair`: the row's texts as in the task, for every row or none. Without `row` the
  answer belongs to all rows of the split with these texts. With it, rows that changed after
  labelling are an error; without texts the rows are not checked, and the run has a note.
- `logits`: a number for each class, in the order of the task's labels; log probabilities work too.
  For regression, the score alone, in the task's units.
- `probabilities`: instead of logits. They add up to 1; those of a multilabel task are from 0 to 1
  each (mkd/teachers/probabilities.py).

Rows of `train` without an answer learn from their labels alone. Of a dev split, every row has an
answer or none.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mkd.result import Report, no_report
from mkd.storage.store import cached_folder, file_hash, key_of, new_array
from mkd.storage.versions import version_key
from mkd.tasks import files
from mkd.tasks.files import Record, Table, listed, short_repr
from mkd.tasks.rows import join_splits
from mkd.tasks.task import Kind, Split, Task
from mkd.teachers.probabilities import PROBABILITIES, as_logits, not_probabilities
from mkd.teachers.task_teacher import (
    TaskTeacher,
    read_logits,
    standardise_scores,
    stores_by_split,
)
from mkd.tokenization.tokens import TaskData

LOGIT_FILE_ENDINGS = (".jsonl", ".parquet")
"""Endings of files of answers; the ending determines the format."""
SPLIT, ROW, LOGITS = "split", "row", "logits"
LOGIT_COLUMNS = (SPLIT, ROW, LOGITS)
"""Columns of a file that has rows by number and no texts."""
TEXT_COLUMNS = ("text", "text_pair")
"""The second one is for pairs only."""
IMPORT_CHUNK_ROWS = 10_000
"""Rows of the file that are in memory at once."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Larger numbers would become infinite in float32."""
SHOWN_ROWS = 5
"""Missing rows that an error lists at most."""


@dataclass(frozen=True)
class ImportedTeacher(TaskTeacher):
    """A file of answers as the TaskTeacher of one task.

    - `folder`: where the logits of its splits are stored
    - `has_texts`: whether the file contains the texts of its rows; these were compared with the
      task's
    """

    folder: Path
    has_texts: bool

    @property
    def notes(self) -> list[str]:
        """See TaskTeacher.notes. The rows of a file without texts could not be compared."""
        if self.has_texts:
            return []
        return [
            f"{self.data.name}: {self.name} has no column `text`, so its rows were not compared "
            "with the task's"
        ]

    def logits(self, split: str, report: Report = no_report) -> np.ndarray | None:
        """Returns what TaskTeacher.logits describes."""
        kind = self.data.kind
        file = _file(self.folder, split, kind)
        return (
            standardise_scores(read_logits(file, kind.num_logits, _type(kind)), self.data)
            if file.exists()
            else None
        )


class FileColumns(NamedTuple):
    """The meaning of a file's columns.

    - `by_row`: whether a row of the task is named by its number, or else by its texts.
    - `answers`: LOGITS or PROBABILITIES.
    - `texts`: the columns of the texts; empty if there are none.
    """

    by_row: bool
    answers: str
    texts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (SPLIT, *((ROW,) if self.by_row else ()), self.answers, *self.texts)


class AnswerRow(NamedTuple):
    """A row of the file. `row`: None if the file has texts alone."""

    line: int
    split: str
    row: Any
    numbers: Any
    texts: Sequence[Any]


class SplitRows(NamedTuple):
    """The rows of one of the task's splits.

    - `hashes_R`: of their texts, in order; None if the file has no texts.
    - `sorted_R`: the hashes in ascending order, and `order_R` the rows that they belong to.
    """

    size: int
    hashes_R: np.ndarray | None
    sorted_R: np.ndarray | None = None
    order_R: np.ndarray | None = None


def import_logits(root: Path, path: Path, task: Task, data: TaskData) -> ImportedTeacher:
    """Checks the file of a task's answers, stores their logits, and returns them as a TaskTeacher.

    `data` is the task by any tokenizer. Rows of train without an answer have the logits NaN.

    Raises ValueError with the file and the row of the error.
    """
    form = _form(path, task.kind)
    table = Table(path, form.columns, None)
    files.check_table(table)
    sizes = {name: len(store.labels) for name, store in stores_by_split(data).items()}
    train = join_splits(task.train, *task.added) if task.added else task.train
    splits = {"train": train} | {f"dev{suffix}": split for suffix, split in task.dev.items()}
    key_values = {
        "file": file_hash(path),
        "ending": path.suffix.lower(),
        "rows": {name: split.fingerprint for name, split in splits.items()},
        "classes": data.kind.num_logits,
    } | version_key("imported")

    def build(aside: Path) -> None:
        rows = {name: _rows(split, sizes[name], form.texts != ()) for name, split in splits.items()}
        _import(table, form, rows, data.kind, aside)

    folder = cached_folder(root, "imported", key_values, build)
    return ImportedTeacher(path.name, key_of(key_values), data, folder, form.texts != ())


def _form(path: Path, kind: Kind) -> FileColumns:
    """Returns the meaning of the file's columns. Raises ValueError if they do not fit."""
    names = files.column_names(path)
    texts = TEXT_COLUMNS[: 1 + kind.pair]
    both = {LOGITS, PROBABILITIES} & set(names)
    if len(both) == 2:
        raise ValueError(f"{path}: it has columns `logits` and `probabilities`; allowed: one")
    answers = next(iter(both), LOGITS)
    if answers == PROBABILITIES and not kind.labels:
        raise ValueError(
            f"{path}: it has a column `probabilities`; allowed: `logits` with the score, as the "
            "task is a regression"
        )
    text_columns = texts if set(texts) <= set(names) else ()
    return FileColumns(ROW in names or not text_columns, answers, text_columns)


def _rows(split: Split, size: int, with_texts: bool) -> SplitRows:
    if not with_texts:
        return SplitRows(size, None)
    hashes_R = np.fromiter((_hash(row.text_a, row.text_b) for row in split.read()), dtype=np.uint64)
    order_R = np.argsort(hashes_R, kind="stable")
    return SplitRows(size, hashes_R, hashes_R[order_R], order_R)


def _hash(text_a: str, text_b: str | None) -> int:
    # JSON may contain half of a surrogate pair, which UTF-8 cannot encode.
    content = f"{text_a}\0{text_b}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _type(kind: Kind) -> str:
    """Returns the type of stored logits: scores keep all digits until they are standardized."""
    return "<f4" if kind.labels else "<f8"


def _file(folder: Path, split: str, kind: Kind) -> Path:
    return folder / f"{split}.{np.dtype(_type(kind)).name}"


def _import(
    table: Table, form: FileColumns, rows: Mapping[str, SplitRows], kind: Kind, folder: Path
) -> None:
    """Writes the logits [rows, classes] of each split in the file, a chunk of rows at a time."""
    arrays: dict[str, np.ndarray] = {}
    records = files.read_table(table)
    while chunk := list(islice(records, IMPORT_CHUNK_ROWS)):
        for split, answers in _by_split(table.path, form, chunk, rows).items():
            if split not in arrays:
                shape = (rows[split].size, kind.num_logits)
                arrays[split] = new_array(_file(folder, split, kind), _type(kind), shape)
            _place(table.path, form, answers, rows[split], arrays[split], kind)
    for split, out_RC in arrays.items():
        if split != "train":
            _check_all_there(table.path, split, out_RC)
    if "train" not in arrays:
        raise ValueError(f"{table.path}: it answers no row of train; allowed: one or more")


def _by_split(
    path: Path, form: FileColumns, chunk: list[Record], rows: Mapping[str, SplitRows]
) -> dict[str, list[AnswerRow]]:
    """Returns the answers of the chunk by split.

    Raises ValueError for a split or a row that the task does not have.
    """
    by_split: dict[str, list[AnswerRow]] = {}
    for line, cells in chunk:
        split, row, numbers, *texts = cells if form.by_row else (cells[0], None, *cells[1:])
        # Another program may write a list or an object, which is no key.
        if not isinstance(split, str) or split not in rows:
            raise ValueError(
                f"{path}:{line}: split is {short_repr(split)}; allowed: {listed(list(rows))}"
            )
        size = rows[split].size
        if form.by_row and (type(row) is not int or not 0 <= row < size):
            raise ValueError(
                f"{path}:{line}: row is {short_repr(row)}; allowed: 0 to {size - 1}, the "
                f"rows of {split}"
            )
        by_split.setdefault(split, []).append(AnswerRow(line, split, row, numbers, texts))
    return by_split


def _rows_of(path: Path, form: FileColumns, answer: AnswerRow, rows: SplitRows) -> np.ndarray:
    """Returns the numbers of the rows that an answer belongs to.

    Raises ValueError if no row has its texts, or if the row with its number has others.
    """
    if rows.hashes_R is None:
        return np.array([answer.row])
    assert rows.sorted_R is not None and rows.order_R is not None, "made with the hashes"
    known = all(isinstance(text, str) for text in answer.texts)
    digest = np.uint64(_hash(answer.texts[0], (*answer.texts, None)[1])) if known else None
    if form.by_row:
        if digest != rows.hashes_R[answer.row]:
            raise ValueError(
                f"{path}:{answer.line}: row {answer.row} of {answer.split} is "
                f"{short_repr(answer.texts[0])}; allowed: the text that the task has as row "
                f"{answer.row}, as these {form.answers} belong to another row"
            )
        return np.array([answer.row])
    bounds = [0, 0]
    if digest is not None:
        bounds = [int(np.searchsorted(rows.sorted_R, digest, side)) for side in ("left", "right")]
    numbers: np.ndarray = rows.order_R[bounds[0] : bounds[1]]
    if not len(numbers):
        raise ValueError(
            f"{path}:{answer.line}: the text is {short_repr(answer.texts[0])}; allowed: that of a "
            f"row of {answer.split}, as its own files or data.transfer have it"
        )
    return numbers


def _place(
    path: Path,
    form: FileColumns,
    answers: list[AnswerRow],
    rows: SplitRows,
    out_RC: np.ndarray,
    kind: Kind,
) -> None:
    """Writes the logits of the rows.

    Raises ValueError for duplicate rows, and for invalid answers.
    """
    numbers_BC = np.array(
        [_numbers(path, form, answer, kind) for answer in answers], dtype=np.float64
    )
    logits_BC = (
        numbers_BC if form.answers == LOGITS else as_logits(numbers_BC, kind.multilabel)
    ).astype(out_RC.dtype)
    for answer, logits_C in zip(answers, logits_BC, strict=True):
        places = _rows_of(path, form, answer, rows)
        again = [row for row in places.tolist() if not np.isnan(out_RC[row, 0])]
        if again:
            raise ValueError(f"{path}:{answer.line}: row {again[0]} of {answer.split} occurs twice")
        out_RC[places] = logits_C


def _numbers(path: Path, form: FileColumns, answer: AnswerRow, kind: Kind) -> list[float]:
    numbers = answer.numbers
    which = f"of row {answer.row} of {answer.split}" if form.by_row else f"of {answer.split}"
    where = f"{path}:{answer.line}: {form.answers} {which}"
    if not isinstance(numbers, list) or len(numbers) != kind.num_logits:
        classes = (
            f"one for each of {listed(kind.labels)}"
            if kind.labels
            else "the score, as the task is a regression"
        )
        raise ValueError(
            f"{where} are {short_repr(numbers)}; allowed: a list of {kind.num_logits}, {classes}"
        )
    if not all(_is_finite(value) for value in numbers):
        raise ValueError(f"{where} are {short_repr(numbers)}; allowed: finite numbers")
    if form.answers == PROBABILITIES and (wanted := not_probabilities(numbers, kind.multilabel)):
        raise ValueError(f"{where} are {short_repr(numbers)}; allowed: {wanted}")
    return numbers


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= FLOAT32_MAX


def _check_all_there(path: Path, split: str, logits_RC: np.ndarray) -> None:
    missing = np.flatnonzero(np.isnan(logits_RC[:, 0]))
    if len(missing):
        more = f" and {len(missing) - SHOWN_ROWS} more" if len(missing) > SHOWN_ROWS else ""
        rows = ", ".join(map(str, missing[:SHOWN_ROWS]))
        raise ValueError(
            f"{path}: of {split}, {len(missing)} of {len(logits_RC)} rows are missing: {rows}{more}"
        )

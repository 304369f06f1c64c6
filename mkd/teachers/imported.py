"""Logits of a teacher that runs elsewhere (a large decoder, a paid service), from a file per task.

A row of the file, JSON lines or Parquet, is one row of the task:

    {"split": "train", "row": 0, "logits": [-1.2, 0.7]}

- `split`: `train`, `dev`, or another dev split with its suffix (`dev_mismatched`).
- `row`: the row's index in that split, from 0, in the order of the task's files. Rows that MKD
  leaves out are not counted. The rows of the file may be in any order.
- `logits`: a number for each class, in the order of the task's labels; log probabilities work too.
  For regression, the score alone, in the task's units.
- `text`, `text_pair`: optional, for every row or none: the row's texts as in the task. If they are
  given, rows that changed after labelling are an error. Without them the rows are not checked, and
  the run has a note.

Every row of `train` is required; of a dev split, every row or none. Rows that data.transfer and
data.augment add have no index and cannot be labelled by a file.
"""

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mkd.result import Report, no_report
from mkd.storage.store import cached_folder, file_hash, key_of, new_array
from mkd.storage.versions import version_key
from mkd.tasks import files
from mkd.tasks.files import Record, Table, listed, short_repr
from mkd.tasks.task import Kind, Split, Task
from mkd.teachers.task_teacher import (
    TaskTeacher,
    read_logits,
    standardise_scores,
    stores_by_split,
)
from mkd.tokenization.tokens import TaskData

LOGIT_FILE_ENDINGS = (".jsonl", ".parquet")
"""Endings of files of logits; the ending determines the format."""
LOGIT_COLUMNS = ("split", "row", "logits")
"""Required columns."""
TEXT_COLUMNS = ("text", "text_pair")
"""Optional columns, the second one for pairs only."""
IMPORT_CHUNK_ROWS = 10_000
"""Rows of the file that are in memory at once."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Larger numbers would become infinite in float32."""
SHOWN_ROWS = 5
"""Missing rows that an error lists at most."""


@dataclass(frozen=True)
class ImportedTeacher(TaskTeacher):
    """A file of logits as the TaskTeacher of one task.

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


def import_logits(root: Path, path: Path, task: Task, data: TaskData) -> ImportedTeacher:
    """Checks the file of a task's logits, stores them, and returns them as a TaskTeacher.

    `data` is the task by any tokenizer.

    Raises ValueError with the file and the row of the error.
    """
    texts = TEXT_COLUMNS[: 1 + task.kind.pair]
    has_texts = set(texts) <= set(files.column_names(path))
    table = Table(path, (*LOGIT_COLUMNS, *texts) if has_texts else LOGIT_COLUMNS, None)
    files.check_table(table)
    sizes = {name: len(store.labels) for name, store in stores_by_split(data).items()}
    rows = {"train": task.train} | {f"dev{suffix}": split for suffix, split in task.dev.items()}
    parts = {
        "file": file_hash(path),
        "ending": path.suffix.lower(),
        "rows": {name: split.fingerprint for name, split in rows.items()},
        "classes": data.kind.num_logits,
    } | version_key("imported")

    def build(aside: Path) -> None:
        known = {name: _hashes(split) for name, split in rows.items()} if has_texts else {}
        _import(table, sizes, known, data.kind, aside)

    folder = cached_folder(root, "imported", parts, build)
    return ImportedTeacher(path.name, key_of(parts), data, folder, has_texts)


def _hashes(split: Split) -> np.ndarray:
    """Returns a hash [R] uint64 of the texts of each row."""
    return np.fromiter((_hash(row.text_a, row.text_b) for row in split.read()), dtype=np.uint64)


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
    table: Table, sizes: dict[str, int], hashes: dict[str, np.ndarray], kind: Kind, folder: Path
) -> None:
    """Writes the logits [rows, classes] of each split in the file, a chunk of rows at a time.

    `hashes` are those of the task's texts by split; empty if the file has no texts.
    """
    arrays: dict[str, np.ndarray] = {}
    records = files.read_table(table)
    while chunk := list(islice(records, IMPORT_CHUNK_ROWS)):
        for split, places in _by_split(table.path, chunk, sizes).items():
            if split not in arrays:
                shape = (sizes[split], kind.num_logits)
                arrays[split] = new_array(_file(folder, split, kind), _type(kind), shape)
            some = [chunk[place] for place in places]
            if hashes:
                _check_texts(table.path, split, some, hashes[split])
            _place(table.path, split, some, arrays[split], kind)
    for split, size in sizes.items():
        if split == "train" or split in arrays:
            _check_all_there(table.path, split, arrays.get(split, np.full((size, 1), np.nan)))


def _by_split(path: Path, chunk: list[Record], sizes: dict[str, int]) -> dict[str, list[int]]:
    """Returns the positions in the chunk by split.

    Raises ValueError for a split or a row that the task does not have.
    """
    found: dict[str, list[int]] = {}
    for place, (line, (split, row, *_)) in enumerate(chunk):
        if split not in sizes:
            raise ValueError(
                f"{path}:{line}: split is {short_repr(split)}; allowed: {listed(list(sizes))}"
            )
        if type(row) is not int or not 0 <= row < sizes[split]:
            raise ValueError(
                f"{path}:{line}: row is {short_repr(row)}; allowed: 0 to {sizes[split] - 1}, the "
                f"rows of {split}"
            )
        found.setdefault(split, []).append(place)
    return found


def _check_texts(path: Path, split: str, records: list[Record], hashes_R: np.ndarray) -> None:
    """Raises ValueError for a row whose texts differ from those of the task's row."""
    for line, (_, row, _, *texts) in records:
        if (
            not all(isinstance(text, str) for text in texts)
            or _hash(texts[0], texts[1] if len(texts) == 2 else None) != hashes_R[row]
        ):
            raise ValueError(
                f"{path}:{line}: row {row} of {split} is {short_repr(texts[0])}; allowed: the text "
                f"that the task has as row {row}, "
                "as these logits belong to another row"
            )


def _place(path: Path, split: str, records: list[Record], out_RC: np.ndarray, kind: Kind) -> None:
    """Writes the logits of the rows.

    Raises ValueError for duplicate rows, a wrong number of logits, and logits that are not finite.
    """
    logits_BC = np.array(
        [_numbers(path, split, record, kind) for record in records], dtype=out_RC.dtype
    )
    rows_B = np.array([cells[1] for _, cells in records])
    unique, first = np.unique(rows_B, return_index=True)
    # A row is a duplicate if an earlier chunk wrote it (unwritten rows are NaN), or if this chunk
    # has it before.
    again_B = ~np.isnan(out_RC[rows_B, 0])
    again_B[np.setdiff1d(np.arange(len(rows_B)), first)] = True
    if again_B.any():
        line, (_, row, *_) = records[int(again_B.argmax())]
        raise ValueError(f"{path}:{line}: row {row} of {split} occurs twice")
    out_RC[rows_B] = logits_BC


def _numbers(path: Path, split: str, record: Record, kind: Kind) -> list[float]:
    line, (_, row, logits, *_) = record
    where = f"{path}:{line}: logits of row {row} of {split}"
    if not isinstance(logits, list) or len(logits) != kind.num_logits:
        classes = (
            f"one for each of {listed(kind.labels)}"
            if kind.labels
            else "the score, as the task is a regression"
        )
        raise ValueError(
            f"{where} are {short_repr(logits)}; allowed: a list of {kind.num_logits}, {classes}"
        )
    if not all(_is_finite(value) for value in logits):
        raise ValueError(f"{where} are {short_repr(logits)}; allowed: finite numbers")
    return logits


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

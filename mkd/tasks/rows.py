"""Converts the cells of files to rows of tasks, and checks texts and labels of each row."""

import ast
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from mkd.storage.store import file_hash
from mkd.tasks import files
from mkd.tasks.columns import Columns, is_missing
from mkd.tasks.files import Record, Table, nearest, short_repr
from mkd.tasks.task import Kind, Row, Split

Decode = Callable[[Any], float | tuple[int, ...] | None]
"""Converts the cell of a label to the index of its class, to a score, to the indices of its
classes, or to None (no label).

Raises ValueError if the label is not allowed.
"""
SEPARATOR = ","
"""Default separator of the labels in a cell of text."""
LARGEST_SCORE = 1e38
"""Largest label of a regression: about the largest number of float32."""
MOST_SOURCES = 5
"""Sources that joined splits name."""


NOT_AVAILABLE = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
     "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
"""What pandas reads in a CSV file as a missing value by default, besides an empty cell."""


class RawRows(NamedTuple):
    """Rows of one file, or of one split of a dataset.

    where: name of the file or split, for error messages.
    records: returns an iterator over the records; cells are the texts and the label, if any.
    text: names of the text columns.
    decode: converts a label. None: there is no label column.
    lenient: whether a row without a text is skipped instead of raising an error.
    fingerprint: changes if the rows change.
    """

    where: str
    records: Callable[[], Iterator[Record]]
    text: tuple[str, ...]
    decode: Decode | None
    lenient: bool
    fingerprint: str


def hash_values(*values: object) -> str:
    """Returns the SHA-256 of the values' repr, which must differ for different values."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def normalise_label(label: str) -> str:
    """Normalises a label: whole numbers without decimals, booleans in lower case.

    Programs write the same label in different ways. pandas writes 0.0 in an integer column with
    missing values, and JSON writes true where Python writes True.

    >>> normalise_label("1.0"), normalise_label("True"), normalise_label("good")
    ('1', 'true', 'good')
    """
    number = re.fullmatch(r"(-?\d+)\.0*", label)
    if number:
        return "0" if number[1] == "-0" else number[1]
    return label.lower() if label.lower() in ("true", "false") else label


def _class_index(
    codes: Mapping[str, float | None], values: tuple[str, ...], raw_cell: object
) -> float | None:
    cell = str(raw_cell)
    try:
        return codes[cell] if cell in codes else codes[normalise_label(cell)]
    except KeyError:
        # Many datasets use -1 for "no label", so the error shows the setting for it.
        unlabelled = (
            "; if that is no label: unlabelled: -1"
            if normalise_label(cell) == "-1" and "" in values
            else ""
        )
        raise ValueError(
            f"label is {short_repr(cell)}; allowed: {nearest(cell, values)}{unlabelled}"
        ) from None


def _number(low: float, high: float, missing: tuple[str, ...], raw_cell: object) -> float | None:
    cell = str(raw_cell)
    if cell in missing or normalise_label(cell) in missing:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(
            f"label is {short_repr(cell)}; allowed: a finite number from {low:g} to {high:g}"
        )
    return number


def _listed_labels(cell: str) -> list[Any] | None:
    """Returns the items of a list as JSON or Python writes it, or None for other text."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            labels = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return labels if isinstance(labels, list) else None
    return None


def items_of(cell: object, separator: str) -> list[str]:
    """Returns the labels in a cell: a list, text that is a list in JSON or Python, or text.

    separator: of labels in text. A null in a list is no label.
    """
    items = cell if isinstance(cell, list) else _listed_labels(str(cell).strip())
    return (
        [part.strip() for part in str(cell).split(separator)]
        if items is None
        else [str(item) for item in items if item is not None]
    )


def _class_set(
    codes: Mapping[str, int],
    values: tuple[str, ...],
    missing: tuple[str, ...],
    separator: str,
    raw_cell: object,
) -> tuple[int, ...] | None:
    if not isinstance(raw_cell, list):
        cell = str(raw_cell).strip()
        if normalise_label(cell) not in codes and (
            cell in missing or normalise_label(cell) in missing
        ):
            return None
    try:
        return tuple(
            sorted({codes[normalise_label(item)] for item in items_of(raw_cell, separator)})
        )
    except KeyError:
        allowed = (
            f"{nearest(raw_cell, values)}, with {separator!r} between them, or [] for none of them"
        )
        raise ValueError(f"label is {short_repr(raw_cell)}; allowed: {allowed}") from None


def label_decoder(
    kind: Kind, values: tuple[str, ...], missing: tuple[str, ...], separator: str = SEPARATOR
) -> Decode:
    """Returns the function that converts labels of a task.

    values: the classes as written in the file, in the order of kind.labels. Empty for regression. A
        label and a class are compared after normalise_label().
    missing: labels that mean "no label". Empty if every row must have a label.
    separator: multilabel: the separator of the labels in a cell of text. A cell can also be a list,
        or text that is a list in JSON; the empty list is a row with none of the classes.
    """
    if kind.multilabel:
        places = {normalise_label(value): place for place, value in enumerate(values)}
        return partial(_class_set, places, values, missing, separator)
    if not kind.labels:
        return partial(_number, *(kind.range or (-LARGEST_SCORE, LARGEST_SCORE)), missing)
    assert len(values) == len(kind.labels), f"{values} for {kind.labels}"
    shown = [value for value in missing if value not in NOT_AVAILABLE]
    # One table for both: classes have their index, "no label" has None. Classes come last and win.
    codes: dict[str, float | None] = dict.fromkeys(map(normalise_label, missing))
    codes |= {normalise_label(value): float(index) for index, value in enumerate(values)}
    return partial(_class_index, codes, (*shown, *values))


def rows_of_file(
    table: Table,
    kind: Kind,
    values: tuple[str, ...] = (),
    missing: tuple[str, ...] = ("",),
    separator: str = SEPARATOR,
) -> RawRows:
    """Returns the rows of a file. values, missing, separator: as in label_decoder.

    Raises ValueError if the file or one of its columns is missing.
    """
    files.check_table(table)
    decode = None if table.label is None else label_decoder(kind, values, missing, separator)
    # The rows depend on how the file is read as well as on its content.
    spec: tuple[object, ...] = (
        table.path.suffix.lower(),
        table[1:],
        values,
        kind.range if table.label is not None else None,
        missing,
    )
    if kind.multilabel and table.label is not None:
        spec = (*spec, "multilabel", separator)
    records = partial(files.read_table, table)
    return RawRows(
        str(table.path),
        records,
        table.text,
        decode,
        table.lenient,
        hash_values(spec, file_hash(table.path)),
    )


def rows_of_columns(
    table: Columns, text: tuple[str, ...], decode: Decode | None, label: str, spec: object
) -> RawRows:
    """Returns the rows of a table, without those that have no text.

    decode, label: the label's decoder and column; None and "" if there are no labels.
    spec: everything else that the rows depend on, as a value whose repr identifies it.
    """
    columns = (*text, label) if decode is not None else text
    return RawRows(
        table.where,
        partial(table.read, columns),
        text,
        decode,
        True,
        hash_values(spec, columns, table.written, table.fingerprint(columns)),
    )


def _text_problem(text: tuple[str, ...], cells: Sequence[Any]) -> str:
    """Returns what is missing, or "". Raises ValueError for a cell that is no text."""
    for column, cell in zip(text, cells, strict=False):
        if is_missing(cell):
            return f"text column {column!r} is empty"
        if not isinstance(cell, str):
            raise ValueError(f"text column {column!r} is {short_repr(cell)}; allowed: text")
    return ""


def num_skipped_rows(part: RawRows) -> int:
    """Returns the number of rows that a lenient part skips. Reads all rows once."""
    return sum(_text_problem(part.text, cells) != "" for _, cells in part.records())


def _rows(part: RawRows) -> Iterator[Row]:
    text, decode, pair = part.text, part.decode, len(part.text) == 2
    label: float | tuple[int, ...] | None = None
    for line, cells in part.records():
        try:
            if problem := _text_problem(text, cells):
                if part.lenient:
                    continue
                raise ValueError(problem)
            if decode is not None:
                label = decode("" if is_missing(cells[-1]) else cells[-1])
        except ValueError as error:
            raise ValueError(f"{part.where}:{line}: {error}") from None
        text_b = cells[1] if pair else None
        if isinstance(label, tuple):
            yield Row(cells[0], text_b, float(len(label)), label)
        else:
            yield Row(cells[0], text_b, label)


def make_split(*raw_rows: RawRows) -> Split:
    """Returns a split with the rows of all parts, one part after another."""
    return join_splits(
        *(Split(partial(_rows, part), part.fingerprint, part.where) for part in raw_rows)
    )


def join_splits(*splits: Split) -> Split:
    """Returns the concatenation of splits. Reading it raises ValueError if there are no rows.

    Its fingerprint is of all splits; its source names the first MOST_SOURCES.
    """
    source = _listed_sources([split.source for split in splits])
    return Split(
        partial(_chained, splits, source),
        hash_values(*(split.fingerprint for split in splits)),
        source,
    )


def _listed_sources(sources: list[str]) -> str:
    """Returns the first sources and how many more there are: MLflow bounds the whole text."""
    more = len(sources) - MOST_SOURCES
    return ", ".join(sources[:MOST_SOURCES]) + (f" and {more:,} more" if more > 0 else "")


def _chained(splits: tuple[Split, ...], source: str) -> Iterator[Row]:
    rows = chain.from_iterable(split.read() for split in splits)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{source}: no rows; allowed: one or more")
    yield first
    yield from rows

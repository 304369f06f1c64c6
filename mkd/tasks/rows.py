"""Rows of tasks, checked one by one, from the cells of files: text that is there, labels as they are allowed."""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from mkd.storage.store import file_hash
from mkd.tasks import files
from mkd.tasks.files import Record, Table, listed, shown
from mkd.tasks.task import Kind, Row, Split

Decode = Callable[[str], float | None]
"""Of a label as it is written: the class's index or the score, None where there is none; ValueError where it is wrong."""


class Part(NamedTuple):
    """Rows of one file, or of one split of a dataset.

    where: which one, for errors.
    records: a new pass over it; the cells are the texts, then the label where there is one.
    text: the text columns.
    decode: of the label; None where there is no label column.
    lenient: whether a row with an empty text is left out, rather than refused.
    fingerprint: changes whenever the rows do.
    """

    where: str
    records: Callable[[], Iterator[Record]]
    text: tuple[str, ...]
    decode: Decode | None
    lenient: bool
    fingerprint: str


def fingerprint(*values: object) -> str:
    """SHA-256 of values that their repr tells apart."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def plain(label: str) -> str:
    """One way to write labels that are the same: whole numbers and truth values, as other programs write them.

    pandas writes 0.0 into a column of whole numbers of which one is missing, JSON has true where Python has True.
    """
    number = re.fullmatch(r"(-?\d+)\.0*", label)
    if number:
        return "0" if number[1] == "-0" else number[1]
    return label.lower() if label.lower() in ("true", "false") else label


def _class_index(codes: Mapping[str, float | None], values: tuple[str, ...], cell: str) -> float | None:
    try:
        return codes[cell] if cell in codes else codes[plain(cell)]
    except KeyError:
        unlabelled = "; if that is no label: unlabelled: -1" if plain(cell) == "-1" and "" in values else ""
        raise ValueError(f"label is {shown(cell)}; allowed: {listed(values)}{unlabelled}") from None


def _number(low: float, high: float, missing: tuple[str, ...], cell: str) -> float | None:
    if cell in missing or plain(cell) in missing:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"label is {shown(cell)}; allowed: a finite number from {low:g} to {high:g}")
    return number


def decoder(kind: Kind, values: tuple[str, ...], missing: tuple[str, ...]) -> Decode:
    """What reads a label.

    values: the classes as they are written, in the kind's order; none for regression. They and the cells are equal where `plain`
    has them alike. missing: what a row has that lacks its label; nothing where each has to have one.
    """
    if not kind.labels:
        return partial(_number, *(kind.range or (-math.inf, math.inf)), missing)
    assert len(values) == len(kind.labels), f"{values} for {kind.labels}"
    codes: dict[str, float | None] = dict.fromkeys(map(plain, missing))
    codes |= {plain(value): float(index) for index, value in enumerate(values)}
    return partial(_class_index, codes, (*missing, *values))


def file_part(table: Table, kind: Kind, values: tuple[str, ...] = (), missing: tuple[str, ...] = ("",)) -> Part:
    """The rows of a file that is there and has the columns; values and missing as in decoder."""
    files.check(table)
    decode = None if table.label is None else decoder(kind, values, missing)
    spec = (table.path.suffix.lower(), table[1:], values, kind.range if table.label is not None else None, missing)
    records = partial(files.read, table)
    return Part(str(table.path), records, table.text, decode, table.lenient, fingerprint(spec, file_hash(table.path)))


def _text_problem(text: tuple[str, ...], cells: Sequence[Any]) -> str:
    for column, cell in zip(text, cells, strict=False):
        if not isinstance(cell, str):
            return f"text column {column!r} is {shown(cell)}; allowed: text"
        if not cell.strip():
            return f"text column {column!r} is empty"
    return ""


def num_left_out(part: Part) -> int:
    """How many rows a lenient part leaves out; reads it once."""
    return sum(_text_problem(part.text, cells) != "" for _, cells in part.records())


def _rows(part: Part) -> Iterator[Row]:
    text, decode, pair, label = part.text, part.decode, len(part.text) == 2, None
    for line, cells in part.records():
        try:
            if problem := _text_problem(text, cells):
                if part.lenient:
                    continue
                raise ValueError(problem)
            if decode is not None:
                label = decode("" if cells[-1] is None else str(cells[-1]))
        except ValueError as error:
            raise ValueError(f"{part.where}:{line}: {error}") from None
        yield Row(cells[0], cells[1] if pair else None, label)


def split(*parts: Part) -> Split:
    """The rows of all parts, one part after another."""
    return joined(*(Split(partial(_rows, part), part.fingerprint, part.where) for part in parts))


def joined(*splits: Split) -> Split:
    """The rows of all splits, one split after another; reading raises where there are none."""
    source = ", ".join(split.source for split in splits)
    return Split(partial(_chained, splits, source), fingerprint(*(split.fingerprint for split in splits)), source)


def _chained(splits: tuple[Split, ...], source: str) -> Iterator[Row]:
    rows = chain.from_iterable(split.read() for split in splits)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{source}: no rows; allowed: one or more")
    yield first
    yield from rows

"""Reads columns of CSV, TSV, JSON Lines and Parquet files, row by row.

Only one row is in memory at a time (Parquet: one batch of rows). Errors in a file are raised as
ValueError "file:line: ...", with lines counted from 1 (Parquet: rows).
"""

import csv
import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mkd.storage.addresses import first_line

UNREAD_TABLES = (".json", ".xls", ".xlsx", ".gz", ".zip")
"""Endings of files that hold tables, in formats that are not read."""
NAMED_OBJECTS = 100
"""Number of objects of a JSON Lines file whose keys are its columns."""

SHOWN = 10
"""Labels that an error message lists at most."""
LISTED = 20
"""Names that an error message lists at most."""
MOST_CELL = (1 << 31) - 1
"""Largest number of characters in a CSV cell."""

Record = tuple[int, Sequence[Any]]
"""Line of a row in its file, and the row's cells."""


class Table(NamedTuple):
    """The columns to read from one file: texts and, optionally, a label.

    path: the file. Its ending gives the format (FORMATS).
    text, label: column names. Without a header: column indices from 0, as strings. label=None: no
        label.
    header: whether the first line of a CSV or TSV file is a header.
    lenient: whether a CSV or TSV row with a wrong number of columns is read as empty cells instead
        of raising an error.
    """

    path: Path
    text: tuple[str, ...]
    label: str | None
    header: bool = True
    lenient: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return self.text if self.label is None else (*self.text, self.label)


class Format(NamedTuple):
    """Functions that read the files with one ending."""

    names: Callable[[Path, bool], list[str]]
    """names(path, header) returns the names of the file's columns."""
    read: Callable[[Table, list[str]], Iterator[Record]]
    """read(table, names) yields the cells of table.columns for each row. names: all columns."""


def short_repr(value: object) -> str:
    """Returns the repr of a value for an error message, shortened to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def listed(values: Sequence[object]) -> str:
    """Returns a comma-separated list of values for an error message, or `none`.

    Of many only the first are listed.
    """
    more = f", and {len(values) - LISTED} more" if len(values) > LISTED else ""
    return (", ".join(map(short_repr, values[:LISTED])) or "none") + more


def nearest(wrong_value: object, values: Sequence[str]) -> str:
    """Returns the allowed values for an error message: all of them, or of many the nearest ones."""
    if len(values) <= SHOWN:
        return listed(values)
    named = [value for value in values if value]  # "" is what stands for no label
    near = difflib.get_close_matches(str(wrong_value)[:80], named, SHOWN, 0)
    return f"{len(named)} labels, such as {listed(near)}"


def _without_last_blanks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the lines without blank ones at the end."""
    blank: list[bytes] = []
    for line in lines:
        if line in (b"\n", b"\r\n"):
            blank.append(line)
        else:
            yield from blank
            yield line
            blank = []


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(_without_last_blanks(file), 1):
            if number == 1:  # drop the byte order mark, which Excel writes
                line = line.removeprefix(b"\xef\xbb\xbf")
                if b"\0" in line[:2]:  # UTF-16 without a mark
                    raise ValueError(f"{path}:1: has zero bytes, as UTF-16 has; allowed: UTF-8")
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: byte {error.start} is {line[error.start]:#04x}; allowed: "
                    "UTF-8"
                ) from None


def _blank(cells: list[str]) -> bool:
    """Returns whether the cells are those of a blank line, which is no row, as in pandas."""
    return not cells or (len(cells) == 1 and (not cells[0] or cells[0].isspace()))


def _tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(path), 1):
        cells = line.removesuffix("\n").removesuffix("\r").split("\t")
        if not _blank(cells):
            yield number, cells


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    # A quoted cell can span lines: errors name the line where the record starts.
    csv.field_size_limit(MOST_CELL)  # 131,072 characters by default
    reader = csv.reader(_lines(path), strict=True)
    start = 1
    try:
        for cells in reader:
            if not _blank(cells):
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{start}: not valid CSV: {error}") from None


def _delimited(rows: Callable[[Path], Iterator[tuple[int, list[str]]]]) -> Format:
    def names(path: Path, header: bool) -> list[str]:
        _, cells = next(rows(path), (1, []))
        if not cells:
            raise ValueError(f"{path}:1: no {'header' if header else 'row'}; the file is empty")
        return cells if header else [str(column) for column in range(len(cells))]

    def read(table: Table, names: list[str]) -> Iterator[Record]:
        positions = [names.index(column) for column in table.columns]
        records = rows(table.path)
        if table.header:
            next(records)
        for line, cells in records:
            if len(cells) == len(names):
                yield line, [cells[position] for position in positions]
            elif table.lenient:
                yield line, [""] * len(positions)
            else:
                raise ValueError(
                    f"{table.path}:{line}: {len(cells)} columns; allowed: {len(names)}, as in line "
                    "1"
                )

    return Format(names, read)


def _json_object(path: Path, line: int, text: str) -> dict[str, object]:
    try:
        record = json.loads(text)
        if "\\u" in text:  # only escapes can produce half a surrogate pair, which cannot be encoded
            json.dumps(record, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{line}: not valid JSON: {error.msg} at column {error.colno}"
        ) from None
    except RecursionError:
        raise ValueError(f"{path}:{line}: not valid JSON: too many levels of brackets") from None
    except UnicodeEncodeError:
        raise ValueError(
            f"{path}:{line}: half a \\u surrogate pair; allowed: whole characters"
        ) from None
    except ValueError as error:  # a number with thousands of digits
        raise ValueError(f"{path}:{line}: not valid JSON: {str(error).split(';')[0]}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path}:{line}: {short_repr(record)}; allowed: a JSON object")
    return record


def _jsonl_names(path: Path, header: bool) -> list[str]:
    """Returns the keys of the first objects; a program may leave out keys without a value."""
    names: dict[str, None] = {}
    for line, text in enumerate(islice(_lines(path), NAMED_OBJECTS), 1):
        names |= dict.fromkeys(_json_object(path, line, text))
    if not names:
        raise ValueError(f"{path}:1: no row; the file is empty")
    return list(names)


def _jsonl(table: Table, names: list[str]) -> Iterator[Record]:
    for line, text in enumerate(_lines(table.path), 1):
        record = _json_object(table.path, line, text)
        yield line, [record.get(column) for column in table.columns]


def _parquet_names(path: Path, header: bool) -> list[str]:
    # Imported here because the runtime of an exported student works without pyarrow.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not readable as Parquet: {first_line(error)}") from None


def _parquet(table: Table, names: list[str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row, column = 1, ""
    try:
        with pq.ParquetFile(table.path) as file:
            for batch in file.iter_batches(1000, columns=list(dict.fromkeys(table.columns))):
                cells = []
                for column in table.columns:
                    cells.append(batch.column(column).to_pylist())
                yield from enumerate(zip(*cells, strict=True), row)
                row += batch.num_rows
    except OverflowError as error:  # a date after the year 9999, or a very long duration
        raise ValueError(
            f"{table.path}:{row}: column {column!r}: {error}; allowed: dates and durations that "
            "Python has"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{table.path}:{row}: not readable as Parquet: {first_line(error)}"
        ) from None


FORMATS: dict[str, Format] = {
    ".csv": _delimited(_csv),
    ".tsv": _delimited(_tsv),
    ".jsonl": Format(_jsonl_names, _jsonl),
    ".parquet": Format(_parquet_names, _parquet),
}
"""Formats by ending of the file. CSV is quoted with double quotes; TSV has no quoting."""
WRITTEN_ENDINGS = (".csv", ".tsv")
"""Endings of formats whose cells are text, also numbers and missing values."""


def _checked_names(table: Table) -> list[str]:
    path, ending = table.path, table.path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path}: the ending is {ending!r}; allowed: {listed(list(FORMATS))}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if not table.header and ending not in (".csv", ".tsv"):
        raise ValueError(
            f"{path}: header is False; allowed: True, as {ending} files name their columns"
        )
    names = FORMATS[ending].names(path, table.header)
    num = Counter(names)
    for column in table.columns:
        if column not in num:
            raise ValueError(f"{path}:1: no column {column!r}; there are: {listed(names)}")
        if num[column] > 1:
            raise ValueError(f"{path}:1: {num[column]} columns {column!r}; allowed: one")
    return names


def check_table(table: Table) -> None:
    """Raises ValueError if the file is missing, its format is unknown or a column is missing.

    Does not read the rows.
    """
    _checked_names(table)


def column_names(path: Path, header: bool = True) -> list[str]:
    """Returns the column names of a file, from its header, its first JSON objects or its schema.

    header: whether a CSV or TSV file has one. Else its columns are numbers from 0.
    """
    return _checked_names(Table(path, (), None, header))


def read_table(table: Table) -> Iterator[Record]:
    """Yields the rows of a table. Raises ValueError with file and line if a row is wrong."""
    return FORMATS[table.path.suffix.lower()].read(table, _checked_names(table))

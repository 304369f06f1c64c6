"""Finds a table's columns of text and label, by their names and the content of the first rows.

A column is taken only if nothing else fits as well; else the user is asked to state it.
"""

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from mkd.tasks.files import Record, listed

LOOK_ROWS = 2000
"""Number of rows that are looked at to choose the columns."""
PROSE_WORDS = 3.0
"""Mean number of words of a cell from which a column counts as text, whatever its name."""
REPEATS = 5
"""A column in which a value occurs this many times on average counts as classes, not as text."""

TEXT_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
)
"""Names of two columns that are a pair of texts."""
TEXT_NAMES = (
    ("text",),
    ("sentence", "review", "comment", "message", "utterance", "content", "body", "document",
     "tweet", "query", "question"),
)  # fmt: skip
"""Names of a text column. Those of the second group are used if no column holds prose."""
LABEL_NAMES = (
    ("label",),
    ("labels",),
    ("target", "class", "y", "gold_label"),
    ("category", "intent", "sentiment", "emotion", "topic", "score", "rating", "stars",
     "similarity", "is_duplicate", "verdict"),
)  # fmt: skip
"""Names of a label column, in groups. A group counts if the table has none of those before it."""

# Scripts without spaces between words: each letter counts as a word.
UNSPACED_LETTER = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)
LETTER = re.compile(r"[^\W\d_]")
DATE = re.compile(r"\d{4}-\d\d?-\d\d?(\D|$)|\d\d?[./-]\d\d?[./-]\d{2,4}(\D|$)")
ROW_NUMBER = re.compile(r"(unnamed.*|index|idx|.*_?id|uuid|guid|)", re.IGNORECASE)


class Columns(NamedTuple):
    """A table with named columns: a file, a split of a dataset, or a data frame.

    where: its name in messages.
    names: its columns.
    read: read(columns) yields the cells of these columns for each row, with the row's line.
    fingerprint: fingerprint(columns) changes if the cells of these columns change.
    classes: names of the classes, by column, where the cells are their indices.
    written: whether cells are text as a program wrote it, so that a missing value may be `NA`.
    """

    where: str
    names: tuple[str, ...]
    read: Callable[[tuple[str, ...]], Iterator[Record]]
    fingerprint: Callable[[tuple[str, ...]], str]
    classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    written: bool = False


class Chosen(NamedTuple):
    """The columns of a task: one text or two, and the label."""

    text: tuple[str, ...]
    label: str


class ColumnSample(NamedTuple):
    """Statistics of the first rows of a column.

    filled: number of cells with a value. distinct: number of different values.
    words: mean number of words of a cell, 0 for a column that is not text.
    dates: whether the values are dates.
    """

    filled: int
    distinct: int
    words: float
    dates: bool

    @property
    def prose(self) -> bool:
        return self.words >= PROSE_WORDS and self.distinct * REPEATS > self.filled

    @property
    def classes(self) -> bool:
        """Whether the values are no dates, and repeat."""
        return not self.dates and 1 < self.distinct <= max(2, self.filled // 2)


def is_missing(cell: object) -> bool:
    """Returns whether a cell has no value: None, NaN, or text without a visible character."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def is_number(cell: object) -> bool:
    """Returns whether a cell is a finite number, or text that is one."""
    try:
        return math.isfinite(float(str(cell)))
    except ValueError:
        return False


def check_column(table: Columns, column: str) -> None:
    """Raises ValueError, with the columns there are, unless the table has the column once."""
    if column not in table.names:
        raise ValueError(f"{table.where}: no column {column!r}; there are: {listed(table.names)}")
    if (num := table.names.count(column)) > 1:
        raise ValueError(f"{table.where}: {num} columns {column!r}; allowed: one")


def choose_columns(
    table: Columns, text: tuple[str, ...], label: str, setting: Callable[[str], str]
) -> Chosen:
    """Returns the columns of text and label; those that are stated are taken as they are.

    text, label: the stated columns. Empty: to be found.
    setting: setting("text") names the setting that states the text, for messages.

    Raises ValueError, with the columns and the setting, if none fits or more than one does.
    """
    for column in (*text, *([label] if label else [])):
        check_column(table, column)
    if text and label:
        return Chosen(text, label)
    looks = _looks(table)
    if not label:
        label = _by_name([name for name in table.names if name not in text], LABEL_NAMES, 0)
    columns = text or _text_columns(table, looks, label, setting)
    return Chosen(columns, label or _label_column(table, looks, columns, setting))


def _looks(table: Columns) -> dict[str, ColumnSample]:
    once = tuple(name for name, num in Counter(table.names).items() if num == 1)
    rows = [cells for _, cells in islice(table.read(once), LOOK_ROWS)]
    if not rows:
        raise ValueError(f"{table.where}: no rows; allowed: one or more")
    columns = zip(*rows, strict=True)
    return {name: _look(list(cells)) for name, cells in zip(once, columns, strict=True)}


def _look(cells: list[Any]) -> ColumnSample:
    filled = [cell for cell in cells if not is_missing(cell)]
    distinct = len(set(map(repr, filled)))
    letters = sum(isinstance(cell, str) and LETTER.search(cell) is not None for cell in filled)
    dates = bool(filled) and all(
        isinstance(cell, datetime.date) or DATE.match(str(cell)) for cell in filled
    )
    # Dates, numbers and codes hold hardly any letters.
    if not filled or dates or letters < 0.9 * len(filled):
        return ColumnSample(len(filled), distinct, 0.0, dates)
    words = sum(_num_words(str(cell)) for cell in filled) / len(filled)
    return ColumnSample(len(filled), distinct, words, dates)


def _num_words(text: str) -> int:
    return max(len(text.split()), len(UNSPACED_LETTER.findall(text)))


def _by_name(names: Sequence[str], groups: Sequence[Sequence[str]], first: int) -> str:
    """Returns the only column with a name of the first group that the table has, or "".

    first: the group to begin with.
    """
    for group in groups[first:]:
        if matches := [name for name in names if name.strip().lower() in group]:
            return matches[0] if len(matches) == 1 else ""
    return ""


def _refused(table: Columns, what: str, candidates: Sequence[str], state: str) -> ValueError:
    reason = (
        f"the {what} may be {' or '.join(map(repr, candidates))}"
        if candidates
        else f"no {what} found"
    )
    return ValueError(f"{table.where}: {reason}; state {state}; columns: {listed(table.names)}")


def find_text(table: Columns, pair: bool, state: str) -> tuple[str, ...]:
    """Returns the text column of a table whose labels are not needed; two columns for pairs.

    state: what states the columns, for messages.

    Raises ValueError, with the columns there are, if none fits or more than one does.
    """
    looks = _looks(table)
    label = _by_name(table.names, LABEL_NAMES, 0)
    prose = _prose(looks, label)
    one = _one_text(looks, label)
    texts = _known_pair(looks, label) or tuple(prose) if pair else tuple(filter(None, [one]))
    if len(texts) != 1 + pair:
        raise _refused(table, "text", prose, state)
    return texts


def _text_columns(
    table: Columns, looks: Mapping[str, ColumnSample], label: str, setting: Callable[[str], str]
) -> tuple[str, ...]:
    if pair := _known_pair(looks, label):
        return pair
    column = _one_text(looks, label)
    if not column:
        state = f"{setting('text')}: one column, or two for pairs"
        raise _refused(table, "text", _prose(looks, label), state)
    return (column,)


def _known_pair(looks: Mapping[str, ColumnSample], label: str) -> tuple[str, ...]:
    """Returns two columns with the names of a pair, or ()."""
    lower = {name.strip().lower(): name for name in looks if name != label}
    known = next((pair for pair in TEXT_PAIRS if all(name in lower for name in pair)), ())
    return tuple(lower[name] for name in known)


def _prose(looks: Mapping[str, ColumnSample], label: str) -> list[str]:
    return [name for name, look in looks.items() if name != label and look.prose]


def _one_text(looks: Mapping[str, ColumnSample], label: str) -> str:
    """Returns the only column that fits as text, or ""."""
    names = [name for name in looks if name != label]
    prose = _prose(looks, label)
    column = _by_name(names, TEXT_NAMES[:1], 0) or (prose[0] if len(prose) == 1 else "")
    if not column and not prose:
        column = _by_name(names, TEXT_NAMES, 1) or _only_words(looks, names)
    return column


def _only_words(looks: Mapping[str, ColumnSample], names: Sequence[str]) -> str:
    """Returns the only column of words that do not repeat, or ""."""
    words = [name for name in names if looks[name].words and not looks[name].classes]
    return words[0] if len(words) == 1 else ""


def _label_column(
    table: Columns,
    looks: Mapping[str, ColumnSample],
    text: tuple[str, ...],
    setting: Callable[[str], str],
) -> str:
    others = [
        name for name in looks if name not in text and ROW_NUMBER.fullmatch(name.strip()) is None
    ]
    named = [name for group in LABEL_NAMES for name in others if name.strip().lower() in group]
    candidates = named or [name for name in others if looks[name].classes and not looks[name].prose]
    if not candidates and len(others) == 1:
        candidates = others
    if len(candidates) != 1:
        raise _refused(table, "label", candidates, setting("label"))
    return candidates[0]

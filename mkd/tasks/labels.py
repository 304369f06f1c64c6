"""Counts the labels of a table, and infers from them the kind of its task and its classes."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, NamedTuple

from mkd.tasks.columns import LOOK_ROWS, Columns, is_missing, is_number
from mkd.tasks.files import short_repr
from mkd.tasks.rows import NOT_AVAILABLE, SEPARATOR, items_of, normalise_label
from mkd.tasks.stated import Stated

CHUNK_ROWS = 4096
MOST_CLASSES = 10_000
"""Number of different labels that are counted. More are no classes."""
FEW_NUMBERS = 20
"""Up to this many different whole numbers are classes; more are scores, unless they are 0, 1, 2,
... without gaps and with REPEATED rows each on average, as class indices are."""
REPEATED = 10
SEPARATORS = (",", "|", ";")
"""Separators of several labels in a cell of text. Other cells are one label."""
MANY_DIVIDED = 0.01
"""Minimum share of cells with a separator for which cells are read as several labels."""
KNOWN_ALONE = 0.9
"""Minimum share of the labels in such cells that are also a cell of their own. Parts of one name,
such as `Sales, EMEA`, are not."""
CELLS_A_LABEL = 3
"""Minimum number of different cells per label for which cells are combinations of labels."""

CLASSIFICATION, MULTILABEL, REGRESSION = "classification", "multilabel", "regression"


class Scan(NamedTuple):
    """Counts over all rows of a table.

    rows: number of rows with text. without_text: number of rows without.
    unlabelled: number of rows with text that have no label.
    not_available: how often a label is written as NA or the like, by what is written.
    labels: how often each label occurs, as text. At most MOST_CLASSES + CHUNK_ROWS are counted.
    numbers: whether all labels are numbers. lists: whether a label is a list.
    """

    rows: int
    without_text: int
    unlabelled: int
    not_available: Counter[str]
    labels: Counter[str]
    numbers: bool
    lists: bool


def scan(
    table: Columns,
    text: tuple[str, ...],
    label: str | None,
    stated: Collection[str],
    separator: str = "",
) -> Scan:
    """Reads all rows of a table once and returns what they hold.

    stated: classes that are stated. Their names count as labels even where they read NA.
    separator: of several labels in a cell of text. Empty: such a cell is one label.
    """
    rows = without_text = unlabelled = 0
    not_available: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    numbers, lists = True, False
    words = NOT_AVAILABLE - set(stated) if table.written else frozenset()
    records = table.read((*text, label) if label is not None else text)
    while chunk := [cells for _, cells in islice(records, CHUNK_ROWS)]:
        columns = list(zip(*chunk, strict=True))
        empty = [False] * len(chunk)
        for column in columns[: len(text)]:
            empty = [is_missing(cell) or was for cell, was in zip(column, empty, strict=True)]
        without_text += sum(empty)
        rows += len(chunk) - sum(empty)
        if label is None:
            continue
        cells = [cell for cell, left_out in zip(columns[-1], empty, strict=True) if not left_out]
        filled = [cell for cell in cells if not is_missing(cell)]
        lists = lists or any(isinstance(cell, list) for cell in filled)
        several = lists or separator
        counted = Counter(_items(filled, separator) if several else map(str, filled))
        missing = {value: counted.pop(value) for value in words & counted.keys()}
        not_available.update(missing)
        unlabelled += len(cells) - len(filled) + sum(missing.values())
        numbers = numbers and all(map(is_number, counted))
        if len(labels) <= MOST_CLASSES:
            labels.update(counted)
    return Scan(rows, without_text, unlabelled, not_available, labels, numbers, lists)


def _items(cells: Iterable[Any], separator: str) -> Iterable[str]:
    """Returns the labels in the cells, of which some are lists or, with a separator, divided."""
    return (
        item
        for cell in cells
        for item in (
            items_of(cell, separator) if isinstance(cell, list) or separator else [str(cell)]
        )
    )


def infer_labels(scans: Iterable[Scan], kind: str, where: str, stated: Stated) -> dict[str, Any]:
    """Returns the kind of a task, its classes unless it is a regression, and the separator if its
    cells hold several labels, as a task file does.

    scans: of the train and dev tables. kind: the stated kind; empty: to be inferred.
    where: table and column, for messages. stated: names what states a key, for messages.

    Raises ValueError if the labels fit no kind, or not the stated one.
    """
    scans = list(scans)
    labels = sum((each.labels for each in scans), Counter[str]())
    numbers = all(each.numbers for each in scans)
    lists = any(each.lists for each in scans)
    if not labels:
        raise ValueError(f"{where}: no row has a label; allowed: one or more")
    separator = "" if kind or numbers or lists else separator_in(labels)
    if separator:
        labels = divided(labels, separator)
        numbers = all(map(is_number, labels))
    kind = kind or _kind(labels, numbers, lists or separator != "")
    if kind == REGRESSION:
        if not numbers:
            wrong = next(value for value in labels if not is_number(value))
            raise ValueError(f"{where}: {short_repr(wrong)}; allowed for a regression: numbers")
        return {"kind": kind}
    classes = sorted(set(map(normalise_label, labels)), key=float if numbers else None)
    if len(classes) < 2:
        raise ValueError(
            f"{where}: its only label is {short_repr(classes[0])}; allowed: two or more classes"
        )
    total = labels.total()
    if len(classes) > max(FEW_NUMBERS, total // 2):
        several = f", or {stated('kind', MULTILABEL)}" if divisible_cell(labels) else ""
        raise ValueError(
            f"{where}: {len(classes):,} different labels in {total:,} rows are no classes; state "
            f"another column as {stated('label')}{several}"
        )
    return {"kind": kind, "labels": classes} | ({"separator": separator} if separator else {})


def separator_in(cells: Counter[str]) -> str:
    """Returns the separator of several labels in cells of text, or "" if each cell is one label.

    cells: how often each cell occurs. The evidence for several labels: many cells hold the
    separator; none holds a label twice; nearly all labels also occur alone; and there are far fewer
    labels than different cells.
    """
    if len(cells) > MOST_CLASSES:
        return ""
    return next((each for each in SEPARATORS if _divides(cells, each)), "")


def _divides(cells: Counter[str], separator: str) -> bool:
    items_by_cell = {cell: items_of(cell, separator) for cell in cells}
    several = {cell: items for cell, items in items_by_cell.items() if len(items) > 1}
    if sum(cells[cell] for cell in several) < max(1, MANY_DIVIDED * cells.total()):
        return False
    labels = {item for items in items_by_cell.values() for item in items}
    combined = {item for items in several.values() for item in items}
    alone = {items[0] for items in items_by_cell.values() if len(items) == 1}
    return (
        all(labels)
        and all(len(set(items)) == len(items) for items in several.values())
        and len(combined & alone) >= KNOWN_ALONE * len(combined)
        and len(labels) * CELLS_A_LABEL <= len(cells)
    )


def divisible_cell(cells: Counter[str]) -> str:
    """Returns the most frequent cell that may hold several labels, for a note that asks.

    cells: how often each cell occurs. Returns "" if a share below MANY_DIVIDED holds a separator.
    """
    several = Counter(
        {
            cell: count
            for cell, count in cells.items()
            if any(len(list(filter(None, items_of(cell, each)))) > 1 for each in SEPARATORS)
        }
    )
    if not several or several.total() < MANY_DIVIDED * cells.total():
        return ""
    return several.most_common(1)[0][0]


def separator_held(columns: Iterable[tuple[Columns, str]], labels: Collection[str]) -> str:
    """Returns what divides the labels in columns whose cells are known to hold several: what most
    of the first cells hold, or the usual separator if they hold none.

    columns: tables, each with the column of its labels.
    labels: stated labels. What one of them holds does not divide.
    """
    cells = [
        cell
        for table, column in columns
        for _, (cell,) in islice(table.read((column,)), LOOK_ROWS)
        if not isinstance(cell, list)
    ]
    texts = [text for text in map(str, cells) if not text.lstrip().startswith("[")]  # JSON
    held = {
        each: sum(each in text for text in texts)
        for each in SEPARATORS
        if not any(each in label for label in labels)
    }
    most = max(held, key=lambda each: held[each], default=SEPARATOR)
    return most if held.get(most) else SEPARATOR


def divided(cells: Counter[str], separator: str) -> Counter[str]:
    """Returns how often each label occurs in cells of several labels. cells: as separator_in."""
    labels: Counter[str] = Counter()
    for cell, count in cells.items():
        labels.update(dict.fromkeys(items_of(cell, separator), count))
    return labels


def _kind(labels: Counter[str], numbers: bool, several: bool) -> str:
    if several:
        return MULTILABEL
    if not numbers:
        return CLASSIFICATION
    values = {float(value) for value in labels}
    whole = all(value.is_integer() for value in values)
    numbered = max(values) - min(values) + 1 == len(values) and min(values) in (0, 1)
    few = len(values) <= FEW_NUMBERS
    repeated = len(values) * REPEATED <= labels.total()
    return CLASSIFICATION if whole and (few or (numbered and repeated)) else REGRESSION

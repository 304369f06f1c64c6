"""Makes a task from tables of any origin: infers what is not stated, and notes the result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from mkd.tasks.columns import LOOK_ROWS, Columns, check_column, choose_columns, is_missing
from mkd.tasks.files import listed, short_repr
from mkd.tasks.labels import (
    CLASSIFICATION,
    MULTILABEL,
    REGRESSION,
    Scan,
    divisible_cell,
    infer_labels,
    scan,
    separator_held,
)
from mkd.tasks.metrics import MULTILABEL_METRICS
from mkd.tasks.rows import (
    NOT_AVAILABLE,
    Decode,
    RawRows,
    label_decoder,
    make_split,
    rows_of_columns,
)
from mkd.tasks.stated import Stated
from mkd.tasks.task import Kind, Task
from mkd.tasks.task_file import (
    kind_of,
    label_column,
    missing_labels,
    separator_of,
    text_columns,
)

DEV_SHARE = 0.1
"""Share of the labelled train rows that becomes dev if none is stated or found."""
DEFAULT_METRICS = {
    CLASSIFICATION: ["accuracy", "macro_f1"],
    MULTILABEL: list(MULTILABEL_METRICS),
    REGRESSION: ["pearson", "spearman"],
}
SHOWN_CLASSES = 4
"""Number of classes that are named in a note on a task."""
NO_CLASS = "-1"
"""What datasets write for "no label" in a column of class indices."""


class Origin(NamedTuple):
    """Where a task comes from.

    name: the task's name.
    where: name of its description, for messages.
    stated: names what states a key of the description, for messages.
    """

    name: str
    where: str
    stated: Stated

    def setting(self, key: str) -> str:
        """Returns the name of a key of the description, for messages."""
        return f"{self.where}.{key}"


class Part(NamedTuple):
    """A table of a task.

    text, label: its columns; empty: those of the task. label=None: it has no labels.
    """

    table: Columns
    text: tuple[str, ...] = ()
    label: str | None = ""


def build_task(
    origin: Origin,
    settings: Mapping[str, Any],
    train: Sequence[Part],
    dev: Part | float | None,
    dev_tables: Sequence[Columns] = (),
) -> Task:
    """Returns the task of some tables. Reads all their rows once.

    settings: what is stated: kind, labels, text, label, metrics, range and unlabelled of a task
        file. All else is inferred from the tables.
    train: the tables of the train rows; at least one has labels.
    dev: the table of the dev rows, or the share of the labelled train rows that becomes dev.
        None: the first table of `dev_tables` that has labels, else DEV_SHARE.
    dev_tables: tables that may be dev.

    Raises ValueError if what is not stated cannot be inferred, or if the tables do not fit.
    """
    first = next((part for part in train if part.label is not None), None)
    if first is None:
        raise ValueError(f"{origin.where}: no train table has labels; allowed: at least one")
    text = text_columns(settings["text"], origin.setting("text")) if "text" in settings else ()
    label = label_column(settings["label"], origin.setting("label")) if "label" in settings else ""
    chosen = choose_columns(first.table, first.text or text, first.label or label, origin.stated)
    default_part = Part(first.table, text or chosen.text, label or chosen.label)
    notes = []
    if dev is None:
        dev = next(
            (Part(table) for table in dev_tables if _has_labels(table, default_part)), DEV_SHARE
        )
        notes.append(dev_note(dev))
    tables = [*train, *([dev] if isinstance(dev, Part) else [])]
    parts = [_resolved(part, default_part) for part in tables]
    stated = settings.get("labels", [])
    names = set(map(str, stated)) if isinstance(stated, list) else set()
    divided = ""  # whole cells are counted, which tell whether they hold several labels
    if settings.get("kind") == MULTILABEL:
        labelled = [(part.table, part.label) for part in parts if part.label]
        settings = {"separator": separator_held(labelled, names)} | dict(settings)
        divided = str(settings["separator"])
    scans = [scan(*part, names, divided) for part in parts]
    task = _completed(settings, parts, scans, origin) | {"text": list(default_part.text)}
    kind = kind_of(task, origin.where)
    missing = missing_labels(settings, kind, origin.where)
    separator = separator_of(task, kind, origin.where)
    rows = [
        _rows(part, kind, missing if place < len(train) else None, separator)
        for place, part in enumerate(parts)
    ]
    if not {"kind", "text", "label"} <= settings.keys():
        notes = [_inferred_note(default_part, kind, scans[: len(train)], separator), *notes]
    if "separator" in task.keys() - settings.keys():
        state = origin.stated("kind", CLASSIFICATION)
        notes.append(f"state {state} if each cell of {default_part.label!r} is one label")
    if task["kind"] == CLASSIFICATION and not {"kind", "labels"} & settings.keys():
        notes += _divisible(scans, origin.stated)
    for part, part_scan in zip(parts, scans, strict=True):
        notes += _left_out(part, part_scan, origin.stated)
    return Task(
        origin.name,
        kind,
        make_split(*rows[: len(train)]),
        {"": make_split(rows[-1])} if isinstance(dev, Part) else {},
        tuple(notes),
        dev_share=dev if isinstance(dev, float) else 0.0,
    )


def _has_labels(table: Columns, default_part: Part) -> bool:
    """Returns whether the first rows of a table have a label, so that they can be scored."""
    columns = (*default_part.text, default_part.label or "")
    if not set(columns) <= set(table.names):
        return False
    cells = [cells[-1] for _, cells in islice(table.read(columns), LOOK_ROWS)]
    known = [cell for cell in cells if not is_missing(cell) and str(cell) != NO_CLASS]
    return 0 < len(known) == len(cells)


def dev_note(dev: Part | float) -> str:
    """Returns the note on a table of dev rows, or on the share of train that is to become dev."""
    if isinstance(dev, Part):
        return f"dev: {dev.table.where}"
    return f"dev: {100 * dev:g} % of the labelled rows, held out of train"


def _resolved(part: Part, default_part: Part) -> Part:
    """Returns the part with its columns. Raises ValueError if the table lacks one of them."""
    resolved = Part(
        part.table,
        part.text or default_part.text,
        part.label if part.label is None else part.label or default_part.label,
    )
    for column in (*resolved.text, *([resolved.label] if resolved.label else [])):
        check_column(part.table, column)
    if len(resolved.text) != len(default_part.text):
        raise ValueError(
            f"{part.table.where}: the text is {listed(resolved.text)}; allowed: as many columns as "
            f"the task's text has, {listed(default_part.text)}"
        )
    return resolved


def _completed(
    settings: Mapping[str, Any], parts: Sequence[Part], scans: Sequence[Scan], origin: Origin
) -> dict[str, Any]:
    """Returns what is stated, with kind, labels and metrics added where they are not."""
    task = dict(settings)
    with_classes = MULTILABEL if any(part_scan.lists for part_scan in scans) else CLASSIFICATION
    if "kind" not in task and ("range" in task or "labels" in task):
        task["kind"] = REGRESSION if "range" in task else with_classes
    labelled = [part for part in parts if part.label is not None]
    classes = next(filter(None, (_classes(part) for part in labelled)), ())
    if task.get("kind") != REGRESSION and "labels" not in task:
        where = f"{labelled[0].table.where}: column {labelled[0].label!r}"
        task |= (
            {"kind": with_classes, "labels": list(classes)} | task
            if classes
            else infer_labels(scans, task.get("kind", ""), where, origin.stated)
        )
    return {"metrics": DEFAULT_METRICS.get(task["kind"], [])} | task


def _classes(part: Part) -> tuple[str, ...]:
    """Returns the classes that the label column declares, or () if it does not."""
    return part.table.classes.get(part.label or "", ())


def _rows(part: Part, kind: Kind, missing: tuple[str, ...] | None, separator: str) -> RawRows:
    """Returns the rows of a part.

    missing: labels that mean "no label". None: each row needs a label.
    """
    decode: Decode | None = None
    values, unlabelled = kind.labels, missing or ()
    if part.label is not None:
        classes = _classes(part)
        # Cells of a column with declared classes are their indices.
        if classes and set(kind.labels) <= set(classes):
            values = tuple(str(classes.index(label)) for label in kind.labels)
        if missing is not None:
            unlabelled += tuple(sorted(NOT_AVAILABLE)) if part.table.written else ()
            unlabelled += (NO_CLASS,) if classes else ()
        decode = label_decoder(kind, values, unlabelled, separator)
    spec: tuple[object, ...] = (values, kind.range, unlabelled)
    if kind.multilabel:
        spec = (*spec, MULTILABEL, separator)
    return rows_of_columns(part.table, part.text, decode, part.label or "", spec)


def _inferred_note(default_part: Part, kind: Kind, scans: Sequence[Scan], separator: str) -> str:
    """Returns the note on what was inferred for the task."""
    text = " and ".join(map(repr, default_part.text))
    rows = f"{sum(part_scan.rows for part_scan in scans):,} rows of {default_part.table.where}"
    divider = "" if any(part_scan.lists for part_scan in scans) else separator
    return f"text {text}, label {default_part.label!r} ({_kind_note(kind, divider)}), {rows}"


def _kind_note(kind: Kind, divider: str) -> str:
    """Returns a kind in words. divider: what divides labels in a cell; empty: cells are lists."""
    if not kind.labels:
        return "a number: regression"
    shown = kind.labels[:SHOWN_CLASSES]
    some = ", ".join(repr(label) if "," in label else label for label in shown)
    some += ", ..." * (len(kind.labels) > SHOWN_CLASSES)
    if kind.multilabel:
        by = f", divided by {divider!r}" if divider else ""
        return f"{len(kind.labels)} labels, several a row{by}: {some}"
    return f"{len(kind.labels)} classes: {some}"


def _divisible(scans: Sequence[Scan], stated: Stated) -> list[str]:
    """Returns a note if the cells, each taken for one label, may hold several."""
    cell = divisible_cell(sum((each.labels for each in scans), Counter[str]()))
    if not cell:
        return []
    state = stated("kind", MULTILABEL)
    return [f"each cell, such as {short_repr(cell)}, is one label; state {state} if it is several"]


def _left_out(part: Part, part_scan: Scan, stated: Stated) -> list[str]:
    """Returns notes on rows without text, and on labels that count as missing."""
    notes = []
    if part_scan.without_text:
        rows = "row lacks" if part_scan.without_text == 1 else "rows lack"
        notes.append(f"{part_scan.without_text:,} {rows} a text in {part.table.where}: left out")
    if written := part_scan.not_available:
        total = written.total()
        notes.append(
            f"{total:,} label{'s' * (total > 1)} of {part.table.where} read "
            f"{' or '.join(map(repr, sorted(written)))}, which counts as no label, as in pandas; "
            f"if it is a class, state {stated('labels')}"
        )
    return notes

"""Drafts a task file from a file of rows, with the reason of each line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mkd.storage.strict_yaml import Dumper
from mkd.tasks.build import DEFAULT_METRICS, DEV_SHARE
from mkd.tasks.columns import LABEL_NAMES, TEXT_NAMES, TEXT_PAIRS, Chosen, choose_columns
from mkd.tasks.files import short_repr
from mkd.tasks.frames import columns_of_file
from mkd.tasks.labels import (
    CLASSIFICATION,
    MULTILABEL,
    Scan,
    divided,
    divisible_cell,
    infer_labels,
    scan,
    separator_held,
)
from mkd.tasks.origins import task_name
from mkd.tasks.stated import Stated, by_settings

REASON_COLUMN = 40
"""Column at which the reasons start, where the lines are short enough."""
KNOWN_TEXT = {name for group in (*TEXT_NAMES, *TEXT_PAIRS) for name in group}
KNOWN_LABEL = {name for group in LABEL_NAMES for name in group}


class Draft(NamedTuple):
    """A drafted task file: the task's name, the file's text, and what was taken in one line."""

    name: str
    text: str
    summary: str


def draft_task(
    files: Sequence[Path],
    folder: Path,
    text: tuple[str, ...] = (),
    label: str = "",
    kind: str = "",
    option: Stated = by_settings,
) -> Draft:
    """Returns a task file for a file of train rows and, if there are two, one of dev rows.

    folder: where the task file is to be; the paths in it are relative to it.
    text, label: stated columns. Empty: found by their names and by what is in them.
    kind: the stated kind. Empty: inferred from the labels.
    option: names what states one of these, for messages.

    Raises ValueError, with the columns there are, if something cannot be found.
    """
    tables = [columns_of_file(file) for file in files]
    chosen = choose_columns(tables[0], text, label, option)
    separator = ""
    if kind == MULTILABEL:
        separator = separator_held([(table, chosen.label) for table in tables], ())
    scans = [scan(table, chosen.text, chosen.label, (), separator) for table in tables]
    where = f"{tables[0].where}: column {chosen.label!r}"
    inferred = infer_labels(scans, kind, where, option)
    if separator:
        inferred["separator"] = separator
    name = task_name(files[0])
    lines = _lines(files, folder, chosen, Chosen(text, label), scans, inferred)
    start = f"# Drafted from {files[0].name}. Each line has its reason; change what is wrong.\n"
    shown = f"{len(inferred['labels'])} classes" if "labels" in inferred else inferred["kind"]
    summary = f"text {' and '.join(map(repr, chosen.text))}, label {chosen.label!r} ({shown})"
    return Draft(name, f"{start}{name}:\n" + "".join(_line(*line) for line in lines), summary)


def _lines(
    files: Sequence[Path],
    folder: Path,
    chosen: Chosen,
    stated: Chosen,
    scans: Sequence[Scan],
    inferred: dict[str, Any],
) -> list[tuple[str, str]]:
    """Returns the lines of the task, each with its reason."""
    train, total = scans[0], sum((each.labels for each in scans[1:]), scans[0].labels)
    cell = divisible_cell(total) if inferred["kind"] == CLASSIFICATION else ""
    several = f"; --kind {MULTILABEL} if {short_repr(cell)} is several labels" if cell else ""
    rows = sum(each.rows - each.unlabelled for each in scans)
    if "separator" in inferred:
        total = divided(total, inferred["separator"])
    paths = [_scalar(os.path.relpath(file, folder)) for file in files]
    text = [*map(_scalar, chosen.text)]
    named = all(name.strip().lower() in KNOWN_TEXT for name in chosen.text)
    why_text = "stated" if stated.text else "by name" if named else "holds texts"
    named = chosen.label.strip().lower() in KNOWN_LABEL
    why_label = "stated" if stated.label else "by name" if named else "its values repeat"
    lines = [
        (f"train: {paths[0]}", _summary_rows(train)),
        (f"text: {text[0] if len(text) == 1 else '[' + ', '.join(text) + ']'}", why_text),
        (f"label: {_scalar(chosen.label)}", why_label),
        (f"kind: {inferred['kind']}", f"{len(total):,} different labels in {rows:,} rows{several}"),
    ]
    if "labels" in inferred:
        lines.append(("labels:", "in the order of the model's outputs"))
        lines += [
            (f"  - {_scalar(each)}", f"{total[each]:,} rows")
            if each in total
            else (f"  - {_scalar(each)}", "")
            for each in inferred["labels"]
        ]
    if "separator" in inferred:
        lines.append((f"separator: {_scalar(inferred['separator'])}", "between labels of one row"))
    metrics = ", ".join(DEFAULT_METRICS[inferred["kind"]])
    lines.append((f"metrics: [{metrics}]", f"the usual ones of a {inferred['kind']}"))
    if len(files) > 1:
        lines.append((f"dev: {paths[1]}", _summary_rows(scans[1])))
    else:
        why = "the share of labelled rows that is held out to be scored; or name a file of its own"
        lines.append((f"dev: {DEV_SHARE}", why))
    return lines


def _summary_rows(table_scan: Scan) -> str:
    phrases = [f"{table_scan.rows:,} rows"]
    if table_scan.unlabelled:
        phrases.append(
            f"{table_scan.unlabelled:,} of them without a label, for the teacher to label"
        )
    if table_scan.without_text:
        phrases.append(f"{table_scan.without_text:,} more without a text, which are left out")
    return ", ".join(phrases)


def _scalar(text: str) -> str:
    """Returns a text as YAML that is read as this text, in quotes if it needs them."""
    shown: str = yaml.dump(
        [text], Dumper=Dumper, default_flow_style=True, allow_unicode=True, width=10**9
    )
    return shown.strip()[1:-1]


def _line(text: str, reason: str) -> str:
    return f"  {text:<{REASON_COLUMN - 3}} # {reason}\n" if reason else f"  {text}\n"

"""The YAML file that describes a user's own tasks: kind, columns, metrics and files of each.

    reviews:                            # the task's name
      train: [a.csv, {file: more.jsonl, text: body, label: null}]   # null: no labels there
      dev: dev.csv                      # or the share of train's rows that become dev, 0.1
      text: review                      # a column, or [first, second] for pairs
      label: verdict                    # the column of the label
      kind: classification              # or regression, or multilabel
      labels: [bad, good]               # classification: as in the files; the order of the logits
      metrics: [accuracy, f1]
      range: [0, 5]                     # regression: the smallest and largest score
      unlabelled: -1                    # a label in train files that means "no label"
      header: true                      # whether CSV and TSV files have a header
      separator: ","                    # multilabel: what divides the labels in a cell

Only train is needed; mkd/tasks/build.py infers the rest. Paths are relative to the YAML file. An
empty label in a train file means "no label". Without a header, columns are numbers from 0.
"""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mkd.storage import strict_yaml
from mkd.storage.addresses import first_line
from mkd.tasks.files import listed, short_repr
from mkd.tasks.rows import SEPARATOR, normalise_label
from mkd.tasks.task import ALLOWED_NAMES, Kind, is_task_name

TASK_KEYS = (
    "kind",
    "labels",
    "text",
    "label",
    "metrics",
    "train",
    "dev",
    "range",
    "unlabelled",
    "header",
    "separator",
)
KINDS = ("classification", "multilabel", "regression")
FILE_KEYS = ("file", "text", "label")


class DataFile(NamedTuple):
    """A file of rows, with its columns if they are not those of the task.

    text: () if they are the task's. label: "" if it is the task's; None: there are no labels.
    """

    path: Path
    text: tuple[str, ...] = ()
    label: str | None = ""


class TaskDescription(NamedTuple):
    """A task as described. Its data files were not opened.

    where: what names the task in messages.
    stated: the keys that say what is in the files: kind, labels, text, label, metrics, range and
        unlabelled. Each may be missing.
    dev: the file of dev rows, or the share of train's that become dev. None: neither is stated.
    header: whether CSV and TSV files have a header.
    """

    where: str
    stated: dict[str, Any]
    train: tuple[DataFile, ...]
    dev: DataFile | float | None
    header: bool = True


def _check(condition: bool, where: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{where} is {short_repr(value)}; allowed: {allowed}")


def _mapping(
    value: Any, where: str, keys: Collection[str], needed: Collection[str]
) -> dict[str, Any]:
    _check(isinstance(value, dict), where, value, f"a mapping with the keys {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(keys)}")
    for key in needed:
        if key not in value:
            raise ValueError(f"{where}: no key {key!r}; needed: {', '.join(needed)}")
    return dict(value)


def _names(value: Any, where: str, least: int, most: float, allowed: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    valid = all((isinstance(v, str) and v != "") or type(v) is int for v in values)
    names = tuple(map(str, values))  # YAML reads 0 and 1 as integers, but files hold text
    _check(
        valid and least <= len(names) <= most and len(set(names)) == len(names),
        where,
        value,
        allowed,
    )
    return names


def _classes(value: Any, where: str) -> tuple[str, ...]:
    """Returns the class names, with booleans as `true` and `false`.

    Raises ValueError if two classes are equal after normalise_label(), because labels in files
    could not be assigned to one of them.
    """
    allowed = "two or more classes, each once, as the files write them, in quotes"
    values = (
        [str(v).lower() if isinstance(v, bool) else v for v in value]
        if isinstance(value, list)
        else value
    )
    names = _names(values, where, 2, math.inf, allowed)
    _check(len(set(map(normalise_label, names))) == len(names), where, value, allowed)
    return names


def text_columns(value: Any, where: str) -> tuple[str, ...]:
    """Returns the stated text columns. Raises ValueError unless there are one or two."""
    return _names(value, where, 1, 2, "a column's name or number, or two in a list")


def label_column(value: Any, where: str) -> str:
    """Returns the stated label column. Raises ValueError unless it is one."""
    return _names(value, where, 1, 1, "a column's name or number")[0]


def _range(value: Any, where: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and all(
        type(v) in (int, float) and math.isfinite(v) for v in value
    )
    _check(
        numbers and len(value) == 2 and value[0] < value[1],
        where,
        value,
        "two numbers, the smaller first",
    )
    return float(value[0]), float(value[1])


def kind_of(task: Mapping[str, Any], where: str) -> Kind:
    """Returns the definition of a task. Raises ValueError if its keys do not fit together.

    task: kind, labels (unless a regression), text and metrics, and range if there are limits.
    """
    _check(task["kind"] in KINDS, f"{where}.kind", task["kind"], ", ".join(KINDS))
    others = {"regression": ("labels", "separator"), "classification": ("range", "separator")}
    for other in others.get(task["kind"], ("range",)):
        if other in task:
            raise ValueError(f"{where}.{other} is for another kind; this one is {task['kind']}")
    labels: tuple[str, ...] = ()
    multilabel = task["kind"] == "multilabel"
    if task["kind"] != "regression":
        _check("labels" in task, f"{where}.labels", None, "the classes, in the order of the logits")
        labels = _classes(task["labels"], f"{where}.labels")
    from mkd.tasks.metrics import metrics_for  # here: a task file is checked before scipy is there

    pair = len(text_columns(task["text"], f"{where}.text")) == 2
    known = metrics_for(labels, multilabel, pair)
    metrics = _names(task["metrics"], f"{where}.metrics", 1, math.inf, listed(known))
    for metric in metrics:
        _check(metric in known, f"{where}.metrics", metric, listed(known))
    scores = _range(task["range"], f"{where}.range") if "range" in task else None
    return Kind(labels, pair, metrics, scores, multilabel)


def separator_of(task: Mapping[str, Any], kind: Kind, where: str) -> str:
    """Returns the separator of the labels in a cell.

    Raises ValueError if a label could be read as several.
    """
    value = task.get("separator", SEPARATOR)
    allowed = "text that no label contains, such as ',' or '|'"
    _check(isinstance(value, str) and value != "", f"{where}.separator", value, allowed)
    for label in kind.labels if kind.multilabel else ():
        items = [part.strip() for part in label.split(value)]
        clear = len(items) == 1 or not set(items) <= set(kind.labels)
        _check(clear, f"{where}.separator", value, f"{allowed}; {label!r} does")
    return str(value)


def _data_file(entry: Any, where: str, folder: Path) -> DataFile:
    file_entry = (
        {"file": entry} if isinstance(entry, str) else _mapping(entry, where, FILE_KEYS, ("file",))
    )
    _check(
        isinstance(file_entry["file"], str) and file_entry["file"] != "",
        where,
        file_entry["file"],
        "a file's name",
    )
    text = text_columns(file_entry["text"], f"{where}.text") if "text" in file_entry else ()
    label: str | None = ""
    if "label" in file_entry:
        label = (
            None
            if file_entry["label"] is None
            else label_column(file_entry["label"], f"{where}.label")
        )
    return DataFile(folder / file_entry["file"], text, label)


def _dev(value: Any, where: str, folder: Path) -> DataFile | float:
    if type(value) is float:
        _check(0 < value < 1, where, value, "a share between 0 and 1, or a file")
        return value
    dev = _data_file(value, where, folder)
    allowed = "a column; a dev split is there to be scored"
    _check(dev.label is not None, f"{where}.label", None, allowed)
    return dev


def describe(raw_task: Mapping[str, Any], where: str, folder: Path) -> TaskDescription:
    """Returns the description of a task from the keys of a task file.

    where: what names the task in messages. folder: file names are relative to it.

    Raises ValueError for an unknown key, or a value that is not allowed.
    """
    task = _mapping(raw_task, where, TASK_KEYS, ("train",))
    header = task.get("header", True)
    _check(isinstance(header, bool), f"{where}.header", header, "true, false")
    _check(task.get("kind", KINDS[0]) in KINDS, f"{where}.kind", task.get("kind"), ", ".join(KINDS))
    if "label" in task:
        label_column(task["label"], f"{where}.label")
    entries = task["train"] if isinstance(task["train"], list) else [task["train"]]
    _check(len(entries) > 0, f"{where}.train", entries, "at least one file")
    train = tuple(_data_file(entry, f"{where}.train", folder) for entry in entries)
    if "text" in task:
        text = text_columns(task["text"], f"{where}.text")
        for file in train:
            same = not file.text or len(file.text) == len(text)
            allowed = "as many columns as the task's text has"
            _check(same, f"{where}.train.text", list(file.text), allowed)
    dev = _dev(task["dev"], f"{where}.dev", folder) if "dev" in task else None
    stated = {key: value for key, value in task.items() if key not in ("train", "dev", "header")}
    return TaskDescription(where, stated, train, dev, header)


def missing_labels(task: Mapping[str, Any], kind: Kind, where: str) -> tuple[str, ...]:
    """Returns the labels of train rows that mean "no label": the empty one and the stated one."""
    if "unlabelled" not in task:
        return ("",)
    (value,) = _names(
        task["unlabelled"], f"{where}.unlabelled", 1, 1, "what stands for no label, in quotes"
    )
    _check(
        normalise_label(value) not in map(normalise_label, kind.labels),
        f"{where}.unlabelled",
        value,
        f"none of {listed(kind.labels)}",
    )
    return "", value


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads only true and false as booleans.

    By default yes, no, on and off become booleans too, but they are common class labels.
    """

    yaml_implicit_resolvers = {
        # First character of a scalar -> resolvers; a new dict, so that SafeLoader does not change.
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", strict_yaml.EXPONENT, list("-+0123456789"))

QUOTES = "; text with ? : # , [ ] { } & * ! | > % @ or ` at its start belongs in quotes"
"""End of a message about invalid YAML."""


def _loaded(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        strict_yaml.check_yaml(content, str(path))
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}:{line}: not valid YAML: {error.problem}{QUOTES}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {first_line(error)}") from None


def read_task_file(path: Path) -> dict[str, TaskDescription]:
    """Reads a YAML file and returns its tasks by name, in the order of the file.

    Raises ValueError if the file does not have the format shown at the top of this module.
    """
    tasks = _loaded(path)
    _check(
        isinstance(tasks, dict) and len(tasks) > 0,
        str(path),
        tasks,
        "a mapping from tasks' names to their description",
    )
    for name in tasks:
        _check(is_task_name(name), f"{path}: a task's name", name, ALLOWED_NAMES)
    return {name: describe(raw, f"{path}: {name}", path.parent) for name, raw in tasks.items()}

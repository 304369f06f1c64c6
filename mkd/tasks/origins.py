"""Determines data.source if only data.path is stated."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkd.config import DataConfig, Source
from mkd.tasks import files
from mkd.tasks.columns import Columns, check_column, choose_columns
from mkd.tasks.task_file import DataFile, TaskDescription, read_task_file

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings of files of rows."""
TASK_FILE_ENDINGS = (".yaml", ".yml")
UNREAD_ENDINGS = (".txt", ".ndjson", *files.UNREAD_TABLES)
"""Endings of files that cannot be read; no dataset of the hub is asked for by such a name."""
GLUE_FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}
"""Folder of each task in GLUE's official layout."""
TRAIN_SPLIT = "train"
DEV_SPLITS = ("validation", "valid", "val", "dev", "test")
"""Names of the split, or of the file beside train's, that is dev; the first that has labels is
taken."""


def source_of(data: DataConfig) -> Source:
    """Returns data.source; for `auto` it is determined by data.path, which is inspected if it
    exists.

    No path: demo. A file of rows or of tasks, or a folder with a train file: files. A folder in
    GLUE's official layout: glue. All else: hub.
    """
    if data.source != "auto":
        return data.source
    if not data.path:
        return "demo"
    path = Path(data.path)
    endings = (*TABLE_ENDINGS, *TASK_FILE_ENDINGS, *UNREAD_ENDINGS)
    if path.suffix.lower() in endings or path.is_file():
        return "files"
    if any((path / folder).is_dir() for folder in GLUE_FOLDERS.values()):
        return "glue"
    return "files" if train_files(path) else "hub"


def check_file(data: DataConfig) -> None:
    """Raises ValueError if data.path names a file that does not exist, a file of rows whose columns
    of text and label are missing or unclear, or a file of tasks that states columns which their
    files lack.

    It is quick: of a file of rows it reads the first ones, of those of tasks the header.
    """
    if not data.path or source_of(data) != "files":
        return
    path = Path(data.path)
    if not path.exists():
        raise ValueError(f"{data.path}: no such file")
    (path,) = train_files(path) if len(train_files(path)) == 1 else (path,)
    if path.suffix.lower() in TASK_FILE_ENDINGS:
        described = read_task_file(path)
        for name in data.tasks or described:
            if name in described:  # load_tasks refuses others
                _check_stated_columns(described[name])
    stated = (data.text,) if isinstance(data.text, str) else tuple(data.text)
    check_columns(path, tuple(filter(None, stated)), data.label, "data.{}".format)


def check_columns(
    path: Path, text: tuple[str, ...], label: str, setting: Callable[[str], str]
) -> None:
    """Raises ValueError if a file of rows does not exist, or its columns of text and label are
    missing or unclear. Of other files it says nothing.

    text, label, setting: as choose_columns takes them.
    """
    if path.suffix.lower() not in TABLE_ENDINGS:
        return
    table = Columns(
        str(path),
        tuple(files.column_names(path)),
        lambda columns: files.read_table(files.Table(path, columns, None)),
        lambda columns: "",
    )
    choose_columns(table, text, label, setting)


def _check_stated_columns(task: TaskDescription) -> None:
    """Raises ValueError if a file of a task lacks a column that the task states."""
    dev = [task.dev] if isinstance(task.dev, DataFile) else []
    text = task.stated.get("text", [])
    common = (*map(str, text if isinstance(text, list) else [text]),)
    for file in (*task.train, *dev):
        names = tuple(files.column_names(file.path, task.header))
        table = Columns(str(file.path), names, lambda columns: iter(()), lambda columns: "")
        label = str(task.stated.get("label", "")) if file.label == "" else file.label
        for column in (*(file.text or common), *([label] if label else [])):
            check_column(table, column)


def train_files(folder: Path) -> list[Path]:
    """Returns the files of a folder that are called train, whatever their ending."""
    files = [folder / f"{TRAIN_SPLIT}{ending}" for ending in TABLE_ENDINGS]
    return [file for file in files if file.is_file()]


def files_beside(file: Path) -> list[Path]:
    """Returns the files beside a file of train rows that may be dev, the best first.

    They have the same name with a name of DEV_SPLITS for `train`.
    """
    if TRAIN_SPLIT not in file.stem:
        return []
    names = [file.stem.replace(TRAIN_SPLIT, split) + file.suffix for split in DEV_SPLITS]
    return [file.with_name(name) for name in names if file.with_name(name).is_file()]


def stated_keys(data: DataConfig) -> dict[str, Any]:
    """Returns the stated settings of a task, as keys of a task file."""
    keys = {"text": data.text, "label": data.label, "kind": data.kind, "dev": data.dev}
    return {key: value for key, value in keys.items() if value != ""}


def task_name(path: Path) -> str:
    """Returns the name of the task of a file or folder: its own, or its folder's if it is `train`.

    Characters that a task's name may not have become underscores.
    """
    stem = path.stem if path.suffix.lower() in TABLE_ENDINGS else path.name
    raw_name = path.absolute().parent.name if stem.startswith(TRAIN_SPLIT) else stem
    name = re.sub(r"[^\w.-]+", "_", raw_name).strip("_.-")[:100]
    return name if name and name.lower() != "mean" else "task"

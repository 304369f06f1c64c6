"""Saves tasks that are in memory as files in the cache, so that their runs can be repeated."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mkd.storage.store import cached_folder
from mkd.storage.strict_yaml import Dumper
from mkd.storage.versions import version_key
from mkd.tasks.task import Kind, Row, Split, Task

TASK_FILE = "tasks.yaml"
TEXTS = ("text", "text_pair")
LABEL = "label"
"""Columns of the files."""
CHUNK_ROWS = 10_000


def save_tasks(root: Path, tasks: Sequence[Task]) -> Path:
    """Writes the rows of the tasks to Parquet files, and returns the YAML file that describes them.

    root: the cache folder. The same rows are written once by each version of this code.

    Raises ValueError for a wrong row.
    """
    task_keys = {
        task.name: {
            "kind": asdict(task.kind),
            "train": task.train.fingerprint,
            "dev": {suffix: split.fingerprint for suffix, split in task.dev.items()},
            "dev_share": task.dev_share,
        }
        for task in tasks
    }

    def build(aside: Path) -> None:
        described = {
            task.name: _written(aside, f"{place}-{task.name}", task)
            for place, task in enumerate(tasks)
        }
        text = yaml.dump(described, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        (aside / TASK_FILE).write_text(text, encoding="utf-8")

    key = {"tasks": task_keys} | version_key("tasks")
    return cached_folder(root, "tasks", key, build) / TASK_FILE


def _written(folder: Path, name: str, task: Task) -> dict[str, Any]:
    """Writes the splits of a task, and returns its description for the task file."""
    kind, texts = task.kind, list(TEXTS[: 1 + task.kind.pair])
    about: dict[str, Any] = {
        "kind": _kind_name(kind),
        "text": texts,
        "label": LABEL,
        "metrics": list(kind.metrics),
    }
    if kind.labels:
        about["labels"] = list(kind.labels)
    if kind.range is not None:
        about["range"] = list(kind.range)
    splits = {"train": task.train, **({"dev": task.dev[""]} if task.dev else {})}
    for split, rows in splits.items():
        about[split] = f"{name}-{split}.parquet"
        _write(folder / about[split], kind, rows)
    return {"dev": task.dev_share} | about


def _kind_name(kind: Kind) -> str:
    if kind.multilabel:
        return "multilabel"
    return "classification" if kind.labels else "regression"


def _write(file: Path, kind: Kind, split: Split) -> None:
    names = TEXTS[: 1 + kind.pair]
    of_label = pa.string() if kind.labels else pa.float64()
    of_label = pa.list_(of_label) if kind.multilabel else of_label
    schema = pa.schema([*((name, pa.string()) for name in names), (LABEL, of_label)])
    with pq.ParquetWriter(file, schema) as writer:
        chunk: list[Row] = []
        for row in split.read():
            chunk.append(row)
            if len(chunk) == CHUNK_ROWS:
                writer.write_table(_table(chunk, kind, schema))
                chunk = []
        writer.write_table(_table(chunk, kind, schema))


def _table(rows: Sequence[Row], kind: Kind, schema: pa.Schema) -> pa.Table:
    texts = [[row.text_a for row in rows], [row.text_b for row in rows]][: 1 + kind.pair]
    return pa.table([*texts, [_label(row, kind) for row in rows]], schema=schema)


def _label(row: Row, kind: Kind) -> str | float | list[str] | None:
    if row.label is None or not kind.labels:
        return row.label
    if kind.multilabel:
        return [kind.labels[place] for place in row.classes]
    return kind.labels[int(row.label)]

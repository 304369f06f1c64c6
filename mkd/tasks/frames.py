"""Makes tasks from tables in Python: pandas data frames, datasets of `datasets`, and files."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mkd.storage.store import file_hash
from mkd.tasks import files
from mkd.tasks.build import Origin, Part, build_task
from mkd.tasks.columns import Columns
from mkd.tasks.files import Record, Table, listed, short_repr
from mkd.tasks.origins import DEV_SPLITS, TRAIN_SPLIT
from mkd.tasks.stated import in_python
from mkd.tasks.task import Task

BATCH_ROWS = 1000

Batches = Callable[[tuple[str, ...]], Iterator[list[list[Any]]]]
"""Yields the cells of the given columns, a batch of rows at a time."""


def task_from_data(
    name: str,
    train: Any,
    dev: Any = None,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    kind: str | None = None,
    labels: Sequence[object] | None = None,
    metrics: Sequence[str] | None = None,
) -> Task:
    """Returns a task of rows in memory. What is not stated is inferred; Task.notes say what.

    - name: the task's name.
    - train: a pandas DataFrame; a Dataset of `datasets`; the path of a CSV, TSV, JSONL or Parquet
      file; or a DatasetDict, or another dict of these, with the splits `train` and perhaps
      `validation`. Rows without a label are labelled by the teacher; rows without a text are left
      out.
    - dev: the same, for the rows that are scored; or the share of train's labelled rows that is
      held out for that. None: the split of the dict, else a tenth.
    - text: the text column; two for pairs.
    - label: the label column.
    - kind: `classification`, `multilabel` or `regression`.
    - labels: the classes, in the order of the logits.
    - metrics: names of metrics (mkd.tasks.metrics.METRICS).

    The fingerprints depend on the content of the columns that are used. Data must not change while
    the task is in use.

    Raises ValueError, with the columns there are, if something cannot be inferred.
    """
    settings = {
        key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in (
            ("text", text),
            ("label", label),
            ("kind", kind),
            ("labels", labels),
            ("metrics", metrics),
        )
        if value is not None
    }
    table, dev_tables = splits_of(name, train)
    dev_source: Part | float | None = None
    if isinstance(dev, float):
        if not 0 < dev < 1:
            raise ValueError(f"{name}: dev is {dev}; allowed: a share between 0 and 1, or rows")
        dev_source = dev
    elif dev is not None:
        dev_source = Part(splits_of(f"{name}, dev", dev)[0])
    return build_task(
        Origin(name, "data", in_python), settings, [Part(table)], dev_source, dev_tables
    )


def splits_of(where: str, data: Any) -> tuple[Columns, list[Columns]]:
    """Returns the table of train rows, and those that may be dev, the best first.

    data: as in task_from_data. Raises ValueError if it is something else, or has no train split.
    """
    if not isinstance(data, Mapping):
        return _columns_of(where, data), []
    name = next(iter(data)) if len(data) == 1 else TRAIN_SPLIT
    if name not in data:
        raise ValueError(f"{where}: no split 'train'; there are: {listed(list(data))}")
    dev_tables = [split for split in DEV_SPLITS if split in data and split != name]
    return columns_of_split(where, data, name), [
        columns_of_split(where, data, split) for split in dev_tables
    ]


def columns_of_split(where: str, data: Mapping[str, Any], split: str) -> Columns:
    """Returns the table of one split of a dict of data, as in task_from_data."""
    return _columns_of(f"{where}/{split}", data[split])


def _columns_of(where: str, data: Any) -> Columns:
    if isinstance(data, str | Path):
        return columns_of_file(Path(data))
    if isinstance(data, pd.DataFrame):
        return _columns_of_frame(where, data)
    # Not by its class: the import of datasets takes seconds.
    if hasattr(data, "features") and hasattr(data, "num_rows"):
        return _columns_of_dataset(where, data)
    raise ValueError(
        f"{where}: rows of type {type(data).__name__}; allowed: a pandas DataFrame, a Dataset or "
        "DatasetDict of datasets, or the path of a file"
    )


def columns_of_file(path: Path, header: bool = True) -> Columns:
    """Returns the table in a file. Raises ValueError if it is missing or of an unknown format."""
    names = tuple(files.column_names(path, header))
    written = path.suffix.lower() in files.WRITTEN_ENDINGS
    content = (path.suffix.lower(), header, file_hash(path))
    return Columns(
        str(path),
        names,
        lambda columns: files.read_table(Table(path, columns, None, header)),
        lambda columns: str(content),
        written=written,
    )


def _columns_of_frame(where: str, frame: pd.DataFrame) -> Columns:
    names = tuple(map(str, frame.columns))
    if not names:
        raise ValueError(f"{where}: no columns; allowed: one or more")

    def arrays(columns: tuple[str, ...]) -> list[Any]:
        return [_array(where, frame.iloc[:, names.index(column)]) for column in columns]

    def batches(columns: tuple[str, ...]) -> Iterator[list[list[Any]]]:
        values = arrays(columns)
        for start in range(0, len(frame), BATCH_ROWS):
            yield [array.slice(start, BATCH_ROWS).to_pylist() for array in values]

    return _in_memory(where, names, batches, {})


def _array(where: str, series: Any) -> Any:
    """Returns a column as an Arrow array; values of several types become text.

    So do those that Arrow has no type for, such as periods, complex and very large numbers.
    Raises ValueError for half a surrogate pair.
    """
    try:
        return _as_arrow(series)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: column {series.name!r}: half a surrogate pair in "
            f"{short_repr(error.object)}; allowed: whole characters"
        ) from None


def _as_arrow(series: Any) -> Any:
    with suppress(pa.ArrowException, OverflowError):
        array = pa.array(series, from_pandas=True)
        if not isinstance(array.type, pa.BaseExtensionType):
            return array
    return pa.array(
        [None if gone else str(value) for value, gone in zip(series, series.isna(), strict=True)]
    )


def _columns_of_dataset(where: str, dataset: Any) -> Columns:
    classes = {}
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)  # of a sequence
        if hasattr(inner, "names"):
            classes[name] = tuple(inner.names)

    def batches(columns: tuple[str, ...]) -> Iterator[list[list[Any]]]:
        chosen = dataset.select_columns(list(columns)).with_format("arrow")
        for batch in chosen.iter(batch_size=BATCH_ROWS):
            yield [batch.column(column).to_pylist() for column in columns]

    # Pictures and sounds are neither text nor labels, and slow to read.
    names = tuple(
        name for name, feature in dataset.features.items() if not hasattr(feature, "decode_example")
    )
    return _in_memory(where, names, batches, classes)


def _in_memory(
    where: str, names: tuple[str, ...], batches: Batches, classes: dict[str, tuple[str, ...]]
) -> Columns:
    def read(columns: tuple[str, ...]) -> Iterator[Record]:
        row = 1
        for cells in batches(columns):
            yield from enumerate(zip(*cells, strict=True), row)
            row += len(cells[0])

    def fingerprint(columns: tuple[str, ...]) -> str:
        digest = hashlib.sha256(repr([classes.get(column) for column in columns]).encode())
        for cells in batches(columns):
            digest.update(repr(cells).encode(errors="surrogatepass"))
        return digest.hexdigest()

    return Columns(where, names, read, fingerprint, classes)

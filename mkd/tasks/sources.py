"""Loads tasks from a source: the demo suite, a GLUE folder, a dataset of the hub, or user files.

Files are checked and fingerprinted when a task is loaded, before any training. Rows are read later,
one by one; a wrong row then raises a ValueError "file:line: ...".
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mkd.config import DataConfig, TextFileConfig, TransferConfig
from mkd.storage.store import file_hash
from mkd.tasks import demo
from mkd.tasks.build import Origin, Part, build_task
from mkd.tasks.files import Record, Table, check_table, listed
from mkd.tasks.frames import columns_of_file
from mkd.tasks.hub import GLUE_DATASETS, config_names, dataset_task, is_saved, loaded
from mkd.tasks.origins import (
    GLUE_FOLDERS,
    TABLE_ENDINGS,
    TASK_FILE_ENDINGS,
    files_beside,
    source_of,
    stated_keys,
    task_name,
    train_files,
)
from mkd.tasks.rows import (
    RawRows,
    hash_values,
    label_decoder,
    make_split,
    num_skipped_rows,
    rows_of_file,
)
from mkd.tasks.stated import Stated, by_settings, in_task_file
from mkd.tasks.task import GLUE, Kind, Split, Task
from mkd.tasks.task_file import DataFile, TaskDescription, describe, read_task_file


class GlueFiles(NamedTuple):
    """Columns of one GLUE task, in the official TSV files and in the dataset on the hub.

    folder, text, label: folder and columns of the TSV files. hub_text: text columns on the hub.
    """

    folder: str
    text: tuple[str, ...]
    label: str
    values: tuple[str, ...]
    """Classes as written in the TSV files, in the order of the task's labels."""
    hub_text: tuple[str, ...]
    header: bool = True
    """Whether train.tsv and dev.tsv have a header. All test files have one."""

    @property
    def test_text(self) -> tuple[str, ...]:
        """Text columns of test files: those of train.tsv or, if it has no header, of the hub."""
        return self.text if self.header else self.hub_text


PAIR = ("sentence1", "sentence2")
BINARY = ("0", "1")
ENTAILED = ("entailment", "not_entailment")

GLUE_FILES: dict[str, GlueFiles] = {
    "cola": GlueFiles(GLUE_FOLDERS["cola"], ("3",), "1", BINARY, ("sentence",), header=False),
    "sst2": GlueFiles(GLUE_FOLDERS["sst2"], ("sentence",), "label", BINARY, ("sentence",)),
    "mrpc": GlueFiles(GLUE_FOLDERS["mrpc"], ("#1 String", "#2 String"), "Quality", BINARY, PAIR),
    "stsb": GlueFiles(GLUE_FOLDERS["stsb"], PAIR, "score", (), PAIR),
    "qqp": GlueFiles(
        GLUE_FOLDERS["qqp"],
        ("question1", "question2"),
        "is_duplicate",
        BINARY,
        ("question1", "question2"),
    ),
    "mnli": GlueFiles(
        GLUE_FOLDERS["mnli"],
        PAIR,
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        ("premise", "hypothesis"),
    ),
    "qnli": GlueFiles(
        GLUE_FOLDERS["qnli"], ("question", "sentence"), "label", ENTAILED, ("question", "sentence")
    ),
    "rte": GlueFiles(GLUE_FOLDERS["rte"], PAIR, "label", ENTAILED, PAIR),
    "wnli": GlueFiles(GLUE_FOLDERS["wnli"], PAIR, "label", BINARY, PAIR),
}

NO_LABEL = ("", "-1")
"""Labels that mean "no label" in GLUE's files and datasets."""
RAGGED = ("qqp",)
"""Tasks whose official training file has broken rows, without a question or a column.

These rows are left out and counted.
"""


def _notes(name: str, train: RawRows, mismatched: bool) -> tuple[str, ...]:
    num = num_skipped_rows(train) if train.lenient else 0
    left_out = (
        (f"{num} rows of {train.where} lack a text or a column and are left out",) if num else ()
    )
    alone = ("there is no mismatched dev split; the matched one is scored alone",)
    return left_out + (alone if name == "mnli" and not mismatched else ())


def _glue_task(root: Path, name: str) -> Task:
    kind, layout = GLUE[name], GLUE_FILES[name]

    def part(file: str, dev: bool) -> RawRows:
        lenient = name in RAGGED and not dev
        table = Table(
            root / layout.folder / file, layout.text, layout.label, layout.header, lenient
        )
        return rows_of_file(table, kind, layout.values, () if dev else NO_LABEL)

    train = part("train.tsv", dev=False)
    mismatched = name == "mnli" and (root / layout.folder / "dev_mismatched.tsv").exists()
    dev = {"": make_split(part("dev_matched.tsv" if name == "mnli" else "dev.tsv", dev=True))}
    if mismatched:
        dev["_mismatched"] = make_split(part("dev_mismatched.tsv", dev=True))
    return Task(name, kind, make_split(train), dev, _notes(name, train, mismatched))


def _glue(config: DataConfig) -> dict[str, Callable[[], Task]]:
    root = Path(config.path)
    chosen = [
        name for name in GLUE if name in config.tasks or (root / GLUE_FILES[name].folder).is_dir()
    ]
    if not root.is_dir() or not chosen:
        folders = ", ".join(layout.folder for layout in GLUE_FILES.values())
        raise ValueError(
            f"data.path is {config.path!r}; allowed: a folder that holds some of {folders}"
        )
    return {name: partial(_glue_task, root, name) for name in chosen}


def _cells(dataset: Any, columns: tuple[str, ...]) -> Iterator[Record]:
    row = 1
    for batch in dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=1000):
        cells = [batch.column(column).to_pylist() for column in columns]
        yield from enumerate(zip(*cells, strict=True), row)
        row += batch.num_rows


def _hub_part(where: str, dataset: Any, name: str, dev: bool) -> RawRows:
    kind, text = GLUE[name], GLUE_FILES[name].hub_text
    for column in (*text, "label"):
        if column not in dataset.features:
            raise ValueError(
                f"{where}: no column {column!r}; there are: {listed(list(dataset.features))}"
            )
    classes = tuple(getattr(dataset.features["label"], "names", kind.labels))
    if classes != kind.labels:
        raise ValueError(
            f"{where}: its classes are {listed(classes)}; allowed: {listed(kind.labels)}"
        )
    decode = label_decoder(kind, tuple(map(str, range(len(kind.labels)))), () if dev else NO_LABEL)
    # The fingerprint in a saved dataset does not change if its files are edited, so hash the files.
    content = [file_hash(Path(file["filename"])) for file in dataset.cache_files]
    key = hash_values(str(dataset.features), dataset.num_rows, kind.range, content)
    return RawRows(
        where,
        partial(_cells, dataset, (*text, "label")),
        text,
        decode,
        name in RAGGED and not dev,
        key,
    )


def _hub_task(path: str, name: str) -> Task:
    dataset = loaded(path, name)

    def part(key: str, dev: bool) -> RawRows:
        if key not in dataset:
            raise ValueError(f"{path}/{name}: no split {key!r}; there are: {listed(list(dataset))}")
        return _hub_part(f"{path}/{name}/{key}", dataset[key], name, dev)

    train = part("train", dev=False)
    mismatched = name == "mnli" and "validation_mismatched" in dataset
    dev = {"": make_split(part("validation_matched" if name == "mnli" else "validation", dev=True))}
    if mismatched:
        dev["_mismatched"] = make_split(part("validation_mismatched", dev=True))
    return Task(name, GLUE[name], make_split(train), dev, _notes(name, train, mismatched))


def _hub(config: DataConfig) -> dict[str, Callable[[], Task]]:
    """Returns the tasks of a dataset: those of GLUE with GLUE's definitions, others as inferred."""
    root = Path(config.path)
    stated = stated_keys(config)
    if is_saved(root):
        return {task_name(root): partial(dataset_task, task_name(root), config.path, "", stated)}
    is_glue = root.is_dir() or config.path in GLUE_DATASETS
    if root.is_dir():
        names = [name for name in GLUE if name in config.tasks or is_saved(root / name)]
        names += sorted({path.name for path in root.iterdir() if is_saved(path)} - set(names))
    else:
        names = list(GLUE) if is_glue else config_names(config.path)
    if not names:
        raise ValueError(
            f"data.path is {config.path!r}; allowed: a file of rows or of tasks, a folder that has "
            "one called train, a folder written by save_to_disk, one that holds such folders, or "
            "the name of a dataset of the hub"
        )
    # A dataset with one configuration is called by its own name, as that is `default` or the like.
    alone = not is_glue and len(names) == 1
    return {
        task_name(root) if alone else name: (
            partial(_hub_task, config.path, name)
            if is_glue and name in GLUE
            else partial(
                dataset_task, task_name(root) if alone else name, config.path, name, stated
            )
        )
        for name in names
    }


def _file_task(name: str, task: TaskDescription, stated: Stated) -> Task:
    def part(file: DataFile) -> Part:
        return Part(columns_of_file(file.path, task.header), file.text, file.label)

    dev = part(task.dev) if isinstance(task.dev, DataFile) else task.dev
    train = list(map(part, task.train))
    others = files_beside(task.train[0].path) if len(task.train) == 1 and dev is None else []
    dev_tables = [columns_of_file(file, task.header) for file in others]
    return build_task(Origin(name, task.where, stated), task.stated, train, dev, dev_tables)


def _files(config: DataConfig) -> dict[str, Callable[[], Task]]:
    path = Path(config.path)
    if path.is_dir():
        train = train_files(path)
        if len(train) != 1:
            raise ValueError(
                f"data.path is {config.path!r}, which has {listed([file.name for file in train])}; "
                "allowed: a folder with one train file"
            )
        (path,) = train
    stated, ending = stated_keys(config), path.suffix.lower()
    if ending not in (*TABLE_ENDINGS, *TASK_FILE_ENDINGS):
        allowed = listed((*TABLE_ENDINGS, *TASK_FILE_ENDINGS))
        raise ValueError(
            f"data.path is {config.path!r}: the ending is {ending!r}; allowed: {allowed}"
        )
    if ending in TABLE_ENDINGS:
        name = task_name(path)
        return {name: partial(_table_task, name, path, stated)}
    if stated:
        key, value = next(iter(stated.items()))
        raise ValueError(
            f"data.{key} is {value!r}; allowed: empty, as {config.path} describes the tasks"
        )
    described = read_task_file(path)
    return {
        name: partial(_file_task, name, task, in_task_file(config.path, name))
        for name, task in described.items()
    }


def _table_task(name: str, path: Path, stated: dict[str, Any]) -> Task:
    described = describe({"train": str(path)} | stated, "data", Path())
    return _file_task(name, described, by_settings)


def _demo_task(name: str, kind: Kind, config: DataConfig) -> Task:
    def demo_split(key: Literal["train", "dev"]) -> Split:
        read = partial(demo.demo_rows, name, key, config.demo)
        return Split(
            read,
            demo.demo_fingerprint(name, key, config.demo),
            f"the generated suite, {name}, {key}",
        )

    return Task(name, kind, demo_split("train"), {"": demo_split("dev")})


def _demo(config: DataConfig) -> dict[str, Callable[[], Task]]:
    return {name: partial(_demo_task, name, kind, config) for name, kind in demo.DEMO_TASKS.items()}


SOURCES: dict[str, Callable[[DataConfig], dict[str, Callable[[], Task]]]] = {
    "demo": _demo,
    "glue": _glue,
    "hub": _hub,
    "files": _files,
}
"""Sources by data.source. A source returns, by task name, functions that load the task.

The functions let load_tasks open only the files of the chosen tasks.
"""


def table_of_text(text: TextFileConfig) -> Table:
    """Returns the table of a file of text.

    Raises ValueError, with the name of the setting, if the file or a column is missing.
    """
    table = Table(Path(text.file), tuple(text.text), None, text.header)
    try:
        check_table(table)
    except ValueError as error:
        raise ValueError(f"{text.SETTING}: {error}") from error
    return table


def _transferred(tasks: list[Task], transfer: TransferConfig) -> list[Task]:
    """Returns the tasks with the rows of a transfer file added.

    All tasks get the same Split, so its fingerprint is the same and its tokens are cached once.
    """
    pair = len(transfer.text) == 2
    takers = [
        task
        for task in tasks
        if (task.name in transfer.tasks if transfer.tasks else task.kind.pair == pair)
    ]
    for task in takers:
        if task.kind.pair != pair:
            allowed = "two columns" if task.kind.pair else "one column"
            raise ValueError(
                f"data.transfer.text is {transfer.text!r} for {transfer.file}; {task.name} takes "
                f"{allowed}"
            )
    if not takers:
        allowed = "one column" if pair else "two columns"
        raise ValueError(
            f"data.transfer.text is {transfer.text!r} for {transfer.file}; each of the tasks takes "
            f"{allowed}"
        )
    added = make_split(rows_of_file(table_of_text(transfer), takers[0].kind))
    return [replace(task, added=(*task.added, added)) if task in takers else task for task in tasks]


def load_tasks(config: DataConfig) -> list[Task]:
    """Returns the chosen tasks, in the order of config.tasks.

    Checks everything that can be checked without reading rows. Raises ValueError for unknown tasks,
    missing files or columns, and transfer files that do not fit the tasks.
    """
    source = source_of(config)
    if source not in SOURCES:
        raise ValueError(f"data.source is {source!r}; allowed: auto, {listed(list(SOURCES))}")
    if source in ("demo", "glue") and (stated := stated_keys(config)):
        key, value = next(iter(stated.items()))
        raise ValueError(f"data.{key} is {value!r}; allowed: empty for data.source={source}")
    known = SOURCES[source](config)
    chosen = config.tasks or list(known)
    for name in chosen:
        if name not in known:
            raise ValueError(f"data.tasks names {name!r}; known: {', '.join(known)}")
    return with_transfer_text([known[name]() for name in chosen], config)


def with_transfer_text(tasks: list[Task], config: DataConfig) -> list[Task]:
    """Returns the tasks with the rows of config.transfer's files added.

    Raises ValueError for an unknown task, or a file that does not fit the tasks.
    """
    names = [task.name for task in tasks]
    for name in [name for transfer in config.transfer for name in transfer.tasks]:
        if name not in names:
            raise ValueError(f"data.transfer.tasks names {name!r}; chosen: {', '.join(names)}")
    for transfer in config.transfer:
        tasks = _transferred(tasks, transfer)
    return tasks

"""Tasks of datasets of the Hugging Face hub, or of folders that `save_to_disk` has written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mkd.tasks.build import Origin, Part, build_task
from mkd.tasks.files import listed
from mkd.tasks.frames import columns_of_split, splits_of
from mkd.tasks.stated import by_settings
from mkd.tasks.task import Task

GLUE_DATASETS = ("nyu-mll/glue", "glue")
"""Names of GLUE on the hub."""
SAVED_FILES = ("dataset_dict.json", "dataset_info.json")
"""A folder that save_to_disk has written holds one of these."""

T = TypeVar("T")


def is_saved(folder: Path) -> bool:
    """Returns whether save_to_disk has written this folder."""
    return any((folder / name).is_file() for name in SAVED_FILES)


def _named(path: str, what: str, load: Callable[[], T]) -> T:
    """Returns what load() returns. Raises ValueError with the path if it cannot be loaded."""
    from datasets.exceptions import DatasetsError

    try:
        return load()
    except (
        OSError, ValueError, RuntimeError, DatasetsError,
        TypeError, LookupError, AttributeError,  # by damaged files: `datasets` trusts their JSON
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data.path is {path!r}: neither a folder nor a dataset{what} to load: {reason}"
        ) from None


def config_names(path: str) -> list[str]:
    """Returns the names of the configurations of a dataset on the hub.

    Raises ValueError if there is no such dataset, or if the hub cannot be reached.
    """
    # Imported here because the import takes seconds, and only this source needs it.
    from datasets import get_dataset_config_names

    return _named(path, "", lambda: list(get_dataset_config_names(path)))


def loaded(path: str, name: str) -> Any:
    """Returns the Dataset or DatasetDict at a path, memory-mapped.

    name: the folder below the path, or the dataset's configuration; "": the path itself.

    Raises ValueError if it cannot be loaded.
    """
    from datasets import load_dataset, load_from_disk

    def load() -> Any:
        if Path(path).is_dir():
            return load_from_disk(str(Path(path) / name), keep_in_memory=False)
        return load_dataset(path, name or None, keep_in_memory=False)

    return _named(path, f" with {name!r}" if name else "", load)


def dataset_task(task: str, path: str, name: str, stated: dict[str, Any]) -> Task:
    """Returns the task of a dataset.

    path, name: as in loaded. stated: text, label, kind and dev of the settings; dev is the name of
        a split, or the share of the train rows that becomes dev.

    Raises ValueError if there is no such split, or if something cannot be inferred.
    """
    data = loaded(path, name)
    where = f"{path}/{name}" if name else path
    table, dev_tables = splits_of(where, data)
    dev: Part | float | None = stated.get("dev")
    if isinstance(dev, str):
        if not isinstance(data, dict) or dev not in data:
            known = listed(list(data)) if isinstance(data, dict) else "none"
            raise ValueError(f"data.dev is {dev!r}; {where} has the splits: {known}")
        dev = Part(columns_of_split(where, data, dev))
    settings = {key: value for key, value in stated.items() if key != "dev"}
    return build_task(Origin(task, "data", by_settings), settings, [Part(table)], dev, dev_tables)

"""Finds the folder of an exported student: on this machine, or on the Hugging Face hub."""

import json
import re
from pathlib import Path

CONFIG = "config.json"
"""File beside the folders of an export's backends. Its key BACKEND names the fastest of them."""
BACKEND = "backend"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""A name on the hub: USER/NAME."""
FILES = [CONFIG, "*/*.json", "*/student.onnx", "*/student.npz"]
"""What is downloaded of a student on the hub."""


def student_folder(where: str | Path, manifest: str) -> Path:
    """Returns the folder of one backend of an exported student.

    - `where`: that folder; the folder that experiments.export has made, whose fastest backend is
      taken; or, as a string, the name USER/NAME of such a folder on the Hugging Face hub. A folder
      on this machine comes before a name on the hub.
    - `manifest`: name of the file that describes a backend.

    Raises ValueError if the hub does not have it, or if the folder is damaged.
    """
    folder = Path(where)
    if isinstance(where, str) and not folder.exists() and HUB_NAME.fullmatch(where):
        # models/int8 is a slip, and no name on the hub, if there is a folder `models`.
        folder = folder if folder.parent.exists() else _downloaded(where)
    if (folder / manifest).exists() or not (folder / CONFIG).is_file():
        return folder
    return folder / _fastest(folder / CONFIG)


def _fastest(file: Path) -> str:
    """Returns the backend that a config names, or "" if it is another model's."""
    try:
        backend = json.loads(file.read_text(encoding="utf-8")).get(BACKEND, "")
    except (OSError, ValueError, AttributeError, RecursionError):
        raise ValueError(f"{file} is damaged: export the student again") from None
    if not isinstance(backend, str) or Path(backend).name != backend:  # it must not point outside
        raise ValueError(f"{file} is damaged: export the student again")
    return backend


def _downloaded(name: str) -> Path:
    """Returns the folder of the hub's files, which are downloaded once. None is executed."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise ValueError(
            f"{name} is no folder here; to load it from the Hugging Face hub, "
            "`pip install huggingface-hub`"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{name} is no folder here, and the Hugging Face hub does not give it "
            f"({type(error).__name__})"
        ) from error

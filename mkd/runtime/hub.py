"""Finds an exported student: on this machine, or on the Hugging Face hub."""

import json
import os
import re
from pathlib import Path

from mkd.runtime.manifest import GRAPHS, MANIFEST, is_file_name, manifest_in_graphs

CONFIG = "config.json"
"""File beside the folders of an export. Its key BACKEND names the fastest backend."""
BACKEND = "backend"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""A name on the hub: USER/NAME."""
FILES = [CONFIG, "*/*.json", "*/*.onnx", "*/student.npz"]
"""Patterns of the files of a student that are downloaded from the hub."""


def student_manifest(where: str | Path) -> Path:
    """Returns the manifest of one backend of an exported student.

    - `where`: the folder of a backend; an exported folder, whose fastest backend is taken, or a
      backend in it, such as `FOLDER/int8`; or, as a string, the name USER/NAME of an exported
      folder on the Hugging Face hub. A folder on this machine comes first.

    A backend has a folder of its own, or its graph is in GRAPHS, beside those of other backends.

    Raises ValueError if the hub does not have it, if the folder is damaged, or if no folder can
    have such a name.
    """
    allowed = "allowed: an exported folder, or USER/NAME on the Hugging Face hub"
    if not isinstance(where, str | os.PathLike) or "\0" in str(where):
        raise ValueError(f"folder is {where!r:.80}; {allowed}")
    try:
        return _manifest_of(where)
    except OSError as error:
        raise ValueError(f"folder is {str(where)!r:.80}: {error.strerror}; {allowed}") from None


def _manifest_of(where: str | Path) -> Path:
    folder = Path(where)
    if not folder.exists():
        if (graphs_manifest := folder.parent / GRAPHS / manifest_in_graphs(folder.name)).exists():
            return graphs_manifest
        # models/int8 is a slip, and no name on the hub, if there is a folder `models`.
        if isinstance(where, str) and HUB_NAME.fullmatch(where) and not folder.parent.exists():
            folder = _downloaded(where)
    if (folder / MANIFEST).exists() or not (folder / CONFIG).is_file():
        return folder / MANIFEST
    backend = _fastest(folder / CONFIG)
    backend_manifest, graphs_manifest = (
        folder / backend / MANIFEST,
        folder / GRAPHS / manifest_in_graphs(backend),
    )
    return (
        graphs_manifest
        if graphs_manifest.exists() and not backend_manifest.exists()
        else backend_manifest
    )


def _fastest(file: Path) -> str:
    """Returns the backend that a config names, or "" if it is another model's."""
    try:
        backend = json.loads(file.read_text(encoding="utf-8")).get(BACKEND, "")
    except (OSError, ValueError, AttributeError, RecursionError):
        raise ValueError(f"{file} is damaged: export the student again") from None
    if not isinstance(backend, str) or not is_file_name(backend):  # it must not point outside
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

"""The folder of a run, and the checkpoint of a training in it, so that a killed run can resume."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mkd import __version__, names
from mkd.result import RunStopped
from mkd.storage.damage import kind_of_file
from mkd.storage.store import key_of, sync_to_disk
from mkd.storage.versions import version_key

CHECKPOINT_FORMAT = 1
"""Version of the file format; is increased when older files can no longer be read."""


class SavedState(NamedTuple):
    """State of a training: tensors by name, and other values that JSON can hold."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


class Checkpoint:
    """The file with the last state of a training. Saving replaces it atomically.

    file: path of the file.
    of: everything that the training depends on, by name, as values that JSON can hold.
    seconds: minimum time between two checkpoints.
    """

    def __init__(self, file: Path, of: dict[str, Any], seconds: float) -> None:
        self.file, self.of, self.seconds = file, of, seconds
        self.written = time.monotonic()

    def due(self) -> bool:
        """Returns whether it is time to save."""
        return time.monotonic() - self.written >= self.seconds

    def save(self, state: SavedState) -> None:
        """Saves the state and replaces the file.

        Raises OSError with path and size if it cannot be written. The previous file is then kept.
        """
        about = json.dumps(
            {"of": self.of, "versions": checkpoint_versions(), "numbers": state.numbers},
            sort_keys=True,
        )
        metadata = {"about": about, "sha256": _digest(state.tensors, about)}
        aside = self.file.with_suffix(".aside")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            save_file(state.tensors, aside, metadata)
            sync_to_disk(aside)
            os.replace(aside, self.file)
        except (OSError, SafetensorError) as error:
            aside.unlink(missing_ok=True)
            size = sum(tensor.nbytes for tensor in state.tensors.values())
            raise OSError(
                f"{self.file}: a checkpoint of {size:,} bytes cannot be written ({error})"
            ) from error
        self.written = time.monotonic()

    def load(self) -> SavedState | None:
        """Returns the state saved last, or None if there is no file.

        Raises ValueError if the file is truncated or altered, or if it belongs to a training with
        other settings or versions. The message names the differences.
        """
        if not self.file.exists():
            return None
        remedy = f"delete {self.file} to start again"
        if not self.file.is_file():
            raise ValueError(f"the checkpoint {self.file} is {kind_of_file(self.file)}: {remedy}")
        try:
            with safe_open(self.file, "pt") as opened:
                metadata = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no dict)
        except SafetensorError as error:
            raise ValueError(
                f"the checkpoint {self.file} is damaged ({error}): {remedy}"
            ) from error
        if metadata.get("sha256") != _digest(tensors, metadata.get("about", "")):
            raise ValueError(
                f"the checkpoint {self.file} is damaged (its content was changed after it was "
                f"written): {remedy}"
            )
        about = json.loads(metadata["about"])
        for what, stored, wanted in (
            ("version", about["versions"], checkpoint_versions()),
            ("setting", about["of"], self.of),
        ):
            # The round trip through JSON turns tuples into lists, as in the values from the file.
            if unlike := differences(stored, json.loads(json.dumps(wanted))):
                raise ValueError(
                    f"the checkpoint {self.file} was made with another {what}: "
                    f"{'; '.join(unlike)}: {remedy}"
                )
        return SavedState(tensors, about["numbers"])


FREE_SETTINGS = (
    "baseline",
    "cache",
    "checkpoint_seconds",
    "threads",
    "registry",
    "export",
    "speed",
    "hub",
)
"""Settings and groups that no training depends on: how its model is measured, exported, registered
and stored, and whether a twin is trained after it. A killed run is resumed although they have
changed.
"""


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a training depends on: all but FREE_SETTINGS."""
    return {name: value for name, value in settings.items() if name not in FREE_SETTINGS}


def run_folder_path(settings: Mapping[str, Any], kind: str) -> Path:
    """Returns the path of the folder of a run. settings: the run's settings, with `cache`."""
    of = result_settings(settings)
    if kind == names.KIND_EXPORT:
        of["export"] = settings["export"]  # here it says what is exported, and to where
    if kind == names.KIND_LABEL:
        of["label"] = {name: value for name, value in of["label"].items() if name != "master"}
    return Path(settings["cache"]) / "runs" / key_of({"kind": kind, "settings": of})


class FolderInUse(ValueError):
    """Another process holds the lock of the same run."""


@contextmanager
def run_folder(settings: Mapping[str, Any], kind: str) -> Iterator[Path]:
    """Context manager that creates, locks and yields the folder of a run.

    kind: kind of the run. settings: the run's settings.

    The folder is deleted when the run finishes or raises RunStopped, or if its first start raises
    ValueError before a checkpoint exists. After any other error, or a kill, it is kept, and the
    same run resumes from it. Raises FolderInUse if another process holds the lock of the same run,
    and OSError with the reason if the folder is deleted while the run works in it.
    """
    folder = run_folder_path(settings, kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_empty(folder.parent)
    try:
        # timeout=0: waiting would only repeat the other process's run, so fail at once instead.
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            begun = folder.exists()
            folder.mkdir(exist_ok=True)
            identity = folder.stat().st_ino
            try:
                yield folder
            except RunStopped:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            except ValueError:
                if not begun and not [*folder.glob("*.safetensors"), *folder.glob("*.json")]:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            except FileNotFoundError as error:
                if folder.exists() and folder.stat().st_ino == identity:
                    raise
                raise OSError(
                    f"{folder} was deleted while the run worked in it ({error}); give the command "
                    "again: it starts anew"
                ) from error
            finally:
                with suppress(OSError):
                    folder.rmdir()  # only if it is empty
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise FolderInUse(
            f"another process is running the same training, in {folder}; allowed: one at a "
            "time, or another cache"
        ) from None


def _remove_empty(runs: Path) -> None:
    """Removes the empty folders of runs that were killed before they began."""
    for folder in runs.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            with suppress(Timeout, OSError), FileLock(folder.with_suffix(".lock"), timeout=0):
                folder.rmdir()  # fails if it is not empty any more


def checkpoint_versions() -> dict[str, Any]:
    """Returns the versions that a checkpoint depends on; other versions cannot resume it."""
    return {
        "format": CHECKPOINT_FORMAT,
        "mkd": __version__,
        "torch": torch.__version__,
    } | version_key("students")


def differences(stored: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """Returns a line for each different value of two nested dicts: dotted name and both values."""
    lines = []
    for name in sorted(stored.keys() | wanted.keys()):
        one, other = stored.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            lines += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            lines.append(f"{prefix}{name} was {one!r} and is {other!r}")
    return lines


def _digest(tensors: dict[str, torch.Tensor], about: str) -> str:
    """Returns the SHA-256 of the content of a checkpoint, in hexadecimal."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

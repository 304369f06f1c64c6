"""A run's folder and a training's state in it, from which the same run goes on after it was killed."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mkd.result import Ended
from mkd.storage.store import key_of, to_disk
from mkd.storage.versions import made_by

FORMAT = 1
"""Of the file; goes up whenever an older one could no longer be read."""


class Saved(NamedTuple):
    """A training's state: tensors by name, and the rest (anything that JSON holds)."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


class Checkpoint:
    """The file that holds a training's last state; it is replaced as a whole, so that there is always a good one.

    of: all that the training depends on, by name (anything that JSON holds). seconds: how long one has to be old before
    `due` asks for the next.
    """

    def __init__(self, file: Path, of: dict[str, Any], seconds: float) -> None:
        self.file, self.of, self.seconds = file, of, seconds
        self.written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self.written >= self.seconds

    def save(self, state: Saved) -> None:
        """Replaces the file. Raises OSError naming it and its bytes where there is no room; the one before is then kept."""
        about = json.dumps({"of": self.of, "versions": versions(), "numbers": state.numbers}, sort_keys=True)
        metadata = {"about": about, "sha256": _digest(state.tensors, about)}
        aside = self.file.with_suffix(".aside")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            save_file(state.tensors, aside, metadata)
            to_disk(aside)
            os.replace(aside, self.file)
        except (OSError, SafetensorError) as error:
            aside.unlink(missing_ok=True)
            size = sum(tensor.nbytes for tensor in state.tensors.values())
            raise OSError(f"{self.file}: a checkpoint of {size:,} bytes cannot be written ({error})") from error
        self.written = time.monotonic()

    def load(self) -> Saved | None:
        """What was saved last; None where nothing was.

        Raises ValueError for a file that is truncated or altered, or of another training or version, naming both.
        """
        if not self.file.exists():
            return None
        anew = f"remove {self.file} to start anew"
        try:
            with safe_open(self.file, "pt") as opened:
                metadata = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no dict)
        except SafetensorError as error:
            raise ValueError(f"the checkpoint {self.file} is damaged ({error}): {anew}") from error
        if metadata.get("sha256") != _digest(tensors, metadata.get("about", "")):
            raise ValueError(f"the checkpoint {self.file} is damaged (its content is not what was written): {anew}")
        about = json.loads(metadata["about"])
        for what, found, wanted in (("version", about["versions"], versions()), ("setting", about["of"], self.of)):
            if unlike := differences(found, json.loads(json.dumps(wanted))):
                raise ValueError(f"the checkpoint {self.file} is of another {what}: {'; '.join(unlike)}: {anew}")
        return Saved(tensors, about["numbers"])


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings but for those that leave what comes out as it is."""
    return {name: value for name, value in settings.items() if name not in ("cache", "checkpoint_seconds")}


def path_of(settings: Mapping[str, Any], kind: str) -> Path:
    """Where the folder is of the run of a kind with these settings, one of which is `cache`."""
    return Path(settings["cache"]) / "runs" / key_of({"kind": kind, "settings": deciding(settings)})


@contextmanager
def run_folder(settings: Mapping[str, Any], kind: str) -> Iterator[Path]:
    """The folder of the run of a kind with these settings: it is there again if the run was killed, and gone when it has ended.

    It is gone too when the run was Ended, or its first start refused before it had a checkpoint. Raises ValueError where another
    process is at the same run.
    """
    folder = path_of(settings, kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            begun = folder.exists()
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            except Ended:
                shutil.rmtree(folder)
                raise
            except ValueError:
                if not begun and not list(folder.glob("*.safetensors")):
                    shutil.rmtree(folder)
                raise
            shutil.rmtree(folder)
    except Timeout:
        raise ValueError(
            f"another process is at a run of the same settings, in {folder}; allowed: one at a time, or another cache"
        ) from None


def versions() -> dict[str, Any]:
    """Of all that decides how a training goes on: a state is not handed from one to another."""
    return {"format": FORMAT, "mkd": importlib.metadata.version("mkd"), "torch": torch.__version__} | made_by("students")


def differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """Each difference by its dotted name with both values."""
    lines = []
    for name in sorted(found.keys() | wanted.keys()):
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            lines += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            lines.append(f"{prefix}{name} was {one!r} and is {other!r}")
    return lines


def _digest(tensors: dict[str, torch.Tensor], about: str) -> str:
    """sha256 of everything in the file, in hex."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

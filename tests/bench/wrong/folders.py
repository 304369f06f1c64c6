"""Checkpoints, students and exported folders with damaged files."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.bench.wrong.case import Case, Made
from tests.bench.wrong.data import SPECIAL

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "no last byte": lambda content: content[:-1],
    "a byte more": lambda content: content + b"x",
    "another byte": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "zeros": lambda content: bytes(len(content)),
    "a Git LFS pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid 1\n",
    "a web page": lambda content: b"<!DOCTYPE html><html></html>",
    "[]": lambda content: b"[]",
    "{}": lambda content: b"{}",
    "null": lambda content: b"null",
    "brackets": lambda content: b"[" * 100_000,
}
"""Functions that damage the content of a file."""
VALUES: tuple[Any, ...] = (None, -1, 0, 1, 3, 10**9, 2**70, 0.5, "x", [], {}, True)
"""Wrong values for a key of config.json or of the manifest."""


def _tensors(change: Callable[[dict[str, torch.Tensor], str], object]) -> Callable[[Path], None]:
    """Returns a function that changes the tensors of a folder. change: gets them and the largest's
    name."""

    def changed(folder: Path) -> None:
        file = folder / "model.safetensors"
        weights = load_file(file)
        change(weights, max(weights, key=lambda name: weights[name].numel()))
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)

    return changed


WEIGHTS: dict[str, Callable[[Path], None]] = {
    "a tensor lacks": _tensors(lambda w, name: w.pop(name)),
    "a tensor more": _tensors(lambda w, name: w.update(more=torch.ones(3))),
    "a wider tensor": _tensors(lambda w, name: w.update({name: torch.ones(7, 9)})),
    "a flat tensor": _tensors(lambda w, name: w.update({name: w[name].reshape(-1)})),
    "an empty tensor": _tensors(lambda w, name: w.update({name: torch.ones(0, 3)})),
    "integers": _tensors(lambda w, name: w.update({name: w[name].long()})),
    "NaN": _tensors(lambda w, name: w.update({name: w[name] * float("nan")})),
    "infinity": _tensors(lambda w, name: w.update({name: w[name] + float("inf")})),
    "no tensors": _tensors(lambda w, name: w.clear()),
    "names of another": _tensors(
        lambda w, name: [w.update({f"x.{key}": w.pop(key)}) for key in list(w)]
    ),
}
"""Functions that make the weights disagree with config.json."""


def cases(prepared: Made) -> Iterator[Case]:
    """Yields each damage of each file, for the commands that read the folder."""
    checkpoint = ["--teacher.checkpoint=folder", '--data.tasks=["sentiment"]']
    student = ['--data.tasks=["sentiment"]']
    for what, write in _damaged(prepared.encoder):
        yield Case("distill", f"checkpoint {what}", checkpoint, write)
    for what, write in _damaged(prepared.student):
        argv = [*student, "--finetune.student=folder", "--finetune.train.steps=6"]
        yield Case("finetune", f"student {what}", argv, write)
        argv = [*student, "--export.student=folder", "--export.to=to", '--export.backends=["onnx"]']
        yield Case("export", f"student {what}", argv, write)
    for what, write in _damaged(prepared.exported):
        # The manifest has digests of all other files, so each change of them must be noticed.
        refused = "manifest" not in what and "README" not in what
        yield Case("predict", f"export {what}", ["folder"], write, refused)


def _damaged(origin: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yields the name of each damage, and a function that writes the damaged copy as `folder`."""
    files = sorted(path.name for path in origin.iterdir() if path.is_file())
    for name in files:
        yield f"{name} missing", partial(_change, origin, name, None)
        for damage, change in BYTES.items():
            yield f"{name} {damage}", partial(_change, origin, name, change)
        for kind in ("a folder", "a FIFO", "a link to /dev/zero", "a link to itself"):
            yield f"{name} {kind}", partial(_replace, origin, name, SPECIAL[kind])
        if name.endswith(".json") and "tokenizer" not in name:
            values = json.loads((origin / name).read_bytes())
            for key in values if isinstance(values, dict) else []:
                for value in VALUES:
                    yield f"{name} {key}: {value}", partial(_set, origin, name, key, value)
    if "model.safetensors" in files:
        for what, change_weights in WEIGHTS.items():
            yield f"weights: {what}", partial(_weights, origin, change_weights)


def _copy(origin: Path, folder: Path) -> Path:
    return Path(shutil.copytree(origin, folder / "folder"))


def _change(origin: Path, name: str, change: Callable[[bytes], bytes] | None, folder: Path) -> None:
    file = _copy(origin, folder) / name
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))


def _replace(origin: Path, name: str, make: Callable[[Path], object], folder: Path) -> None:
    file = _copy(origin, folder) / name
    file.unlink()
    make(file)


def _set(origin: Path, name: str, key: str, value: object, folder: Path) -> None:
    file = _copy(origin, folder) / name
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {key: value}))


def _weights(origin: Path, change: Callable[[Path], None], folder: Path) -> None:
    change(_copy(origin, folder))

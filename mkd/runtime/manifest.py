"""The manifest of an exported folder: reading and checks."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkd.runtime.layout import Layout

MANIFEST = "student.json"
"""The file of a backend's folder that describes it."""
GRAPHS = "onnx"
"""The folder of an export that holds all its ONNX graphs, as on the Hugging Face hub."""
TOKENIZER = "tokenizer.json"
FORMAT = 2
"""The manifest format that is written for ONNX graphs. From format 2 on, a single text can have
other special tokens and token types than a pair."""
TABLES_FORMAT = 3
"""The manifest format that is written for a bag student in 8 bits."""
READABLE = (1, FORMAT, TABLES_FORMAT)
"""The manifest formats that can be read."""
TABLES_ENDING = ".npz"
"""Ending of the file of a bag student in 8 bits."""
REDUCED = "reduced_range"
"""The manifest's key for int8 students: whether the weights use 7 of their 8 bits."""
AGAIN = "export the student again"
LARGEST_LENGTH = 1 << 20
"""Largest number of tokens of an input."""
LARGEST = 1e38
"""Largest scale of a score, and largest temperature: about the largest number of float32. Scores
and quotients in float64 then do not overflow."""
LONGEST_NAME = 255
"""Maximum length of a file name in bytes, as on most file systems."""


def manifest_in_graphs(backend: str) -> str:
    """Returns the file name of a backend's manifest in GRAPHS; that of `onnx` is MANIFEST."""
    return MANIFEST if backend == GRAPHS else f"{Path(MANIFEST).stem}_{backend}.json"


def read_manifest(file: Path) -> dict[str, Any]:
    """Returns the manifest of an exported student.

    Raises ValueError if there is none, if it is damaged, or if its format is unknown.
    """
    if file.exists() and not file.is_file():  # a pipe would never end
        raise ValueError(f"{file} is no file: export the student again")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known = manifest["format"]
    except OSError:
        raise ValueError(
            f"{file.parent} is no exported student: there is no {file.name} in it"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{file} is damaged: export the student again") from None
    if known not in READABLE:
        allowed = ", ".join(map(str, READABLE))
        raise ValueError(
            f"{file} is of format {known!r}; allowed: {allowed}, which this version of mkd reads"
        )
    stated = manifest.pop("digest", None)
    # A name with a directory in it could point out of the folder.
    files = manifest.get("files")
    if not isinstance(files, dict) or stated != digest_of(manifest):
        raise ValueError(f"{file} is damaged: export the student again")
    for name in files:
        if not is_file_name(name):
            raise ValueError(
                f"{file} is damaged: export the student again; `files` has {name!r:.80}; allowed: "
                f"printable names of files beside it, of at most {LONGEST_NAME} bytes"
            )
    check_manifest(manifest, TOKENIZER, TABLES_ENDING, str(file))
    return manifest


def is_file_name(name: str) -> bool:
    """Returns whether a name can be that of a file in a folder, and of none outside of it."""
    return (
        Path(name).name == name
        and name.isprintable()  # else it may have a zero byte, or be no text
        and len(name.encode()) <= LONGEST_NAME
    )


def digest_of(manifest: dict[str, Any]) -> str:
    """Returns the SHA-256 of the manifest without its own digest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def check_manifest(manifest: Mapping[str, Any], tokenizer: str, tables: str, where: str) -> None:
    """Raises ValueError, with `where` first, unless the manifest has all that a student needs.

    - `tokenizer`: name of the tokenizer's file.
    - `tables`: ending of the file of a bag student in 8 bits.
    """
    files, tasks, layout = (manifest.get(key) for key in ("files", "tasks", "layout"))
    if not isinstance(files, dict) or not all(isinstance(each, str) for each in files.values()):
        raise ValueError(f"{where} is damaged: `files` holds no digests: {AGAIN}")
    if tokenizer not in files:
        raise ValueError(f"{where} is damaged: `files` has no digest of {tokenizer}: {AGAIN}")
    if not isinstance(tasks, dict) or not tasks:
        raise ValueError(f"{where} is damaged: `tasks` has no head: {AGAIN}")
    for name, head in tasks.items():
        if not isinstance(head, dict) or not _is_head(head, tables) or head["graph"] not in files:
            raise ValueError(f"{where} is damaged: `tasks.{name}` is no head: {AGAIN}")
        _check_head(head, f"{where}: `tasks.{name}")
    if not isinstance(layout, dict) or not _is_layout(layout):
        raise ValueError(f"{where} is damaged: `layout` is none: {AGAIN}")
    _check_layout(layout, {head["pair"] for head in tasks.values()}, f"{where}: `layout")


def _check_head(head: Mapping[str, Any], where: str) -> None:
    """Raises ValueError for a head whose values no student can have. `where`: its name, open."""
    for name in ("mean", "std", "temperature"):
        value, least = head.get(name, 1.0), 1 / LARGEST if name == "temperature" else -LARGEST
        if not least <= value <= LARGEST:
            raise ValueError(
                f"{where}.{name}` is {_short(value)}; allowed: from {least:g} to {LARGEST:g}"
            )
    if head.get("multilabel") and not head["labels"]:
        raise ValueError(
            f"{where}.multilabel` is true; allowed: false, as a regression has no labels"
        )


def _check_layout(layout: Mapping[str, Any], pairs: set[bool], where: str) -> None:
    """Raises ValueError for special tokens or token types that no sequence can have.

    - `pairs`: whether a task's texts are pairs, of all tasks.
    - `where`: the layout's name, open.
    """
    if not layout["joined"]:
        return
    prefix, middle, suffix = (layout.get(name, []) for name in ("prefix", "middle", "suffix"))
    before, after = layout.get("single") or (prefix, suffix)
    for pair in pairs:
        special = sum(map(len, (prefix, middle, suffix) if pair else (before, after)))
        if special >= layout["max_length"]:
            raise ValueError(
                f"{where}.max_length` is {layout['max_length']}; allowed: more than {special}, the "
                f"number of special tokens of a {'pair' if pair else 'single text'}"
            )
        name, parts = ("pair_types", special + 2) if pair else ("single_types", special + 1)
        types = layout.get(name, [])
        if types and len(types) != parts:
            raise ValueError(
                f"{where}.{name}` has {len(types)} token types; allowed: none, or {parts}, one for "
                "each special token and each text"
            )


def _short(value: float) -> str:
    """Returns a number in few characters, however large it is."""
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}... ({len(text)} digits)"


def _is_head(head: Mapping[str, Any], tables: str) -> bool:
    labels = head.get("labels")
    return (
        isinstance(labels, list)
        and all(isinstance(label, str) for label in labels)
        and len(set(labels)) == len(labels)
        and type(head.get("pair")) is bool
        and all(_is_finite(head.get(name)) for name in ("mean", "std"))
        and isinstance(head.get("graph"), str)
        # The tables of a bag student hold each head by its name.
        and (head["graph"].endswith(tables) or _is_count(head.get("start")))
        and type(head.get("multilabel", False)) is bool
        and ("thresholds" not in head or are_thresholds(head["thresholds"], len(labels)))
        and (head.get("multilabel") or len(labels) == 2 or "thresholds" not in head)
        and _is_finite(head.get("temperature", 1.0))
    )


def are_thresholds(value: object, labels: int) -> bool:
    """Returns whether a value is a list of a probability for each of so many labels."""
    return (
        isinstance(value, list)
        and len(value) == labels
        and all(_is_finite(each) and 0 <= each <= 1 for each in value)
    )


def is_temperature(value: object) -> bool:
    """Returns whether a value is a temperature of logits: a number above 0. Neither it nor what is
    divided by it overflows."""
    return _is_finite(value) and 1 / LARGEST <= value <= LARGEST  # type: ignore[operator]


def _is_layout(layout: Mapping[str, Any]) -> bool:
    known = set(Layout._fields)
    needed = known - set(Layout._field_defaults)
    lists = [layout.get(name, []) for name in ("prefix", "middle", "suffix")]
    lists += [layout.get(name, []) for name in ("pair_types", "single_types")]
    single = layout.get("single")
    if single is not None:
        if not isinstance(single, list) or len(single) != 2:
            return False
        lists += single
    return (
        needed <= set(layout) <= known
        and type(layout["joined"]) is bool
        and type(layout.get("types", False)) is bool
        and _is_count(layout["pad"])
        and _is_count(layout["max_length"])
        and 0 < layout["max_length"] <= LARGEST_LENGTH
        and all(isinstance(each, list) and all(map(_is_count, each)) for each in lists)
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _is_finite(value: object) -> bool:
    # A whole number may be larger than any float, which math.isfinite does not take.
    return type(value) is int or (type(value) is float and math.isfinite(value))

"""What a stored result depends on besides its settings and rows: the version of the code that made it, and of its libraries."""

from functools import cache
from importlib import metadata
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """version: goes up whenever the code of the stage gives another result for the same input, so that older stores are not read.

    libraries: those whose own changes may change the result.
    """

    version: int
    libraries: tuple[str, ...] = ()


STAGES = {
    "words": Stage(1, ("pyarrow",)),
    "plain": Stage(1, ("pyarrow",)),
    "augmented": Stage(1),
    "tokenizers": Stage(1, ("tokenizers",)),
    "tokens": Stage(1, ("tokenizers", "transformers")),
    "imported": Stage(1),
    "teachers": Stage(1, ("torch", "transformers")),
    "logits": Stage(1, ("torch", "transformers")),
    "states": Stage(1, ("torch", "transformers")),
    "students": Stage(1, ("torch", "transformers")),
    "costs": Stage(3, ("onnxruntime", "onnxscript", "tokenizers", "torch", "transformers")),
}
"""By the kind of store; `students` is the training of a student, whose scores are kept in runs. The split into training and
selection rows has a version of its own (mkd/selection.py), as runs tell it."""


def made_by(kind: str) -> dict[str, Any]:
    """The part of a key that tells which code makes the result: its version and those of its libraries, by name."""
    stage = STAGES[kind]
    return {"made_by": {"version": stage.version} | {name: _installed(name) for name in stage.libraries}}


@cache
def _installed(library: str) -> str:
    return metadata.version(library)

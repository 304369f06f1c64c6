"""Versions of the code and libraries that a cached result depends on."""

from functools import cache
from importlib import metadata
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """The version of a stage of the computation.

    version: is increased when the code of the stage changes its result for the same input. Older
        cache entries are then no longer used.
    libraries: libraries whose changes can change the result.
    """

    version: int
    libraries: tuple[str, ...] = ()


STAGES = {
    "tasks": Stage(1),
    "words": Stage(1, ("pyarrow",)),
    "plain": Stage(1, ("pyarrow",)),
    "augmented": Stage(1),
    "tokenizers": Stage(1, ("tokenizers",)),
    "tokens": Stage(1, ("tokenizers", "transformers")),
    "imported": Stage(1),
    "teachers": Stage(2, ("torch", "transformers")),
    "logits": Stage(1, ("torch", "transformers")),
    "padding": Stage(1, ("torch", "transformers")),
    "states": Stage(1, ("torch", "transformers")),
    "pretrained": Stage(2, ("torch", "transformers")),
    "students": Stage(5, ("torch", "transformers")),
    "costs": Stage(6, ("onnxruntime", "onnxscript", "tokenizers", "torch", "transformers")),
}
"""Stages by the kind of cache entry.

`students` is the training of a student, whose scores are logged in runs. The split into training
and selection rows has its own version (mkd/selection/split.py), which runs log as a tag.
"""


def version_key(kind: str) -> dict[str, Any]:
    """Returns the part of a cache key with the versions of a stage and of its libraries."""
    stage = STAGES[kind]
    return {
        "made_by": {"version": stage.version} | {name: _installed(name) for name in stage.libraries}
    }


@cache
def _installed(library: str) -> str:
    return metadata.version(library)

"""Checks, before a run is opened, that the disk has space for what the run will store."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mkd.storage.disk import check_room
from mkd.teachers.task_teacher import LOGITS_FILE
from mkd.tokenization.tokens import TaskData

NUMBER_BYTES = 4
"""Models and logits are stored in float32."""


def check_room_for(
    root: Path,
    students: Sequence[nn.Module],
    teachers: Sequence[nn.Module],
    taught: Sequence[TaskData],
) -> None:
    """Raises DiskFull if the cache's disk has less room than models and logits take.

    A teacher or logits are not counted if a stored file has the same size, because it may be the
    needed one.

    root: the cache folder. students, teachers: untrained models that the run will train.
    taught: the tasks whose rows get logits.
    """
    numbers = sum(map(_num_weights, students))
    for teacher in teachers:
        numbers += _not_stored(root, "teachers/*/model.safetensors", _num_weights(teacher))
    for data in taught:
        for part in data.train.parts or (data.train,):
            size = len(part.labels) * max(1, len(data.kind.labels))
            numbers += _not_stored(root, f"logits/*/{LOGITS_FILE}", size)
    check_room(root, NUMBER_BYTES * numbers, "the models and logits of the run take")


def _num_weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _not_stored(root: Path, pattern: str, numbers: int) -> int:
    """Returns how many numbers are to be stored: none if a file of that size is there."""
    size = NUMBER_BYTES * numbers
    return 0 if any(file.stat().st_size >= size for file in root.glob(pattern)) else numbers

"""Hashes of the checkpoints and files in the settings: results depend on content, not on names."""

from collections.abc import Iterator
from pathlib import Path

from mkd.config import REFINED, DataConfig, StudentConfig, TeacherConfig
from mkd.storage import pretrained
from mkd.storage.store import file_hash
from mkd.tasks.task import Task
from mkd.teachers.imported import LOGIT_FILE_ENDINGS

TEACHER_INIT = "teacher"
"""Name of the refined teacher in student.init; the teacher's own key stands for its content."""


def checkpoint_hashes(
    teacher: TeacherConfig, student: StudentConfig, data: DataConfig
) -> dict[str, str]:
    """Returns, by setting, the hash of the checkpoint or file that the setting names.

    The hash of a checkpoint covers config, weights and tokenizer. Data files are not included: the
    `row_fingerprints` of their rows cover them.

    Raises ValueError if there is no such checkpoint or file.
    """
    return {setting: _hash(name, setting) for setting, name in _named(teacher, student, data)}


def check_contents(teacher: TeacherConfig, student: StudentConfig, data: DataConfig) -> None:
    """Raises ValueError if a checkpoint or file that a setting names does not exist."""
    for setting, name in _named(teacher, student, data):
        _place(name, setting)


def _named(
    teacher: TeacherConfig, student: StudentConfig, data: DataConfig
) -> Iterator[tuple[str, str]]:
    """Yields the settings that name a checkpoint or file, each with the name."""
    named = {
        "teacher.checkpoint": teacher.checkpoint,
        "student.init": "" if student.init == TEACHER_INIT else student.init,
        "student.tokenizer": student.tokenizer,
        "data.augment.embeddings": data.augment.embeddings,
    }
    for task, sources in teacher.sources.items():
        named |= {
            f"teacher.sources.{task}.{source}": source for source in sources if source != REFINED
        }
    yield from ((setting, name) for setting, name in named.items() if name)


def row_fingerprints(tasks: list[Task]) -> dict[str, list[str]]:
    """Returns, by task, the fingerprints of its rows: train, each dev split, data.transfer's."""
    return {
        task.name: [split.fingerprint for split in (task.train, *task.dev.values(), *task.added)]
        for task in tasks
    }


def is_checkpoint(source: str) -> bool:
    """Returns whether a source of teacher.sources is a checkpoint.

    The others are the refined teacher and files of logits.
    """
    return source != REFINED and not source.endswith(LOGIT_FILE_ENDINGS)


def _hash(name: str, setting: str) -> str:
    place = _place(name, setting)
    return pretrained.checkpoint_fingerprint(place) if place.is_dir() else file_hash(place)


def _place(name: str, setting: str) -> Path:
    """Returns the folder of a checkpoint, or the file of logits."""
    if not name.endswith(LOGIT_FILE_ENDINGS):
        return pretrained.checkpoint_folder(name, setting)
    if not Path(name).is_file():
        raise ValueError(f"{setting} is {name!r}: no such file")
    return Path(name)

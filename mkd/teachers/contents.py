"""What the checkpoints and files hold that settings name, as a result depends on that and not on the name."""

from pathlib import Path

from mkd.config import DataConfig, StudentConfig, TeacherConfig
from mkd.storage import pretrained
from mkd.storage.store import file_hash
from mkd.tasks.task import Task
from mkd.teachers.imported import ENDINGS

TEACHER = "teacher"
"""Names the refined teacher in student.init, whose own key tells what it is."""
REFINED = "refined"


def contents(teacher: TeacherConfig, student: StudentConfig, data: DataConfig) -> dict[str, str]:
    """By setting, the hash of what each name stands for: a checkpoint's config, weights and tokenizer, or a file.

    Files of data are told by their rows' own fingerprints. Raises ValueError where there is nothing of the name.
    """
    named = {
        "teacher.checkpoint": teacher.checkpoint,
        "student.init": "" if student.init == TEACHER else student.init,
        "student.tokenizer": student.tokenizer,
        "data.augment.embeddings": data.augment.embeddings,
    }
    for task, sources in teacher.sources.items():
        named |= {f"teacher.sources.{task}.{source}": source for source in sources if source != REFINED}
    return {setting: _hash(name, setting) for setting, name in named.items() if name}


def fingerprints(tasks: list[Task]) -> dict[str, list[str]]:
    """By task, the fingerprints of its rows: train, each dev split, what data.transfer adds."""
    return {task.name: [split.fingerprint for split in (task.train, *task.dev.values(), *task.added)] for task in tasks}


def _hash(name: str, setting: str) -> str:
    if not name.endswith(ENDINGS):
        return pretrained.fingerprint(pretrained.resolve(name, setting))
    if not Path(name).is_file():
        raise ValueError(f"{setting} is {name!r}: no such file")
    return file_hash(Path(name))

"""What teaches each task: the multi-task refined teacher, checkpoints, files of logits, or the mean of several."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd.config import Config
from mkd.evaluation.remarks import floor
from mkd.storage import pretrained
from mkd.tasks.metrics import score
from mkd.tasks.task import Task
from mkd.teachers.finetuned import fine_tuned
from mkd.teachers.imported import ENDINGS, Imported, import_logits
from mkd.teachers.labeller import Labeller
from mkd.teachers.mean import Mean
from mkd.teachers.refined import teacher_tokenizer
from mkd.tokenization.tokens import TaskData

REFINED = "refined"
"""The multi-task refined teacher's name in teacher.sources."""

Known = dict[tuple[str, str], Labeller]
"""Labellers by task and source."""


def sources(config: Config, task: str) -> list[str]:
    """The names of what teaches a task."""
    named = config.teacher.sources
    return named.get(task, [REFINED])


def refined_tasks(config: Config, tasks: list[Task]) -> list[Task]:
    """The tasks that the refined teacher has a part in; it is refined on these."""
    return [task for task in tasks if REFINED in sources(config, task.name)]


def needed(config: Config) -> bool:
    """Whether a run of these settings has a teacher: to learn from, or to take the student's layers or embeddings from.

    config: as `for_tasks` gives it.
    """
    return not config.loss.from_labels_alone or config.student.init == "teacher"


def _first_checkpoint(config: Config, tasks: list[Task]) -> str:
    """The first task's first checkpoint, or that of the next which has one; empty where there is none."""
    names = [name for task in tasks for name in sources(config, task.name)]
    return next((name for name in names if name != REFINED and not name.endswith(ENDINGS)), "")


def for_tasks(config: Config, tasks: list[Task]) -> Config:
    """The config with `student.init=teacher` as the checkpoint that this is, where there is no refined teacher.

    tasks: as load_tasks gives them. Raises ValueError for sources that do not go with them, or with the other settings.
    """
    names = [task.name for task in tasks]
    for name in config.teacher.sources:
        if name not in names:
            raise ValueError(f"teacher.sources names {name!r}; chosen: {', '.join(names)}")
    for task in tasks:
        _check_own_rows(config, task)
        _check_exposed(config, task)
    if refined_tasks(config, tasks):
        return config
    if config.teacher.checkpoint:
        raise ValueError(
            f"teacher.checkpoint is {config.teacher.checkpoint!r}; allowed: empty, as teacher.sources names others for all tasks"
        )
    first = _first_checkpoint(config, tasks)
    if config.student.init != "teacher":
        return config
    if not first:
        raise ValueError("student.init is 'teacher'; allowed: empty or a checkpoint, as all teacher.sources are files of logits")
    return replace(config, student=replace(config.student, init=first))


def _check_own_rows(config: Config, task: Task) -> None:
    """Raises ValueError where a file of logits would have to label rows that are added to the task's own."""
    for name in sources(config, task.name):
        if name.endswith(ENDINGS):
            reason = f"as {name} of teacher.sources.{task.name} has logits for the task's own rows alone"
            if task.added:
                raise ValueError(f"data.transfer adds {task.added[0].source} to {task.name}; allowed: other tasks, {reason}")
            if config.data.augment.multiple:
                raise ValueError(f"data.augment.multiple is {config.data.augment.multiple}; allowed: 0, {reason}")


def _check_exposed(config: Config, task: Task) -> None:
    """Raises ValueError where hidden states are to be matched of what has none."""
    names = sources(config, task.name)
    files = [name for name in names if name.endswith(ENDINGS)]
    if config.loss.match.weight and (files or len(names) > 1):
        reason = f"{files[0]} has logits alone" if files else f"{len(names)} teachers have no hidden states in common"
        raise ValueError(
            f"loss.match.weight is {config.loss.match.weight}; allowed: 0, as of teacher.sources.{task.name} {reason}"
        )


def tokenizer_of(config: Config, tasks: list[Task]) -> PreTrainedTokenizerBase:
    """The refined teacher's tokenizer; without one the first checkpoint's; without any, one learnt from the tasks."""
    first = _first_checkpoint(config, tasks)
    if not first or refined_tasks(config, tasks):
        return teacher_tokenizer(config, tasks)
    return pretrained.load_tokenizer(pretrained.resolve(first, "teacher.sources"), "teacher.sources")


def other_labellers(config: Config, tasks: list[Task], datas: list[TaskData], device: torch.device) -> Known:
    """All sources but the refined teacher, checked as far as that goes without a checkpoint's weights."""
    known: Known = {}
    for task, data in zip(tasks, datas, strict=True):
        for source in sources(config, task.name):
            if source.endswith(ENDINGS):
                known[task.name, source] = import_logits(Path(config.cache), Path(source), task, data)
            elif source != REFINED:
                known[task.name, source] = fine_tuned(config, task, source, device)
    return known


def labeller(config: Config, data: TaskData, known: Known) -> Labeller:
    """What teaches a task: its one source, or the mean of its several."""
    members = tuple(known[data.name, source] for source in sources(config, data.name))
    return members[0] if len(members) == 1 else Mean(members, config.teacher.mean, Path(config.cache), data)


def weakness(data: TaskData, name: str, logits: np.ndarray) -> str:
    """What is wrong with a teacher that has these logits on the selection rows; empty where it is good for something.

    Of the task's score: it has to reach that of the best one answer to all rows; regression: to be above 0.
    """
    labels = data.train.labels[data.selection_rows]
    found = _mean_score(data, logits, labels)
    where = f"{data.name}: WEAK TEACHER: {name} scores {found:.1f} on the selection split"
    if not data.kind.labels:
        return "" if found > 0 else f"{where}; a useful one scores above 0"
    least = floor(data.kind, labels)
    return "" if found >= least.score else f"{where}, always answering {least.label!r} {least.score:.1f}"


def weaknesses(data: TaskData, teacher: Labeller) -> list[str]:
    """The weakness of each source of a task that has one, by its logits for the training rows."""
    found = []
    for member in teacher.members if isinstance(teacher, Mean) else (teacher,):
        logits = member.logits("train")
        assert logits is not None, "every labeller has the training rows"
        found.append(weakness(data, member.name, logits[data.selection_rows]))
        if isinstance(member, Imported) and not member.has_texts:
            found.append(f"{data.name}: {member.name} does not say which texts its rows are (text), so that was not checked")
    return [text for text in found if text]


def _mean_score(data: TaskData, logits: np.ndarray, labels: np.ndarray) -> float:
    values = score(data.kind, logits, labels)
    return sum(values.values()) / len(values)

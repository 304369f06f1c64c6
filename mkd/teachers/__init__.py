"""The teachers of each task: the refined teacher, checkpoints, files of logits, or a mean of these.

A task's teachers are listed in `teacher.sources`; without an entry, it has the refined teacher.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd.config import REFINED, Config, DataConfig, LossConfig, Stores, StudentConfig, TeacherConfig
from mkd.evaluation.remarks import constant_baseline
from mkd.evaluation.thresholds import fit_thresholds
from mkd.storage import pretrained
from mkd.tasks.metrics import score
from mkd.tasks.task import Task
from mkd.teachers.contents import is_checkpoint
from mkd.teachers.finetuned import load_fine_tuned
from mkd.teachers.imported import LOGIT_FILE_ENDINGS, import_logits
from mkd.teachers.mean import mean_teacher
from mkd.teachers.refined import refined_tokenizer
from mkd.teachers.task_teacher import TaskTeacher
from mkd.tokenization.tokens import TaskData, groups_of, labels_of

TeachersBySource = dict[tuple[str, str], TaskTeacher]
"""TaskTeachers by task and source."""


def source_names(teacher: TeacherConfig, task: str) -> list[str]:
    """Returns the names of a task's teachers."""
    return teacher.sources.get(task, [REFINED])


def refined_tasks(teacher: TeacherConfig, tasks: list[Task]) -> list[Task]:
    """Returns the tasks that the refined teacher labels; it is refined on these."""
    return [task for task in tasks if REFINED in source_names(teacher, task.name)]


def needs_teacher(loss: LossConfig, student: StudentConfig) -> bool:
    """Returns whether a run with these settings needs a teacher.

    It does if the student learns from logits or hidden states, or takes layers or embeddings from
    the teacher. `student` is that of the config that `config_for_tasks` returns.
    """
    return not loss.from_labels_alone or student.init == "teacher"


def _first_checkpoint(teacher: TeacherConfig, tasks: list[Task]) -> str:
    """Returns the first checkpoint in the sources of the tasks; empty if there is none."""
    names = [name for task in tasks for name in source_names(teacher, task.name)]
    return next(filter(is_checkpoint, names), "")


def config_for_tasks(config: Config, tasks: list[Task]) -> Config:
    """Returns the config with `student.init=teacher` resolved for these tasks.

    If there is no refined teacher, "teacher" is replaced by the first checkpoint in
    teacher.sources. `tasks` are those of load_tasks.

    Raises ValueError if teacher.sources does not fit the tasks or the other settings.
    """
    names = [task.name for task in tasks]
    for name in config.teacher.sources:
        if name not in names:
            raise ValueError(f"teacher.sources names {name!r}; chosen: {', '.join(names)}")
    for task in tasks:
        _check_copies(config.teacher, config.data, task)
        _check_exposed(config.teacher, config.loss, task)
    if refined_tasks(config.teacher, tasks):
        return config
    if config.teacher.checkpoint:
        raise ValueError(
            f"teacher.checkpoint is {config.teacher.checkpoint!r}; allowed: empty, as "
            "teacher.sources names others for all tasks"
        )
    first = _first_checkpoint(config.teacher, tasks)
    if config.student.init != "teacher":
        return config
    if not first:
        raise ValueError(
            "student.init is 'teacher'; allowed: empty or a checkpoint, as all teacher.sources are "
            "files of logits"
        )
    return replace(config, student=replace(config.student, init=first))


def _check_copies(teacher: TeacherConfig, data: DataConfig, task: Task) -> None:
    """Raises ValueError if only files teach a task with augmented copies, which are made anew."""
    names = source_names(teacher, task.name)
    if data.augment.multiple and all(name.endswith(LOGIT_FILE_ENDINGS) for name in names):
        raise ValueError(
            f"data.augment.multiple is {data.augment.multiple}; allowed: 0, as {names[0]} of "
            f"teacher.sources.{task.name} has no answers for the copies"
        )


def _check_exposed(teacher: TeacherConfig, loss: LossConfig, task: Task) -> None:
    """Raises ValueError if hidden states of a file or of several teachers are to be matched."""
    names = source_names(teacher, task.name)
    files = [name for name in names if name.endswith(LOGIT_FILE_ENDINGS)]
    if loss.match.weight and (files or len(names) > 1):
        reason = (
            f"{files[0]} has only logits"
            if files
            else f"{len(names)} teachers have no hidden states in common"
        )
        raise ValueError(
            f"loss.match.weight is {loss.match.weight}; allowed: 0, as of "
            f"teacher.sources.{task.name} {reason}"
        )


def primary_tokenizer(
    teacher: TeacherConfig, root: Path, tasks: list[Task]
) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of the refined teacher.

    Without a refined teacher it is that of the first checkpoint; without a checkpoint, one that is
    learnt from the tasks.
    """
    first = _first_checkpoint(teacher, tasks)
    if not first or refined_tasks(teacher, tasks):
        return refined_tokenizer(teacher, root, tasks)
    return pretrained.load_tokenizer(
        pretrained.checkpoint_folder(first, "teacher.sources"), "teacher.sources"
    )


def load_other_teachers(
    teacher: TeacherConfig,
    stores: Stores,
    tasks: list[Task],
    datas: list[TaskData],
    device: torch.device,
) -> TeachersBySource:
    """Returns all sources except the refined teacher.

    Files are read and checked; of a checkpoint everything is checked except its weights, which are
    loaded when they are needed. `datas` are the tasks by any tokenizer.

    Raises ValueError if a source does not fit its task.
    """
    teachers: TeachersBySource = {}
    for task, data in zip(tasks, datas, strict=True):
        for source in source_names(teacher, task.name):
            if source.endswith(LOGIT_FILE_ENDINGS):
                teachers[task.name, source] = import_logits(stores.root, Path(source), task, data)
            elif source != REFINED:
                teachers[task.name, source] = load_fine_tuned(
                    teacher.train.precision, stores, task, source, device
                )
    return teachers


def teacher_of_task(
    teacher: TeacherConfig, root: Path, data: TaskData, teachers: TeachersBySource
) -> TaskTeacher:
    """Returns the teacher of a task: its only source, or the mean of its sources."""
    members = tuple(teachers[data.name, source] for source in source_names(teacher, data.name))
    return members[0] if len(members) == 1 else mean_teacher(members, teacher.mean, root, data)


def weak_teacher_note(data: TaskData, name: str, logits: np.ndarray, rows: np.ndarray) -> str:
    """Returns a note if a teacher with these logits on the selection rows is useless, else "".

    A useful teacher scores at least as much as the best constant prediction. For regression, its
    score is above 0.

    - rows: the selection rows that the logits are of.
    """
    labels = labels_of(data.train, data.kind, rows)
    groups = groups_of(data.train, data.kind, rows)
    fitted = fit_thresholds(data.kind, logits, labels)
    values = score(data.kind, logits, labels, thresholds=fitted, groups=groups)
    teacher_score = sum(values.values()) / len(values)
    where = f"{data.name}: WEAK TEACHER: {name} scores {teacher_score:.1f} on the selection split"
    if not data.kind.labels:
        return "" if teacher_score > 0 else f"{where}; a useful one scores above 0"
    least = constant_baseline(data.kind, labels, groups)
    return (
        ""
        if teacher_score >= least.score
        else f"{where}, always answering {least.label!r} {least.score:.1f}"
    )


def teacher_notes(data: TaskData, teacher: TaskTeacher) -> list[str]:
    """Returns the notes on each source of a task, its own ones and those on its score."""
    notes = []
    for member in teacher.members:
        rows, logits = member.on_selection()
        if len(rows):
            notes.append(weak_teacher_note(data, member.name, logits, rows))
        notes += member.notes
    return [text for text in notes if text]

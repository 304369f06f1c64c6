"""The teachers of all tasks as one: targets for a student, and the comparison with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mkd import names
from mkd.config import REFINED, Config, LossConfig, Stores, TeacherConfig
from mkd.evaluation.answers import Answers, agreement_metrics
from mkd.evaluation.calibration import UNCALIBRATED, Temperatures
from mkd.evaluation.deferral import Point, curves
from mkd.evaluation.scoring import quality_metrics, retention_metrics
from mkd.evaluation.thresholds import HALF, Thresholds
from mkd.result import Report, phase_report
from mkd.storage.store import key_of
from mkd.tasks.task import Task
from mkd.teachers import (
    TeachersBySource,
    load_other_teachers,
    teacher_notes,
    teacher_of_task,
)
from mkd.teachers.refined import RefinedModel, load_or_refine, refined_teachers
from mkd.teachers.states import matched_states
from mkd.teachers.task_teacher import RunnableModel, TaskTeacher, answered_rows
from mkd.tokenization.tokens import ModelData, TaskData
from mkd.training.batches import check_sampling_weights
from mkd.training.matching import MatchedStates


class TaskTarget(NamedTuple):
    """The teacher's outputs for a task's training rows: logits [R, C], and hidden states.

    - `states`: None if no states are matched.
    - `taught`: which rows the teacher has an answer for [R]; None if it has one for each.
    """

    logits: np.ndarray
    states: MatchedStates | None
    taught: np.ndarray | None = None


class MultiTaskTeacher(NamedTuple):
    """The teachers of all tasks, with their logits and scores on dev where they are known.

    - `name`, `key`: those of all teachers together
    - `task_teachers`: one per task, in the order of the tasks
    - `refined`: the refined teacher; None if no task has it
    - `runnable`: the model whose speed is compared with the student's, the refined teacher or else
      the first checkpoint; None if there are only files of logits
    - `dev`: logits by task and suffix of the dev split
    - `metrics`: scores of `dev`
    - `thresholds`: decision thresholds of the tasks that have them
    - `temperatures`: of its tasks with classes
    """

    name: str
    key: str
    task_teachers: list[TaskTeacher]
    refined: RefinedModel | None
    runnable: RunnableModel | None
    dev: dict[tuple[str, str], np.ndarray]
    metrics: dict[str, float]
    thresholds: Thresholds = HALF
    temperatures: Temperatures = UNCALIBRATED

    @property
    def answers(self) -> Answers:
        """The teacher's answers on dev."""
        return Answers(self.dev, self.thresholds, self.temperatures)


def make_teacher(
    config: Config,
    tasks: list[Task],
    teacher_data: ModelData,
    student_data: ModelData,
    report: Report,
) -> MultiTaskTeacher:
    """Returns the teachers of this config, with their logits on dev and the scores.

    `teacher_data` holds the tasks of the refined teacher by its tokenizer. `student_data` holds all
    tasks by any tokenizer.

    Raises ValueError if a source of teacher.sources does not fit its task.
    """
    teachers = load_other_teachers(
        config.teacher, config.stores, tasks, student_data.datas, student_data.device
    )
    seconds = config.checkpoint_seconds
    refined = _refined(config.teacher, config.stores, seconds, teacher_data, teachers, report)
    task_teachers = [
        teacher_of_task(config.teacher, config.stores.root, data, teachers)
        for data in student_data.datas
    ]
    all_logits = {
        (d.name, suffix): t.logits(
            f"dev{suffix}", phase_report(report, "", f"logits of {d.name}, dev{suffix}")
        )
        for d, t in zip(student_data.datas, task_teachers, strict=True)
        for suffix in d.dev
    }
    dev = {key: np.asarray(logits) for key, logits in all_logits.items() if logits is not None}
    # The refined teacher comes first; of the others, only the first checkpoint is loaded.
    sources = sorted(teachers, key=lambda key: key[1] != REFINED)
    models = (teachers[source].runnable_model() for source in sources)
    runnable = next((model for model in models if model is not None), None)
    name = " + ".join(dict.fromkeys(t.name for t in teachers.values()))
    keys = {data.name: t.key for data, t in zip(student_data.datas, task_teachers, strict=True)}
    # If the refined teacher labels all tasks, its key is the key of the whole.
    key = (
        refined.key if refined is not None and set(keys.values()) == {refined.key} else key_of(keys)
    )
    thresholds = {
        data.name: task_thresholds
        for data, taught_by in zip(student_data.datas, task_teachers, strict=True)
        if (task_thresholds := taught_by.thresholds()) is not None
    }
    temperatures = {
        data.name: taught_by.temperature()
        for data, taught_by in zip(student_data.datas, task_teachers, strict=True)
        if data.kind.labels
    }
    return MultiTaskTeacher(
        name,
        key,
        task_teachers,
        refined,
        runnable,
        dev,
        quality_metrics(student_data.datas, dev, thresholds, temperatures),
        thresholds,
        temperatures,
    )


def _refined(
    settings: TeacherConfig,
    stores: Stores,
    checkpoint_seconds: float,
    teacher_data: ModelData,
    teachers: TeachersBySource,
    report: Report,
) -> RefinedModel | None:
    """Returns the refined teacher, None if no task has it; adds its task teachers to `teachers`."""
    if not teacher_data.datas:
        return None
    check_sampling_weights([data.name for data in teacher_data.datas], settings.train.sampling)
    teacher_report = phase_report(report, names.TEACHER, names.PHASE_TEACHER)
    refined = load_or_refine(settings, stores, teacher_data, checkpoint_seconds, teacher_report)
    of_tasks = refined_teachers(refined, stores.root, teacher_data)
    teachers |= {(teacher.data.name, REFINED): teacher for teacher in of_tasks}
    return refined


def soft_targets(
    loss: LossConfig,
    root: Path,
    student_data: ModelData,
    teacher: MultiTaskTeacher | None,
    report: Report,
) -> list[TaskTarget] | None:
    """Returns the teachers' targets for the training rows of each task.

    Returns None if the student learns from labels only. `root` is the folder of the cache.
    """
    if teacher is None or loss.from_labels_alone:
        return None
    targets = []
    for data, taught_by in zip(student_data.datas, teacher.task_teachers, strict=True):
        logits = taught_by.logits("train", phase_report(report, "", f"logits of {data.name}"))
        assert logits is not None, "every teacher has the training rows"
        taught = answered_rows(logits)
        targets.append(TaskTarget(logits, None, None if taught.all() else taught))
    if loss.match.weight:
        all_states = matched_states(root, loss.match.teacher_layers, teacher.task_teachers, report)
        return [
            target._replace(states=states)
            for target, states in zip(targets, all_states, strict=True)
        ]
    return targets


def weak_teacher_notes(
    student_data: ModelData, teacher: MultiTaskTeacher | None, targets: list[TaskTarget] | None
) -> list[str]:
    """Returns the notes on the teachers of the targets; none if there are no targets."""
    if teacher is None or targets is None:
        return []
    return [
        note
        for data, taught_by, target in zip(
            student_data.datas, teacher.task_teachers, targets, strict=True
        )
        for note in [*teacher_notes(data, taught_by), *_partial_note(data, target.taught)]
    ]


def rows_that_teach(data: TaskData, taught: np.ndarray | None) -> np.ndarray:
    """Returns the training rows that have a label, or an answer of the teacher."""
    rows = data.train_rows
    if taught is None:
        return rows
    kept: np.ndarray = rows[taught[rows] | ~np.isnan(data.train.labels[rows])]
    return kept


def _partial_note(data: TaskData, taught: np.ndarray | None) -> list[str]:
    """Returns a note on the rows that the teacher has no answer for; none if there are none."""
    if taught is None:
        return []
    rows, kept = data.train_rows, rows_that_teach(data, taught)
    number, left_out = int(taught[rows].sum()), len(rows) - len(kept)
    text = (
        f"{data.name}: the teacher answers {number:,} of {len(rows):,} training rows; "
        f"{len(kept) - number:,} learn from their labels alone"
    )
    without = f", and {left_out:,} without a label are left out" if left_out else ""
    return [f"{text}{without}"]


def deferral_curves(
    datas: list[TaskData],
    selection: Mapping[str, np.ndarray],
    student: Answers,
    teacher: MultiTaskTeacher | None,
    targets: list[TaskTarget] | None,
) -> dict[str, list[Point]]:
    """Returns what is lost if the student leaves rows to the teacher, by task.

    Returns no curves if the student learns without the teacher.

    - selection: the student's logits for the selection rows, by task.
    - student: its answers on dev.
    """
    if teacher is None or targets is None:
        return {}
    taught = {
        data.name: target.logits[data.selection_rows]
        for data, target in zip(datas, targets, strict=True)
    }
    return curves(datas, (selection, taught), student, teacher.answers)


def compare_with_teacher(
    teacher: MultiTaskTeacher | None,
    datas: list[TaskData],
    dev: Answers,
    scores: dict[str, float],
) -> dict[str, float]:
    """Returns the agreement and retention of the student, and the teacher's own scores on dev.

    `dev` are the student's answers and `scores` its metrics. Returns no metrics without a teacher.
    """
    if teacher is None:
        return {}
    teacher_metrics = names.of(names.TEACHER, teacher.metrics)
    return (
        agreement_metrics(datas, dev, teacher.answers)
        | retention_metrics(scores, teacher.metrics)
        | teacher_metrics
    )

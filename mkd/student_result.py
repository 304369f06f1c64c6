"""The evaluation of a trained student: its scores, exports, speed, and notes on them.

The end of every training of a student: a distillation, a fine-tuning, a trial of a search.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd import names, processes
from mkd.evaluation.answers import (
    NO_ANSWERS,
    Answers,
    answers_of,
    calibration_metrics,
    dev_predictions,
)
from mkd.evaluation.deferral import deferral_columns, deferral_metrics, deferral_note
from mkd.evaluation.remarks import input_coverage, weak_student_notes
from mkd.evaluation.scoring import (
    dev_logits,
    majority_metrics,
    quality_metrics,
    scores_on_selection,
    selection_logits,
    torch_infer,
)
from mkd.evaluation.speed import hardware, size_metrics
from mkd.export.backends import ExportRequest, TrainedStudent, export_student
from mkd.export.hub import describe_saved
from mkd.result import MODEL, Dataset, Report, Result
from mkd.selection.split import split_metrics, split_note
from mkd.storage.store import key_of
from mkd.students import Student
from mkd.tasks.rows import join_splits
from mkd.tasks.task import Task
from mkd.teachers.multitask import (
    MultiTaskTeacher,
    TaskTarget,
    compare_with_teacher,
    deferral_curves,
    weak_teacher_notes,
)
from mkd.tokenization.tokens import ModelData, TaskData, layout_of


class Supervision(NamedTuple):
    """The training data of a student.

    - `targets`: as `soft_targets` returns them
    - `whole`: whether it has learnt from the selection split too
    """

    tasks: list[Task]
    teacher: MultiTaskTeacher | None
    targets: list[TaskTarget] | None
    whole: bool

    @property
    def answers(self) -> Answers:
        """The teacher's answers on dev."""
        return NO_ANSWERS if self.teacher is None else self.teacher.answers


class StudentScores(NamedTuple):
    """The scores of a trained student.

    - `metrics`: on dev, beside the teacher's and a constant prediction's, and on the selection
      split: the scores `selected/...`, by which a search chooses its best student, and
      `deferral/...`
    - `answers`: its answers on dev
    - `deferral`: as in Result
    - `notes`: messages on its input and on deferral
    """

    metrics: dict[str, float]
    answers: Answers
    deferral: dict[str, np.ndarray]
    notes: list[str]


def trained_student(student: Student, data: ModelData, max_length: int) -> TrainedStudent:
    """Returns the student with its logits on dev. max_length: of its inputs, in tokens."""
    layout = layout_of(data.tokenizer, student.joined, max_length)
    return TrainedStudent(
        student, data, layout, dev_logits(torch_infer(student), data.datas, layout)
    )


def student_scores(trained: TrainedStudent, supervision: Supervision) -> StudentScores:
    """Returns the scores of a student.

    Scores on the selection split are left out if the student was trained on it.
    """
    student, data, layout, dev = trained
    teacher, targets = supervision.teacher, supervision.targets
    answers = answers_of(student, dev)
    metrics = quality_metrics(data.datas, *answers)
    metrics |= compare_with_teacher(teacher, data.datas, answers, metrics)
    metrics |= majority_metrics(data.datas) | calibration_metrics(data.datas, answers)
    coverage = input_coverage(data.datas, data.tokenizer, layout)
    metrics |= coverage.metrics
    if supervision.whole:
        return StudentScores(metrics, answers, {}, coverage.notes)
    logits = selection_logits(student, data.datas, layout)
    metrics |= names.of(names.SELECTED, scores_on_selection(data.datas, logits))
    curves = deferral_curves(data.datas, logits, answers, teacher, targets)
    deferral = deferral_metrics(curves)
    return StudentScores(
        metrics | deferral,
        answers,
        deferral_columns(curves),
        coverage.notes + deferral_note(deferral),
    )


def twin_metrics(twin: Student, data: ModelData, max_length: int, prefix: str) -> dict[str, float]:
    """Returns the dev scores of a student that is only compared with, under the prefix."""
    answers = answers_of(twin, trained_student(twin, data, max_length).dev)
    return names.of(prefix, quality_metrics(data.datas, *answers))


def exported_result(
    trained: TrainedStudent,
    supervision: Supervision,
    request: ExportRequest,
    other: tuple[dict[str, float], list[str]],
    name: str,
    folder: Path,
    report: Report,
) -> Result:
    """Exports a student, measures its speed, and returns the Result of its run.

    - `other`: more metrics and first notes of the run
    - `name`: the student's, for display
    - `folder`: the run's folder, where the student is saved already
    """
    student, data, tasks = trained.student, trained.data, supervision.tasks
    more, notes = other
    scores = student_scores(trained, supervision)
    exports = export_student(request, trained, tasks, supervision.teacher, folder, report)
    size = size_metrics(student, folder / MODEL, request.speed.length)
    weak = weak_teacher_notes(data, supervision.teacher, supervision.targets)
    weak += weak_student_notes(data.datas, scores.answers)
    return student_result(
        supervision,
        training_data(data, supervision.whole),
        scores._replace(
            metrics=scores.metrics | more | size | exports.metrics,
            notes=notes + weak + exports.notes + scores.notes,
        ),
        name,
        folder / MODEL,
        exports.folder,
    )


def student_result(
    supervision: Supervision,
    datas: list[TaskData],
    scores: StudentScores,
    name: str,
    folder: Path,
    exported: str,
) -> Result:
    """Returns the Result of a student. The arguments are as in `make_result`."""
    result = make_result(
        scores.metrics,
        supervision.tasks,
        datas,
        scores.notes,
        name,
        supervision.teacher,
        folder,
        exported,
    )
    return result._replace(
        predictions=dev_predictions(datas, scores.answers, supervision.answers),
        deferral=scores.deferral,
    )


def save_model(model: Student, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Saves the model with its tokenizer, and a README.md that says how to load it.

    With several processes, only the first one writes.
    """
    if processes.is_first():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        describe_saved(model, folder)


def training_data(student_data: ModelData, whole: bool) -> list[TaskData]:
    """Returns the tasks with the training rows of a student. whole: with the held-out rows too."""
    return [with_all_rows(data) for data in student_data.datas] if whole else student_data.datas


def with_all_rows(data: TaskData) -> TaskData:
    """Returns the task with all rows as training rows, including those held out or left out."""
    rows = np.arange(len(data.train.labels), dtype=data.train_rows.dtype)
    return data._replace(
        train_rows=rows, selection_rows=data.selection_rows[:0], split_statistics=None
    )


def make_result(
    metrics: dict[str, float],
    tasks: list[Task],
    datas: list[TaskData],
    first_notes: list[str],
    student: str,
    teacher: MultiTaskTeacher | None,
    folder: Path,
    exported: str,
) -> Result:
    """Returns the Result of a run. first_notes: notes that come before all others."""
    datasets = [_dataset(task, data) for task, data in zip(tasks, datas, strict=True)]
    notes = first_notes + [f"{task.name}: {note}" for task in tasks for note in task.notes]
    notes += [
        f"{d.task}: {d.unlabelled_rows:,} of {d.train_rows:,} training rows have no label and "
        "serve distillation only"
        for d in datasets
        if d.unlabelled_rows
    ]
    for data in datas:
        if data.split_statistics is not None:
            notes.append(
                f"{data.name}: {split_note(data.split_statistics, len(data.selection_rows))}"
            )
            metrics = metrics | {
                names.data(data.name, what): value
                for what, value in split_metrics(data.split_statistics).items()
            }
    name, key = ("", "") if teacher is None else (teacher.name, teacher.key)
    return Result(metrics, datasets, notes, hardware(), student, name, key, str(folder), exported)


def _dataset(task: Task, data: TaskData) -> Dataset:
    unlabelled = int(np.isnan(data.train.labels[data.train_rows]).sum())
    dev_rows = sum(len(store.labels) for store in data.dev.values())
    train = join_splits(task.train, *task.added) if task.added else task.train
    fingerprint = key_of(
        {
            "train": train.fingerprint,
            "dev": {name: split.fingerprint for name, split in task.dev.items()},
        }
    )
    return Dataset(
        task.name,
        train.source,
        fingerprint,
        len(data.train_rows),
        unlabelled,
        len(data.selection_rows),
        dev_rows,
    )

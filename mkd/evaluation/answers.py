"""What a model answers on dev: its predictions, and how far two models agree."""

from typing import NamedTuple

import numpy as np

from mkd import names
from mkd.evaluation.calibration import UNCALIBRATED, Temperatures
from mkd.evaluation.thresholds import HALF, Thresholds
from mkd.students import Student
from mkd.students.heads import temperatures_of, thresholds_of
from mkd.tasks.metrics import (
    GROUP_METRICS,
    MARGIN_METRICS,
    class_margins,
    decided,
    expected_calibration_error,
    pearson,
)
from mkd.tokenization.tokens import TaskData, groups_of, labels_of


class Answers(NamedTuple):
    """A model's answers on dev.

    - `logits`: by task and suffix of the dev split.
    - `thresholds`, `temperatures`: the model's.
    """

    logits: dict[tuple[str, str], np.ndarray]
    thresholds: Thresholds = HALF
    temperatures: Temperatures = UNCALIBRATED


NO_ANSWERS = Answers({})


def answers_of(model: Student, logits: dict[tuple[str, str], np.ndarray]) -> Answers:
    """Returns the answers of a model with these logits."""
    return Answers(logits, thresholds_of(model.config), temperatures_of(model.config))


def dev_predictions(
    datas: list[TaskData], student: Answers, teacher: Answers
) -> dict[str, np.ndarray]:
    """Returns the predictions for all dev rows as columns.

    The columns are `task`, `split` (the suffix of the dev split), `row`, `label`, `prediction` and
    `teacher`. A prediction is the number of the class with the largest logit, or of the one that
    reaches its threshold; for regression, the score in the units of the labels. The teacher's
    column is NaN where it has no logits.

    For a task with one of MARGIN_METRICS a prediction is the margin of class 1; class 1 is
    predicted above 0. If a task has one of GROUP_METRICS, there is a column `group`, which is 0 for
    other tasks.

    A row of a multilabel task has an entry for each label, in the order of the labels. `label` is
    then whether the row has it (0 or 1), and a prediction is the label's margin: how far its logit
    is above the threshold, so that the row has the labels of 0 or more.
    """
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("task", "split", "row", "label", "prediction", "teacher", "group")
    }
    for data in datas:
        for suffix, store in data.dev.items():
            key, labels = (data.name, suffix), labels_of(store, data.kind)
            entries = labels.shape[1] if data.kind.multilabel else 1
            named = [np.array([name] * labels.size, dtype=object) for name in key]
            cells = (
                *named,
                np.repeat(np.arange(len(labels)), entries),
                labels.ravel().astype(np.float64),
                _predicted_labels(data, student, key),
                _predicted_labels(data, teacher, key)
                if key in teacher.logits
                else np.full(labels.size, np.nan),
                np.zeros(labels.size)
                if (groups := groups_of(store, data.kind)) is None
                else groups,
            )
            for column, values in zip(columns.values(), cells, strict=True):
                column.append(values)
    if not any(set(GROUP_METRICS) & set(data.kind.metrics) for data in datas):
        del columns["group"]
    return {name: np.concatenate(column) for name, column in columns.items()}


def _predicted_labels(data: TaskData, answers: Answers, key: tuple[str, str]) -> np.ndarray:
    """Returns the predicted classes [R], the margins, or the scores in the units of the labels.

    For a multilabel task: the margins of all labels of the first row, then those of the second, and
    so on.
    """
    logits_RC = decided(data.kind, answers.logits[key], answers.thresholds.get(data.name))
    if data.kind.multilabel:
        return logits_RC.ravel()
    if set(MARGIN_METRICS) & set(data.kind.metrics):
        return class_margins(logits_RC)
    if data.kind.labels:
        classes_R: np.ndarray = logits_RC.argmax(1).astype(np.float64)
        return classes_R
    scores_R: np.ndarray = logits_RC[:, 0].astype(np.float64) * data.std + data.mean
    return scores_R


def calibration_metrics(datas: list[TaskData], answers: Answers) -> dict[str, float]:
    """Returns `calibration/<task>/temperature` and `/ece_before` of the tasks that have one.

    The second is the expected calibration error on dev without the temperature, from 0 to 1.
    """
    metrics = {}
    for data in datas:
        if data.name in answers.temperatures:
            error = expected_calibration_error(
                answers.logits[data.name, ""], labels_of(data.dev[""], data.kind)
            )
            temperature = answers.temperatures[data.name]
            metrics[names.calibration(data.name, names.TEMPERATURE)] = temperature
            metrics[names.calibration(data.name, names.ECE_BEFORE)] = error
    return metrics


def agreement_metrics(
    datas: list[TaskData], student: Answers, teacher: Answers
) -> dict[str, float]:
    """Returns `agreement/<task>` and `agreement/mean`, in points.

    The agreement is the share of dev rows in which student and teacher predict the same class, or
    all the same labels, or the correlation of their scores. Only the main dev split counts. A task
    without logits of the teacher is left out; `agreement/mean` is then left out too.
    """
    agreement = {}
    for data in datas:
        key = (data.name, "")
        if key not in teacher.logits:
            continue
        student_RC, teacher_RC = (
            decided(data.kind, model.logits[key], model.thresholds.get(data.name))
            for model in (student, teacher)
        )
        if data.kind.multilabel:
            agreement[data.name] = 100 * float(
                np.mean(((student_RC >= 0) == (teacher_RC >= 0)).all(1))
            )
        elif data.kind.labels:
            agreement[data.name] = 100 * float(
                np.mean(student_RC.argmax(1) == teacher_RC.argmax(1))
            )
        else:
            agreement[data.name] = pearson(student.logits[key], teacher.logits[key][:, 0])
    if len(agreement) == len(datas):
        agreement["mean"] = sum(agreement.values()) / len(agreement)
    return names.of(names.AGREEMENT, agreement)

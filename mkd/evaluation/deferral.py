"""Deferral: the student answers the texts that it is sure of, and the teacher the rest.

What is lost is the teacher's score minus that of both together, in points. Thresholds of the
confidence are chosen on the selection split, and what they lose is measured on dev.

Axes: R rows, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import log_expit, log_softmax

from mkd import names
from mkd.evaluation.answers import Answers
from mkd.evaluation.deferral_share import chosen_place
from mkd.tasks.metrics import decided, score
from mkd.tasks.task import Kind
from mkd.tokenization.tokens import TaskData, groups_of, labels_of

SHARES = tuple(range(0, 101, 5))
"""Shares of the selection rows that the student answers, in percent."""
BUDGETS = {names.LOSSLESS: 0.0, names.ONE_POINT: 1.0}
"""Points that may be lost on the selection split, by name."""
NEVER = float("inf")
"""The confidence from which on the student answers nothing."""


class Answered(NamedTuple):
    """Answers of student and teacher for the same rows of a task.

    - `student_RC`, `teacher_RC`: logits over temperature, with thresholds at 0.5.
    - `confidence_R`: the probability of the student's answer.
    - `labels`: [R], or [R, C] of a multilabel task.
    - `groups`: as score takes them.
    """

    student_RC: np.ndarray
    teacher_RC: np.ndarray
    confidence_R: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None


class Point(NamedTuple):
    """One threshold of a task.

    - `share`: the share of the selection rows that it was chosen for, in percent.
    - `min_confidence`: the threshold. The student answers rows of at least this confidence.
    - `selection_lost`: points lost on the selection split.
    - `answered`: share of the dev rows that the student answers, in percent.
    - `lost`: points lost on dev.
    """

    share: float
    min_confidence: float
    selection_lost: float
    answered: float
    lost: float


def answered(
    kind: Kind,
    task: str,
    student: tuple[np.ndarray, Answers],
    teacher: tuple[np.ndarray, Answers],
    labels: np.ndarray,
) -> Answered:
    """Returns the answers of student and teacher for some rows.

    student, teacher: logits for the rows, and the model's Answers, for thresholds and temperatures.
    """
    (student_RC, teacher_RC) = (
        decided(kind, logits_RC, of.thresholds.get(task)) / of.temperatures.get(task, 1.0)
        for logits_RC, of in (student, teacher)
    )
    logits_RC, of = student
    confidence_R = confidence(kind, logits_RC / of.temperatures.get(task, 1.0), student_RC)
    return Answered(student_RC, teacher_RC, confidence_R, labels)


def confidence(kind: Kind, logits_RC: np.ndarray, decided_RC: np.ndarray) -> np.ndarray:
    """Returns the probability of each row's answer [R], as mkd.runtime.answers.confidence.

    - logits_RC: over their temperature.
    - decided_RC: the same with thresholds at 0.5, which give the answers.
    """
    exact_RC = logits_RC.astype(np.float64)
    if kind.multilabel:
        signed_RC = np.where(decided_RC >= 0, exact_RC, -exact_RC)
        together_R: np.ndarray = np.exp(log_expit(signed_RC).sum(1))
        return together_R
    answers_R = decided_RC.argmax(1)
    probabilities_R: np.ndarray = np.exp(
        log_softmax(exact_RC, axis=1)[np.arange(len(answers_R)), answers_R]
    )
    return probabilities_R


def curve(kind: Kind, selection: Answered, dev: Answered) -> list[Point]:
    """Returns a point for each of SHARES.

    The threshold of a share of n selection rows is the n-th largest confidence; rows of equal
    confidence are answered together. A share of 100 has the threshold 0.
    """
    ordered_R = np.sort(selection.confidence_R)[::-1]
    alone_on_selection, alone_on_dev = (
        score(kind, rows.teacher_RC, rows.labels, groups=rows.groups) for rows in (selection, dev)
    )
    points = []
    for share in SHARES:
        number = round(share / 100 * len(ordered_R))
        least = 0.0 if share == 100 else float(ordered_R[number - 1]) if number else NEVER
        points.append(
            Point(
                share,
                least,
                lost(kind, selection, least, alone_on_selection),
                100 * float((dev.confidence_R >= least).mean()),
                lost(kind, dev, least, alone_on_dev),
            )
        )
    return points


def lost(kind: Kind, rows: Answered, least: float, alone: dict[str, float]) -> float:
    """Returns the points lost if the student answers the rows of at least this confidence.

    alone: the teacher's metrics on the rows.
    """
    sure_R = rows.confidence_R >= least
    both_RC = np.where(sure_R[:, None], rows.student_RC, rows.teacher_RC)
    together = score(kind, both_RC, rows.labels, groups=rows.groups)
    return (sum(alone.values()) - sum(together.values())) / len(alone)


def chosen(points: Sequence[Point], budget: float) -> Point:
    """Returns the point that `chosen_place` chooses."""
    return points[chosen_place([point.selection_lost for point in points], budget)]


def curves(
    datas: list[TaskData],
    selection: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
    student: Answers,
    teacher: Answers,
) -> dict[str, list[Point]]:
    """Returns the curve of each task with classes for which the teacher has logits on dev.

    A regression has no confidence. Of several dev splits, the main one counts.

    - selection: the logits of student and teacher for the selection rows, by task; NaN where the
      teacher has no answer.
    - student, teacher: their answers on dev.
    """
    by_task = {}
    for data in datas:
        key = (data.name, "")
        if not data.kind.labels or key not in teacher.logits:
            continue
        # A file of answers may lack some rows.
        known = ~np.isnan(selection[1][data.name][:, 0])
        if not known.any():
            continue
        on_selection, on_dev = (
            answered(data.kind, data.name, (students, student), (teachers, teacher), labels)
            for students, teachers, labels in (
                (
                    selection[0][data.name][known],
                    selection[1][data.name][known],
                    labels_of(data.train, data.kind, data.selection_rows[known]),
                ),
                (student.logits[key], teacher.logits[key], labels_of(data.dev[""], data.kind)),
            )
        )
        rows = data.selection_rows[known]
        by_task[data.name] = curve(
            data.kind,
            on_selection._replace(groups=groups_of(data.train, data.kind, rows)),
            on_dev._replace(groups=groups_of(data.dev[""], data.kind)),
        )
    return by_task


def deferral_metrics(curves_by_task: Mapping[str, list[Point]]) -> dict[str, float]:
    """Returns the metrics `deferral/<task>/<budget>/...` of the points that BUDGETS choose.

    - `share`: of the dev rows that the student answers, in percent.
    - `lost`: points lost on dev.
    - `min_confidence`: the threshold, left out if the teacher answers everything.

    The task `mean` has the means of the first two over these tasks.
    """
    metrics: dict[str, float] = {}
    for budget, most in BUDGETS.items():
        points = {task: chosen(curve, most) for task, curve in curves_by_task.items()}
        for task, point in points.items():
            metrics |= {
                names.deferral(task, budget, names.ANSWERED): point.answered,
                names.deferral(task, budget, names.LOST): point.lost,
            }
            if point.min_confidence < NEVER:
                metrics[names.deferral(task, budget, names.MIN_CONFIDENCE)] = point.min_confidence
        if points:
            for what in (names.ANSWERED, names.LOST):
                values = [getattr(point, what) for point in points.values()]
                metrics[names.deferral(names.MEAN, budget, what)] = sum(values) / len(values)
    return metrics


def deferral_note(metrics: Mapping[str, float]) -> list[str]:
    """Returns a note on the mean over tasks. metrics: those of `deferral_metrics`."""
    answered, lost = (
        metrics.get(names.deferral(names.MEAN, names.LOSSLESS, what))
        for what in (names.ANSWERED, names.LOST)
    )
    if answered is None or lost is None:
        return []
    return [
        f"deferral: if the teacher answers what the student is less sure of, the student answers "
        f"{answered:.0f} % of the dev rows: {points_text(lost)}"
    ]


def points_text(lost: float) -> str:
    """Returns what is lost for display, such as `1.1 points lost`; less than nothing is gained."""
    return f"{abs(lost):.1f} points {'gained' if lost <= -0.05 else 'lost'}"


def deferral_columns(curves_by_task: Mapping[str, list[Point]]) -> dict[str, np.ndarray]:
    """Returns the curves as columns: `task`, and the fields of Point."""
    rows = [(task, *point) for task, points in curves_by_task.items() for point in points]
    if not rows:
        return {}
    columns = zip(*rows, strict=True)
    return dict(zip(("task", *Point._fields), map(np.array, columns), strict=True))

"""Curves of deferral to the teacher, by hand."""

import numpy as np
import pytest

from mkd import names
from mkd.evaluation.answers import Answers
from mkd.evaluation.deferral import (
    NEVER,
    SHARES,
    Answered,
    Point,
    answered,
    chosen,
    confidence,
    curve,
    deferral_columns,
    deferral_metrics,
    deferral_note,
    points_text,
)
from mkd.runtime import answers as runtime
from mkd.runtime.answers import Head, predictions
from mkd.tasks.task import Kind

KIND = Kind(("no", "yes"), False, ("accuracy",))


def rows(student: list[float], teacher: list[float], labels: list[int]) -> Answered:
    """Returns answers from the logits of `yes`; that of `no` is 0."""
    student_RC, teacher_RC = (
        np.stack([np.zeros(len(logits)), logits], axis=1) for logits in (student, teacher)
    )
    return Answered(
        student_RC, teacher_RC, confidence(KIND, student_RC, student_RC), np.array(labels)
    )


SELECTION = rows([4, -3, 2, -1], [1, -1, 1, 1], [1, 0, 0, 1])
"""The student is right in the first two rows, in which it is most confident. The teacher is wrong
in the third."""


def test_a_curve_by_hand() -> None:
    dev = rows([5, -3.5, 2.5, 1, -0.5], [1, 1, 1, 1, 1], [1, 0, 1, 0, 1])
    points = {point.share: point for point in curve(KIND, SELECTION, dev)}
    assert list(points) == list(SHARES)
    # On the selection rows nothing is lost up to three quarters: both are wrong in the third.
    assert [points[share].selection_lost for share in (0, 25, 50, 75, 100)] == [0, 0, 0, 0, 25]
    # On dev the teacher is right in three of five rows. The student corrects the second row and
    # gets the last one wrong.
    assert [points[share].answered for share in (0, 25, 50, 75, 100)] == pytest.approx(
        [0, 20, 40, 60, 100]
    )
    assert [points[share].lost for share in (0, 25, 50, 75, 100)] == pytest.approx(
        [0, 0, -20, -20, 0]
    )
    thresholds = [points[share].min_confidence for share in (0, 50, 100)]
    assert thresholds == pytest.approx([NEVER, 1 / (1 + np.exp(-3)), 0])


def test_a_share_beyond_one_that_loses_too_much_is_not_chosen() -> None:
    losses = [0, -0.5, 0.2, 1.5, 0.9, 0]
    points = [Point(10 * place, 1 - place / 10, loss, 0, 0) for place, loss in enumerate(losses)]
    assert [chosen(points, budget).share for budget in (0, 1, 2)] == [10, 20, 50]


def test_a_budget_takes_the_largest_share_that_keeps_it_on_the_selection_split() -> None:
    points = curve(KIND, SELECTION, SELECTION)
    assert chosen(points, 0).share == 85, "round(85 % of 4) = 3 rows"
    assert chosen(points, 25).share == 100
    assert chosen(points[:1], 0) == Point(0, NEVER, 0, 0, 0)


def test_metrics_and_columns_of_two_tasks() -> None:
    good = [Point(0, NEVER, 0, 0, 0), Point(50, 0.8, 0.5, 40, 0.25), Point(100, 0, 3, 100, 4)]
    bad = [Point(0, NEVER, 0, 0, 0), Point(50, 0.9, 2, 50, 3), Point(100, 0, 9, 100, 9)]
    metrics = deferral_metrics({"good": good, "bad": bad})
    assert metrics == {
        names.deferral(task, budget, what): value
        for task, budget, what, value in [
            ("good", "lossless", "answered", 0), ("good", "lossless", "lost", 0),
            ("bad", "lossless", "answered", 0), ("bad", "lossless", "lost", 0),
            ("mean", "lossless", "answered", 0), ("mean", "lossless", "lost", 0),
            ("good", "one_point", "answered", 40), ("good", "one_point", "lost", 0.25),
            ("good", "one_point", "min_confidence", 0.8),
            ("bad", "one_point", "answered", 0), ("bad", "one_point", "lost", 0),
            ("mean", "one_point", "answered", 20), ("mean", "one_point", "lost", 0.125),
        ]
    }  # fmt: skip
    columns = deferral_columns({"good": good, "bad": bad})
    assert columns["task"].tolist() == ["good"] * 3 + ["bad"] * 3
    assert columns["lost"].tolist() == [0, 0.25, 4, 0, 3, 9]
    assert deferral_columns({}) == {} and deferral_metrics({}) == {}


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        (1.06, "1.1 points lost"),
        (-0.84, "0.8 points gained"),
        (0, "0.0 points lost"),
        (-0.04, "0.0 points lost"),
        (-0.06, "0.1 points gained"),
    ],
)
def test_less_than_nothing_lost_is_gained(lost: float, text: str) -> None:
    assert points_text(lost) == text
    metrics = {names.deferral(names.MEAN, names.LOSSLESS, names.ANSWERED): 66.7}
    metrics[names.deferral(names.MEAN, names.LOSSLESS, names.LOST)] = lost
    assert deferral_note(metrics)[0].endswith(f"the student answers 67 % of the dev rows: {text}")


def test_several_labels_are_right_together_with_the_confidence_of_the_runtime() -> None:
    """The temperature is 2; the thresholds 0.5 and 0.2 are for probabilities without it. The curve
    uses the predictions and confidences of the runtime."""
    kind = Kind(("a", "b"), False, ("micro_f1",), multilabel=True)
    logits = np.array([[3.0, -1.0], [-2.0, -4.0], [0.5, 0.1]])
    thresholds = {"task": np.array([0.5, 0.2])}
    student = Answers({}, thresholds, {"task": 2.0})
    labels = np.array([[1, 1], [0, 0], [1, 0]])
    answers = answered(kind, "task", (logits, student), (logits, Answers({})), labels)
    stated = {
        "labels": ["a", "b"], "pair": False, "mean": 0.0, "std": 1.0, "multilabel": True,
        "thresholds": [0.5, 0.2], "temperature": 2.0,
    }  # fmt: skip
    head: Head = runtime.head_of(stated)
    predicted = predictions(logits, head)
    assert [each.labels for each in predicted] == [["a", "b"], [], ["a", "b"]]
    assert (answers.student_RC >= 0).tolist() == [[True, True], [False, False], [True, True]]
    assert answers.confidence_R == pytest.approx(
        [runtime.confidence(each, head) for each in predicted]
    )
    first = 1 / (1 + np.exp(-1.5)) * 1 / (1 + np.exp(0.5))
    assert answers.confidence_R[0] == pytest.approx(first)


def test_with_thresholds_the_answer_may_be_the_less_probable_of_two_classes() -> None:
    """Class 1 is predicted from a probability of 0.2 on; with temperature 2 this is
    sigmoid(logit(0.2) / 2) = 1/3. The margins -1 and -2 are above and below logit(0.2) = -1.39."""
    kind = Kind(("no", "yes"), False, ("f1",))
    logits = np.array([[0.0, -1.0], [1.0, -1.0], [0.0, 3.0]])
    student = Answers({}, {"task": np.array([0.8, 0.2])}, {"task": 2.0})
    answers = answered(kind, "task", (logits, student), (logits, Answers({})), np.array([1, 0, 1]))
    stated = {
        "labels": ["no", "yes"], "pair": False, "mean": 0.0, "std": 1.0, "thresholds": [0.8, 0.2],
        "temperature": 2.0,
    }  # fmt: skip
    head = runtime.head_of(stated)
    assert head.cuts == pytest.approx((np.log(4), -np.log(4)))
    predicted = predictions(logits, head)
    assert [each.label for each in predicted] == ["yes", "no", "yes"]
    assert [runtime.prediction(row, head) for row in logits.tolist()] == predicted
    assert answers.student_RC.argmax(1).tolist() == [1, 0, 1]
    assert answers.teacher_RC.argmax(1).tolist() == [0, 0, 1]
    confidences = [runtime.confidence(each, head) for each in predicted]
    assert answers.confidence_R == pytest.approx(confidences)
    assert confidences[0] == pytest.approx(1 / (1 + np.exp(0.5)))
    assert runtime.if_sure(predicted[0], head, 0.5).label is None

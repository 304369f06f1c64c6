import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from mkd.tasks.metrics import (
    BINARY_METRICS,
    CLASSIFICATION_METRICS,
    GROUP_METRICS,
    METRICS,
    MULTILABEL_METRICS,
    REGRESSION_METRICS,
    NotFinite,
    expected_calibration_error,
    metrics_for,
    score,
)
from mkd.tasks.task import GLUE, Kind


def logits_of(predictions: list[int], num_classes: int) -> np.ndarray:
    """Logits [rows, classes] whose largest is each row's prediction."""
    return np.eye(num_classes, dtype=np.float32)[predictions]


def column(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


SEVERAL = Kind(("a", "b", "c"), False, MULTILABEL_METRICS, None, True)
GIVEN = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=np.uint8)
SCORES = np.array([[2.0, -1, -2], [1, 2, -2], [3, -2, -2], [-1, -3, 1]], dtype=np.float32)


def test_metrics_of_several_labels_by_hand() -> None:
    """a: rows 1, 2 and 3 get it, of which 1 and 2 have it: F1 4 / 5. b: row 2 gets it, 2 and 4 have
    it: F1 2 / 3. c: row 4 gets it, none has it: F1 0.

    Average precision: a is at the places 2 and 3 of its order: (1 / 2 + 2 / 3) / 2; b at 1 and 4:
    (1 / 1 + 2 / 4) / 2. No row has c.
    """
    scores = score(SEVERAL, SCORES, GIVEN)
    assert scores["micro_f1"] == pytest.approx(100 * 2 * 3 / (5 + 4))
    assert scores["macro_f1"] == pytest.approx(100 * (4 / 5 + 2 / 3 + 0) / 3)
    assert scores["mean_average_precision"] == pytest.approx(
        100 * ((1 / 2 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2
    )
    # a from 2 on, c from 2 on: rows 1 and 3 get a, and nobody gets c, which drops out.
    cuts = 1 / (1 + np.exp(-np.array([1.5, 0.0, 2.0])))
    scores = score(SEVERAL, SCORES, GIVEN, thresholds=cuts)
    assert scores["micro_f1"] == pytest.approx(100 * 2 * 2 / (3 + 4))
    assert scores["macro_f1"] == pytest.approx(100 * (2 / 4 + 2 / 3) / 2)


def test_metrics_of_several_labels_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, (60, 5)), rng.normal(size=(60, 5)).round(1)
    kind = Kind(tuple("abcde"), False, MULTILABEL_METRICS, None, True)
    scores = score(kind, logits.astype(np.float32), labels)
    for name in ("micro", "macro"):
        expected = 100 * f1_score(labels, logits >= 0, average=name)
        assert scores[f"{name}_f1"] == pytest.approx(expected)
    expected = 100 * average_precision_score(labels, logits.astype(np.float32), average="macro")
    assert scores["mean_average_precision"] == pytest.approx(expected)


def test_several_labels_of_which_there_are_none() -> None:
    nothing = np.zeros((2, 3), dtype=np.uint8)
    low = np.full((2, 3), -1.0, dtype=np.float32)
    assert score(SEVERAL, low, nothing) == dict.fromkeys(MULTILABEL_METRICS, 0.0)
    assert metrics_for(("a", "b"), True) == MULTILABEL_METRICS


def test_the_order_of_rows_by_hand() -> None:
    """Margins 3, 2, 2, 1 of the classes 1, 1, 0, 0. Of four pairs three are in order and one is
    equal. Precision is 1 at half of the recall, and 2/3 at all of it."""
    margins, labels = np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])
    logits = np.stack([1 - margins, np.ones(4)], axis=1)  # no metric depends on where 0 is
    assert METRICS["auc"](logits, labels) == pytest.approx(87.5)
    assert METRICS["average_precision"](logits, labels) == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))
    assert METRICS["auc"](logits, 0 * labels) == 50 and METRICS["auc"](0 * logits, labels) == 50
    assert METRICS["average_precision"](logits, 0 * labels) == 0


def test_the_order_within_groups_by_hand() -> None:
    """In the order of its margins group 7 has the classes 0, 1, 1: precision 1/2 and 2/3 at those
    of class 1, the first of which is second. The two rows of group 2 are equal: precision 1/2, and
    class 0 comes first. Group 5 has no row of class 1."""
    groups = np.array([7, 2, 7, 5, 2, 7])
    labels = np.array([1.0, 1, 0, 0, 0, 1])
    margins = np.array([2.0, 1, 3, 9, 1, 1])
    logits = np.stack([5 - margins, np.full(6, 5.0)], axis=1)
    kind = Kind(("no", "yes"), True, ("map", "mrr", "auc"))
    scores = score(kind, logits, labels, groups=groups)
    assert scores["map"] == pytest.approx(100 * ((1 / 2 + 2 / 3) / 2 + 1 / 2) / 2)
    assert scores["mrr"] == pytest.approx(100 * (1 / 2 + 1 / 2) / 2)
    assert scores["auc"] == METRICS["auc"](logits, labels)
    assert score(kind, logits, 0 * labels, groups=groups)["map"] == 0
    right = np.stack([1 - labels, labels], axis=1)
    assert score(kind, right, labels, groups=groups)["mrr"] == 100


def test_groups_are_for_pairs_of_two_classes() -> None:
    assert set(GROUP_METRICS) < set(metrics_for(("a", "b"), pair=True))
    for others in (metrics_for(("a", "b")), metrics_for(("a", "b", "c"), pair=True)):
        assert not set(GROUP_METRICS) & set(others)
    assert metrics_for((), pair=True) == REGRESSION_METRICS
    assert metrics_for(("a", "b"), True, True) == MULTILABEL_METRICS


def test_the_calibration_of_several_labels_is_of_each() -> None:
    """Two labels of two rows, all with 0.5 and one of them true: 0.25 true where 0.5 is said."""
    labels = np.array([[1, 0], [0, 0]], dtype=np.uint8)
    error = expected_calibration_error(np.zeros((2, 2), dtype=np.float32), labels)
    assert error == pytest.approx(0.25)


# One confusion for all: true positives 3, false positives 1, false negatives 2, true negatives 4.
PREDICTED = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
LABELS = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 70.0),
        ("f1", 100 * 2 * 3 / (2 * 3 + 1 + 2)),
        ("macro_f1", 50 * (2 * 3 / (2 * 3 + 1 + 2) + 2 * 4 / (2 * 4 + 2 + 1))),
        ("matthews", 100 * (3 * 4 - 1 * 2) / math.sqrt((3 + 1) * (3 + 2) * (4 + 1) * (4 + 2))),
    ],
)
def test_metrics_of_classes_equal_their_formulas(name: str, expected: float) -> None:
    assert METRICS[name](logits_of(PREDICTED, 2), LABELS) == pytest.approx(expected)


def test_macro_f1_of_three_classes_is_the_mean_of_each_class_against_the_rest() -> None:
    predicted, labels = [0, 0, 1, 2, 2, 2], np.array([0, 1, 1, 2, 2, 0])
    by_class = [2 * 1 / (2 * 1 + 1 + 1), 2 * 1 / (2 * 1 + 0 + 1), 2 * 2 / (2 * 2 + 1 + 0)]
    expected = pytest.approx(100 * sum(by_class) / 3)
    assert METRICS["macro_f1"](logits_of(predicted, 3), labels) == expected


def test_matthews_of_three_classes_is_the_correlation_of_one_hot_vectors() -> None:
    generator = np.random.default_rng(0)
    predicted, labels = generator.integers(0, 3, 50), generator.integers(0, 3, 50)
    one_hot_p, one_hot_l = np.eye(3)[predicted], np.eye(3)[labels]
    p, y = one_hot_p - one_hot_p.mean(0), one_hot_l - one_hot_l.mean(0)
    expected = 100 * (p * y).sum() / math.sqrt((p * p).sum() * (y * y).sum())
    assert METRICS["matthews"](logits_of(predicted.tolist(), 3), labels) == pytest.approx(expected)


def test_pearson_equals_covariance_over_standard_deviations() -> None:
    x, y = [1.0, 2.0, 4.0], np.array([2.0, 1.0, 5.0], dtype=np.float32)
    # Deviations from the means 7/3 and 8/3, times 3: (-4, -1, 5) and (-2, -5, 7).
    expected = 100 * (8 + 5 + 35) / math.sqrt((16 + 1 + 25) * (4 + 25 + 49))
    assert METRICS["pearson"](column(x), y) == pytest.approx(expected)


def test_spearman_is_pearson_of_ranks_and_equal_values_share_a_rank() -> None:
    x, y = [10.0, 20.0, 20.0, 1000.0], np.array([3.0, 1.0, 2.0, 4.0], dtype=np.float32)
    expected = pytest.approx(METRICS["pearson"](column([1, 2.5, 2.5, 4]), y))
    assert METRICS["spearman"](column(x), y) == expected


def test_correlations_are_negative_where_predictions_run_against_the_labels() -> None:
    y = np.array([3.0, 2.0, 1.0])
    assert METRICS["pearson"](column([1, 2, 3]), y) == pytest.approx(-100)
    assert METRICS["spearman"](column([1, 2, 9]), y) == pytest.approx(-100)
    expected = pytest.approx(-100)
    assert METRICS["matthews"](logits_of([0, 0, 1, 1], 2), np.array([1, 1, 0, 0])) == expected


@pytest.mark.parametrize("name", REGRESSION_METRICS)
def test_correlation_of_constant_predictions_or_labels_is_zero(name: str) -> None:
    constant, varied = [2.5, 2.5, 2.5], [1.0, 2.0, 3.0]
    assert METRICS[name](column(constant), np.array(varied)) == 0.0
    assert METRICS[name](column(varied), np.array(constant)) == 0.0
    assert METRICS[name](column([1.0]), np.array([1.0])) == 0.0


def test_matthews_of_constant_predictions_or_labels_is_zero_even_where_they_agree() -> None:
    for predicted, labels in ([1, 1], [0, 1]), ([0, 1], [1, 1]), ([1, 1], [1, 1]):
        assert METRICS["matthews"](logits_of(predicted, 2), np.array(labels)) == 0.0


def test_f1_is_zero_where_there_is_no_positive_among_labels_or_predictions() -> None:
    assert METRICS["f1"](logits_of([0, 0], 2), np.array([0, 1])) == 0.0
    assert METRICS["f1"](logits_of([1, 0], 2), np.array([0, 0])) == 0.0
    assert METRICS["f1"](logits_of([0, 0], 2), np.array([0, 0])) == 0.0


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_rows() -> None:
    # Two classes with logits (log p, log (1 - p)) have confidence p: two rows at 0.9, one of them
    # right; two at 0.6, both right.
    p = np.array([0.9, 0.9, 0.6, 0.6])
    logits = np.log(np.stack([p, 1 - p], axis=1)).astype(np.float32)
    labels = np.array([0, 1, 0, 0])
    expected = 2 / 4 * abs(0.5 - 0.9) + 2 / 4 * abs(1.0 - 0.6)
    assert expected_calibration_error(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_equals_a_loop_over_bins() -> None:
    generator = np.random.default_rng(1)
    logits, labels = (
        generator.normal(size=(500, 3)).astype(np.float32) * 2,
        generator.integers(0, 3, 500),
    )
    probabilities = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(
        1, keepdims=True
    )
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(logits, labels) == pytest.approx(expected)


def test_a_confidence_on_the_border_of_two_bins_counts_to_the_lower() -> None:
    # Confidence 0.5, wrong, lies in (0, 0.5]; confidence 0.8, right, in (0.5, 1]. In one bin the
    # gaps would cancel.
    logits = np.log([[0.5, 0.5], [0.8, 0.2]])
    expected = pytest.approx((0.5 + 0.2) / 2)
    assert expected_calibration_error(logits, np.array([1, 0]), bins=2) == expected


def test_calibration_error_is_zero_if_sure_and_right_one_if_wrong() -> None:
    logits = logits_of([0, 1], 2) * np.float32(1e4)
    assert expected_calibration_error(logits, np.array([0, 1])) == 0.0
    assert expected_calibration_error(logits, np.array([1, 0])) == 1.0


def test_score_gives_each_metric_of_the_kind_by_name() -> None:
    result = score(GLUE["mrpc"], logits_of(PREDICTED, 2), LABELS)
    assert result == pytest.approx({"accuracy": 70.0, "f1": 200 / 3})


def test_score_refuses_logits_of_another_width_than_the_kind() -> None:
    with pytest.raises(AssertionError, match=r"logits \(10, 2\) for 10 rows"):
        score(GLUE["mnli"], logits_of(PREDICTED, 2), LABELS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["sst2", "mrpc", "cola", "stsb"])
def test_logits_that_are_no_numbers_are_not_scored_as_an_answer(name: str, value: float) -> None:
    logits = logits_of(PREDICTED, 2)[:, : GLUE[name].num_logits].copy()
    logits[[2, 5], -1] = value
    message = "^the logits of task x on dev are not finite numbers in 2 of 10 rows$"
    with pytest.raises(NotFinite, match=message):
        score(GLUE[name], logits, LABELS, "task x on dev")


def test_every_metric_is_for_some_kind_of_task() -> None:
    of_labels = set(CLASSIFICATION_METRICS) | set(MULTILABEL_METRICS)
    assert of_labels | set(REGRESSION_METRICS) == set(METRICS)
    assert not set(CLASSIFICATION_METRICS) & set(REGRESSION_METRICS)


def test_f1_fits_two_classes_only_and_glue_asks_for_fitting_metrics_only() -> None:
    assert set(BINARY_METRICS) < set(metrics_for(("a", "b")))
    assert not set(BINARY_METRICS) & set(metrics_for(("a", "b", "c")))
    assert metrics_for(()) == REGRESSION_METRICS
    kinds: list[Kind] = list(GLUE.values())
    assert all(set(kind.metrics) <= set(metrics_for(kind.labels)) for kind in kinds)

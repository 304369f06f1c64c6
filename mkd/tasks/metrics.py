"""Metrics of a task: accuracy, F1 and correlations, in points, and the calibration error.

Axes: R rows, C classes. A regression task has one logit, [R, 1]: its prediction. The labels of a
multilabel task are 0 and 1 [R, C], and its metrics take margins in place of logits: a row has the
labels whose margin is 0 or more (`margins`).
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score, matthews_corrcoef, roc_auc_score

from mkd.tasks.task import Kind


def _classes(labels_R: np.ndarray) -> np.ndarray:
    return labels_R.astype(np.int64)


def _is_constant(values_R: np.ndarray) -> bool:
    return bool((values_R == values_R[0]).all())


def accuracy(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the percentage of rows whose largest logit is that of the label."""
    return 100 * float((logits_RC.argmax(1) == labels_R).mean())


def f1(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns F1 of class 1 (harmonic mean of precision and recall), times 100.

    0 if neither labels nor predictions have class 1.
    """
    return 100 * float(f1_score(labels_R == 1, logits_RC.argmax(1) == 1, zero_division=0.0))


def macro_f1(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the mean F1 of all classes that occur in labels or predictions, times 100.

    labels_R: or [R, C] of a multilabel task, with margins for logits. It is 0 if no row has a label
    or gets one.
    """
    if labels_R.ndim == 2:
        true_RC, predicted_RC = labels_R > 0, logits_RC >= 0
        occur_C = (true_RC | predicted_RC).any(0)
        if not occur_C.any():
            return 0.0
        return 100 * float(
            f1_score(
                true_RC[:, occur_C], predicted_RC[:, occur_C], average="macro", zero_division=0.0
            )
            if occur_C.sum() > 1
            else f1_score(true_RC[:, occur_C], predicted_RC[:, occur_C], zero_division=0.0)
        )
    return 100 * float(
        f1_score(_classes(labels_R), logits_RC.argmax(1), average="macro", zero_division=0.0)
    )


def micro_f1(margins_RC: np.ndarray, labels_RC: np.ndarray) -> float:
    """Returns F1 over all labels of all rows of a multilabel task together, times 100.

    0 if no row has a label or gets one.
    """
    true_RC, predicted_RC = labels_RC > 0, margins_RC >= 0
    together = int(true_RC.sum() + predicted_RC.sum())
    return 200 * int((true_RC & predicted_RC).sum()) / together if together else 0.0


def mean_average_precision(margins_RC: np.ndarray, labels_RC: np.ndarray) -> float:
    """Returns the mean over labels of the average precision, times 100.

    The average precision of a label is sum_n (recall_n - recall_{n-1}) precision_n over the rows in
    the order of their margins; it depends on no threshold. Labels that no row has are left out; 0
    if all are.
    """
    present_C = (labels_RC > 0).any(0)
    if not present_C.any():
        return 0.0
    scores_C = [
        average_precision_score(labels_RC[:, place] > 0, margins_RC[:, place])
        for place in np.flatnonzero(present_C)
    ]
    return 100 * float(np.mean(scores_C))


def class_margins(logits_RC: np.ndarray) -> np.ndarray:
    """Returns how far the logit of class 1 is above that of class 0 [R]."""
    margins_R: np.ndarray = logits_RC[:, 1].astype(np.float64) - logits_RC[:, 0]
    return margins_R


def auc(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the area under the ROC curve of two classes, times 100.

    It is the chance that a row of class 1 has a larger margin than one of class 0, where equal ones
    count by half. 50 if the labels are constant.
    """
    if _is_constant(labels_R):
        return 50.0
    return 100 * float(roc_auc_score(labels_R == 1, class_margins(logits_RC)))


def average_precision(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the average precision of class 1 of two, times 100, as in mean_average_precision.

    0 if no row has class 1.
    """
    if not (labels_R == 1).any():
        return 0.0
    return 100 * float(average_precision_score(labels_R == 1, class_margins(logits_RC)))


def mean_over_groups(
    logits_RC: np.ndarray, labels_R: np.ndarray, groups_R: np.ndarray, name: str
) -> float:
    """Returns the mean of one of GROUP_METRICS over the groups that have a row of class 1; 0 if
    there is none.

    groups_R: the number of each row's group.
    """
    scores = group_scores(class_margins(logits_RC), labels_R, groups_R, name)
    return float(np.mean(list(scores.values()))) if scores else 0.0


def group_scores(
    margins_R: np.ndarray, labels_R: np.ndarray, groups_R: np.ndarray, name: str
) -> dict[int, float]:
    """Returns one of GROUP_METRICS of each group with a row of class 1, by the group's number."""
    order = np.argsort(groups_R, kind="stable")
    numbers, starts = np.unique(groups_R[order], return_index=True)
    scores = {}
    for number, places in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        ones = labels_R[places] == 1
        if ones.any():
            scores[number] = 100 * GROUP_METRICS[name](margins_R[places], ones)
    return scores


def _precision(margins_R: np.ndarray, ones_R: np.ndarray) -> float:
    return float(average_precision_score(ones_R, margins_R))


def _reciprocal_rank(margins_R: np.ndarray, ones_R: np.ndarray) -> float:
    """Returns 1 / rank of the first row of class 1; rows of class 0 with the same margin are before
    it."""
    return 1 / (1 + int((margins_R[~ones_R] >= margins_R[ones_R].max()).sum()))


GROUP_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "map": _precision,
    "mrr": _reciprocal_rank,
}
"""Metrics of the order of rows within a group, from 0 to 1: functions of margins [R] and whether a
row has class 1. The groups of a task of pairs are the rows with the same first text, such as the
candidate answers of a question."""


def matthews(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns Matthews' correlation, times 100, for any number of classes.

    0 if labels or predictions are constant.
    """
    predictions_R = logits_RC.argmax(1)
    if _is_constant(predictions_R) or _is_constant(labels_R):
        return 0.0
    return 100 * float(matthews_corrcoef(_classes(labels_R), predictions_R))


def pearson(logits_R1: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns Pearson's correlation, times 100; 0 if labels or predictions are constant."""
    predictions_R = logits_R1[:, 0]
    if _is_constant(predictions_R) or _is_constant(labels_R):
        return 0.0
    return 100 * float(
        pearsonr(predictions_R.astype(np.float64), labels_R.astype(np.float64)).statistic
    )


def spearman(logits_R1: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns Spearman's rank correlation, times 100. Equal values get their mean rank.

    0 if labels or predictions are constant.
    """
    predictions_R = logits_R1[:, 0]
    if _is_constant(predictions_R) or _is_constant(labels_R):
        return 0.0
    return 100 * float(spearmanr(predictions_R, labels_R).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "auc": auc,
    "average_precision": average_precision,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "mean_average_precision": mean_average_precision,
    "micro_f1": micro_f1,
    "pearson": pearson,
    "spearman": spearman,
}
"""Metrics by name: functions of logits [R, C] (regression: [R, 1]) and labels [R], in points.

For a multilabel task: functions of margins [R, C] and labels [R, C].
"""

REGRESSION_METRICS = ("pearson", "spearman")
CLASSIFICATION_METRICS = ("accuracy", "auc", "average_precision", "f1", "macro_f1", "matthews")
RANKING_METRICS = ("auc", "average_precision")
"""Metrics of two classes that depend on the order of the rows' margins, and on no decision."""
MARGIN_METRICS = (*RANKING_METRICS, *GROUP_METRICS)
"""All metrics that depend on the order of the rows' margins, and on no decision."""
BINARY_METRICS = ("f1", *RANKING_METRICS)
"""Metrics that need exactly two classes."""
MULTILABEL_METRICS = ("micro_f1", "macro_f1", "mean_average_precision")


def metrics_for(
    labels: tuple[str, ...], multilabel: bool = False, pair: bool = False
) -> tuple[str, ...]:
    """Returns the metrics that a task with these labels can use. Empty labels: regression.

    BINARY_METRICS need exactly two labels, and GROUP_METRICS pairs too.
    """
    if multilabel:
        return MULTILABEL_METRICS
    if not labels:
        return REGRESSION_METRICS
    if len(labels) > 2:
        return tuple(name for name in CLASSIFICATION_METRICS if name not in BINARY_METRICS)
    return (*CLASSIFICATION_METRICS, *(GROUP_METRICS if pair else ()))


class NotFinite(ValueError):
    """Raised for logits with NaN or infinity, for example after a diverged training."""


def check_finite(logits_RC: np.ndarray, of: str) -> None:
    """Raises NotFinite if a logit is NaN or infinite. Without it, argmax would select NaN.

    of: the model that computed the logits, for the error message.
    """
    bad = len(logits_RC) - int(np.isfinite(logits_RC).all(1).sum())
    if bad:
        raise NotFinite(
            f"the logits of {of} are not finite numbers in {bad:,} of {len(logits_RC):,} rows"
        )


def margins(logits_RC: np.ndarray, thresholds_C: np.ndarray | None = None) -> np.ndarray:
    """Returns how far each logit of a multilabel task is above its label's threshold [R, C].

    A row has the labels with a margin of 0 or more.

    - thresholds_C: the smallest probability with which a row has the label. None: 0.5.
    """
    exact_RC = logits_RC.astype(np.float64)
    return exact_RC if thresholds_C is None else exact_RC - logit(thresholds_C)


def decided(kind: Kind, logits_RC: np.ndarray, thresholds_C: np.ndarray | None) -> np.ndarray:
    """Returns the logits with which a task's thresholds become 0.5 [R, C].

    Those of a multilabel task are `margins`. Of two classes, the one whose probability reaches its
    threshold gets the larger logit. Without thresholds, and for other tasks, nothing changes.
    """
    if kind.multilabel:
        return margins(logits_RC, thresholds_C)
    return logits_RC if thresholds_C is None else logits_RC - np.log(thresholds_C)


def score(
    kind: Kind,
    logits: np.ndarray,
    labels: np.ndarray,
    of: str = "a model",
    thresholds: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns the metrics of a task by name, in points.

    - logits: [R, kind.num_logits]; labels: [R], or [R, C] of a multilabel task.
    - of: the model that computed the logits, for error messages.
    - thresholds: [C], of a multilabel task or of two classes, as in `decided`.
    - groups: the number of each row's group [R], for GROUP_METRICS alone.

    Raises NotFinite if a logit is NaN or infinite.
    """
    assert logits.shape == (len(labels), kind.num_logits), (
        f"logits {logits.shape} for {len(labels)} rows of {kind}"
    )
    check_finite(logits, of)
    if kind.multilabel:
        assert labels.shape == logits.shape, f"labels {labels.shape} for logits {logits.shape}"
    logits = decided(kind, logits, thresholds)
    values = {}
    for name in kind.metrics:
        if name in GROUP_METRICS:
            assert groups is not None, f"{name} needs groups"
            values[name] = mean_over_groups(logits, labels, groups, name)
        else:
            values[name] = METRICS[name](logits, labels)
    return values


def expected_calibration_error(
    logits_RC: np.ndarray, labels_R: np.ndarray, bins: int = 15
) -> float:
    """Returns the expected calibration error, from 0 to 1 (Guo et al. 2017, eq. 3).

    It is sum_m |B_m| / R * |accuracy(B_m) - confidence(B_m)|. Bin B_m holds the rows whose largest
    softmax probability is in ((m - 1) / bins, m / bins].

    labels_R: or [R, C] of a multilabel task. Each label of each row then counts as a row, its
    sigmoid probability as the confidence, and whether the row has it as the accuracy.
    """
    if labels_R.ndim == 2:
        return _gap(expit(logits_RC.astype(np.float64)).ravel(), labels_R.ravel() > 0, bins)
    # Largest softmax probability: after the shift its numerator is exp(0) = 1.
    shifted_RC = logits_RC.astype(np.float64) - logits_RC.max(1, keepdims=True)
    confidence_R = 1 / np.exp(shifted_RC).sum(1)
    return _gap(confidence_R, logits_RC.argmax(1) == labels_R, bins)


def _gap(confidence_R: np.ndarray, correct_R: np.ndarray, bins: int) -> float:
    """Returns the mean over rows of the gap between accuracy and confidence of their bin."""
    bin_R = np.ceil(confidence_R * bins).astype(np.int64)
    # Accuracy and confidence of a bin are means over the same rows, so |B_m| cancels:
    # a bin's term is |sum of (correct - confidence)| / R.
    gaps = np.abs(np.bincount(bin_R, weights=correct_R - confidence_R))
    return float(gaps.sum() / len(correct_R))

"""Metrics of a task: accuracy, F1 and correlations, in points, and the calibration error.

Axes: R rows, C classes. A regression task has one logit, [R, 1]: its prediction.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

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
    """Returns the mean F1 of all classes that occur in labels or predictions, times 100."""
    return 100 * float(
        f1_score(_classes(labels_R), logits_RC.argmax(1), average="macro", zero_division=0.0)
    )


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
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
"""Metrics by name: functions of logits [R, C] (regression: [R, 1]) and labels [R], in points."""

REGRESSION_METRICS = ("pearson", "spearman")
CLASSIFICATION_METRICS = ("accuracy", "f1", "macro_f1", "matthews")


def metrics_for(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the metrics that a task with these labels can use. Empty labels: regression.

    f1 needs exactly two labels.
    """
    if not labels:
        return REGRESSION_METRICS
    return tuple(name for name in CLASSIFICATION_METRICS if name != "f1" or len(labels) == 2)


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


def score(
    kind: Kind, logits: np.ndarray, labels: np.ndarray, of: str = "a model"
) -> dict[str, float]:
    """Returns the metrics of a task by name, in points.

    - logits: [R, kind.num_logits]; labels: [R].
    - of: the model that computed the logits, for error messages.

    Raises NotFinite if a logit is NaN or infinite.
    """
    assert logits.shape == (len(labels), kind.num_logits), (
        f"logits {logits.shape} for {len(labels)} rows of {kind}"
    )
    check_finite(logits, of)
    return {name: METRICS[name](logits, labels) for name in kind.metrics}


def expected_calibration_error(
    logits_RC: np.ndarray, labels_R: np.ndarray, bins: int = 15
) -> float:
    """Returns the expected calibration error, from 0 to 1 (Guo et al. 2017, eq. 3).

    It is sum_m |B_m| / R * |accuracy(B_m) - confidence(B_m)|. Bin B_m holds the rows whose largest
    softmax probability is in ((m - 1) / bins, m / bins].
    """
    # Largest softmax probability: after the shift its numerator is exp(0) = 1.
    shifted_RC = logits_RC.astype(np.float64) - logits_RC.max(1, keepdims=True)
    confidence_R = 1 / np.exp(shifted_RC).sum(1)
    correct_R = logits_RC.argmax(1) == labels_R
    bin_R = np.ceil(confidence_R * bins).astype(np.int64)
    # Accuracy and confidence of a bin are means over the same rows, so |B_m| cancels:
    # a bin's term is |sum of (correct - confidence)| / R.
    return float(np.abs(np.bincount(bin_R, weights=correct_R - confidence_R)).sum() / len(labels_R))

"""What a task is scored by: accuracy, F1, correlations, all in points from 0 to 100; and the calibration error.

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
    """Share of rows whose largest logit is the label's, times 100."""
    return 100 * float((logits_RC.argmax(1) == labels_R).mean())


def f1(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1 against the rest, times 100; 0 where neither is defined."""
    return 100 * float(f1_score(labels_R == 1, logits_RC.argmax(1) == 1, zero_division=0.0))


def macro_f1(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Mean of the classes' F1, times 100, over the classes among labels or predictions."""
    return 100 * float(f1_score(_classes(labels_R), logits_RC.argmax(1), average="macro", zero_division=0.0))


def matthews(logits_RC: np.ndarray, labels_R: np.ndarray) -> float:
    """Matthews' correlation, times 100, for any number of classes; 0 where labels or predictions are constant."""
    predictions_R = logits_RC.argmax(1)
    if _is_constant(predictions_R) or _is_constant(labels_R):
        return 0.0
    return 100 * float(matthews_corrcoef(_classes(labels_R), predictions_R))


def pearson(logits_R1: np.ndarray, labels_R: np.ndarray) -> float:
    """Linear correlation, times 100; 0 where labels or predictions are constant."""
    predictions_R = logits_R1[:, 0]
    if _is_constant(predictions_R) or _is_constant(labels_R):
        return 0.0
    return 100 * float(pearsonr(predictions_R.astype(np.float64), labels_R.astype(np.float64)).statistic)


def spearman(logits_R1: np.ndarray, labels_R: np.ndarray) -> float:
    """Correlation of the ranks, times 100, equal values sharing their mean rank; 0 where either side is constant."""
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
"""name -> function of logits [R, C] (regression: [R, 1]) and labels [R], in points."""

REGRESSION_METRICS = ("pearson", "spearman")
CLASSIFICATION_METRICS = ("accuracy", "f1", "macro_f1", "matthews")


def metrics_for(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the metrics that can score a task with these labels; none means regression. F1 needs exactly two."""
    if not labels:
        return REGRESSION_METRICS
    return tuple(name for name in CLASSIFICATION_METRICS if name != "f1" or len(labels) == 2)


class NotFinite(ValueError):
    """Logits that are no numbers, as those of a model whose training has diverged."""


def check_finite(logits_RC: np.ndarray, of: str) -> None:
    """Raises NotFinite where logits are not all numbers; argmax would take NaN for the largest. of: whose they are, in words."""
    bad = len(logits_RC) - int(np.isfinite(logits_RC).all(1).sum())
    if bad:
        raise NotFinite(f"the logits of {of} are not finite numbers in {bad:,} of {len(logits_RC):,} rows")


def score(kind: Kind, logits: np.ndarray, labels: np.ndarray, of: str = "a model") -> dict[str, float]:
    """Each of the kind's metrics by its name, in points, for logits [rows, kind.num_logits] and labels [rows].

    of: whose logits they are. Raises NotFinite where they are not all numbers.
    """
    assert logits.shape == (len(labels), kind.num_logits), f"logits {logits.shape} for {len(labels)} rows of {kind}"
    check_finite(logits, of)
    return {name: METRICS[name](logits, labels) for name in kind.metrics}


def expected_calibration_error(logits_RC: np.ndarray, labels_R: np.ndarray, bins: int = 15) -> float:
    """By how much confidence and accuracy differ, on average over rows, as a share from 0 to 1.

    sum_m |B_m| / R * |accuracy(B_m) - confidence(B_m)|, where bin B_m holds the rows whose largest softmax
    probability lies in ((m - 1) / bins, m / bins] (Guo et al. 2017, eq. 3). As both means are over the same rows,
    a bin's term is |sum of (correct - confidence)| / R.
    """
    shifted_RC = logits_RC.astype(np.float64) - logits_RC.max(1, keepdims=True)
    confidence_R = 1 / np.exp(shifted_RC).sum(1)
    correct_R = logits_RC.argmax(1) == labels_R
    bin_R = np.ceil(confidence_R * bins).astype(np.int64)
    return float(np.abs(np.bincount(bin_R, weights=correct_R - confidence_R)).sum() / len(labels_R))

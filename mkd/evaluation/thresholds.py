"""Decision thresholds of tasks, fitted to a model's logits on the selection rows.

A multilabel task has one for each label. A classification has them if it has two classes of which
one is rare, and one of DECIDING_METRICS.

Axes: R rows, C classes, K cuts between the rows in the order of their logits.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from mkd.tasks.metrics import MARGIN_METRICS, METRICS, class_margins
from mkd.tasks.task import Kind

Thresholds = Mapping[str, np.ndarray]
"""Thresholds [C] by task. A row of a multilabel task has the labels whose probability is at least
the threshold; of two classes it has the one whose probability reaches its threshold, and the two
add up to 1. A task that is not in it has 0.5 for each label."""
HALF: Thresholds = MappingProxyType({})
"""0.5 for each label of each task."""
SHARED_ROWS = 10
"""Weight of the shared threshold, or of 0.5 for two classes, in rows that have the label."""
LARGEST_LOGIT = 15.0
"""Maximum absolute value of a threshold's logit, so that its probability is neither 0 nor 1."""
RARE = 0.3
"""Share of the rows below which one of two classes is rare. Tasks of smaller shares gained, those
of larger ones did not (docs/results/options.md, "Thresholds of two classes")."""
DECIDING_METRICS = ("f1", "macro_f1", "matthews")
"""Metrics in which a rare class weighs more than its share of the rows."""


def may_decide(kind: Kind) -> bool:
    """Returns whether tasks of this kind can have thresholds."""
    return kind.multilabel or (
        len(kind.labels) == 2 and bool({*kind.metrics} & {*DECIDING_METRICS})
    )


def has_thresholds(kind: Kind, labels: np.ndarray) -> bool:
    """Returns whether a task with these labels of selection rows has thresholds."""
    if kind.multilabel or not may_decide(kind):
        return kind.multilabel
    return 0 < _rare(labels) < RARE * len(labels)


def _rare(labels_R: np.ndarray) -> int:
    """Returns how many rows the rarer of two classes has."""
    ones = int((labels_R == 1).sum())
    return min(ones, len(labels_R) - ones)


def fit_thresholds(kind: Kind, logits_RC: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Returns the thresholds [C] of one task, as probabilities, or None if it has none.

    - logits_RC: of rows that the model was not trained on.
    - labels: [R], or 0 and 1 [R, C] of a multilabel task.
    """
    if not has_thresholds(kind, labels):
        return None
    return _of_labels(logits_RC, labels) if kind.multilabel else _of_two(kind, logits_RC, labels)


def _of_two(kind: Kind, logits_RC: np.ndarray, labels_R: np.ndarray) -> np.ndarray:
    """Returns the thresholds of two classes.

    The cut maximises the score of the task, the mean of its metrics; among equal scores it is the
    nearest to 0. It is shrunk by n / (n + SHARED_ROWS), with n rows of the rare class, because a
    cut fitted to few rows would be chance.
    """
    ones_R, rare = labels_R == 1, _rare(labels_R)
    margins_R = class_margins(logits_RC)
    sorted_R = np.unique(margins_R)
    between = (sorted_R[1:] + sorted_R[:-1]) / 2
    cuts_K = np.concatenate([[sorted_R[0] - 1], between, [sorted_R[-1] + 1]])
    scores_K = np.mean([_at_cuts(name, margins_R, ones_R, cuts_K) for name in kind.metrics], axis=0)
    best_K = cuts_K[scores_K > scores_K.max() - 1e-9]
    cut = best_K[np.abs(best_K).argmin()] * rare / (rare + SHARED_ROWS)
    chance = float(expit(np.clip(cut, -LARGEST_LOGIT, LARGEST_LOGIT)))
    return np.array([1 - chance, chance])


def _at_cuts(
    name: str, margins_R: np.ndarray, ones_R: np.ndarray, cuts_K: np.ndarray
) -> np.ndarray:
    """Returns a metric where rows with a margin above the cut get class 1 [K]."""
    if name in MARGIN_METRICS:  # the order of the rows does not depend on the cut
        return np.zeros(len(cuts_K))
    if name not in FORMULAS:
        logits = [np.stack([0 * margins_R, margins_R - cut], axis=1) for cut in cuts_K]
        return np.array([METRICS[name](each, ones_R.astype(np.float64)) for each in logits])
    above_K = len(ones_R) - np.searchsorted(np.sort(margins_R), cuts_K, side="right")
    ones = int(ones_R.sum())
    hits_K = ones - np.searchsorted(np.sort(margins_R[ones_R]), cuts_K, side="right")
    right_K = len(ones_R) - above_K - (ones - hits_K)
    return 100 * FORMULAS[name](hits_K, above_K - hits_K, ones - hits_K, right_K)


def _accuracy(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    shares_K: np.ndarray = (tp + tn) / (tp + fp + fn + tn)
    return shares_K


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    scores_K: np.ndarray = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    return scores_K


def _macro_f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    scores_K: np.ndarray = (_f1(tp, fp, fn, tn) + _f1(tn, fn, fp, tp)) / 2
    return scores_K


def _matthews(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    tp, fp, fn, tn = (counts_K.astype(np.float64) for counts_K in (tp, fp, fn, tn))
    spread_K = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    scores_K: np.ndarray = (tp * tn - fp * fn) / np.where(spread_K > 0, spread_K, np.inf)
    return scores_K


FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
}
"""Metrics of two classes, from 0 to 1, from the true and false positives, and the false and true
negatives. A test compares them with METRICS, by which others are computed."""


def _of_labels(logits_RC: np.ndarray, labels_RC: np.ndarray) -> np.ndarray:
    """Returns the thresholds [C] of the labels of a multilabel task.

    The threshold with the best F1 differs between labels, and is far below 0.5 for most: it is half
    of the best F1 (Lipton et al. 2014). Fitted to one label alone (the score-based cut of Yang
    2001) it is chance if few rows have the label, and a label that the model cannot predict is
    given to every row. So it is shrunk towards a shared threshold, which has the best F1 over all
    labels together: with n rows that have the label, its logit is the mean of both with the weights
    n and SHARED_ROWS. A label that no row has gets the shared one.

    Without rows, thresholds are 0.5.
    """
    if not len(labels_RC):
        return np.full(logits_RC.shape[1], 0.5)
    shared = best_cut(logits_RC.ravel(), labels_RC.ravel() > 0)
    rows_C = (labels_RC > 0).sum(0)
    best_cuts_C = np.array(
        [best_cut(*columns) for columns in zip(logits_RC.T, labels_RC.T > 0, strict=True)]
    )
    cuts_C = np.where(rows_C > 0, best_cuts_C, shared)
    thresholds_C: np.ndarray = expit(
        (rows_C * cuts_C + SHARED_ROWS * shared) / (rows_C + SHARED_ROWS)
    )
    return thresholds_C


def best_cut(logits_R: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the logit that is the threshold with the best F1.

    It lies halfway between two neighbouring logits; among equal F1 it is the highest. 0 (the
    probability 0.5) if no row has the label.
    """
    if not labels_R.any():
        return 0.0
    order = np.argsort(-logits_R, kind="stable")
    sorted_R = logits_R[order].astype(np.float64)
    # F1 with the first k rows: 2 * hits / (k + rows that have the label).
    counts_R = np.arange(1, len(order) + 1)
    f1_R = 2 * np.cumsum(labels_R[order]) / (counts_R + int(labels_R.sum()))
    # Equal logits are on one side of any threshold.
    last_R = np.append(sorted_R[:-1] > sorted_R[1:], True)
    best = int(np.where(last_R, f1_R, -1).argmax())
    below = sorted_R[best + 1] if best + 1 < len(sorted_R) else sorted_R[best] - 1
    return float(np.clip((sorted_R[best] + below) / 2, -LARGEST_LOGIT, LARGEST_LOGIT))

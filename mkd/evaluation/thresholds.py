"""Decision thresholds of multilabel tasks, fitted to a model's logits on the selection rows.

Axes: R rows, C classes.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit

Thresholds = Mapping[str, np.ndarray]
"""Thresholds [C] of multilabel tasks, by task. A row has the labels whose probability is at least
the threshold. A multilabel task that is not in it has 0.5 for each label."""
HALF: Thresholds = MappingProxyType({})
"""0.5 for each label of each task."""
SHARED_ROWS = 10
"""Weight of the shared threshold, in rows that have the label."""
LARGEST_LOGIT = 15.0
"""Absolute value of a threshold's logit at most; its probability is then neither 0 nor 1."""


def fit_thresholds(logits_RC: np.ndarray, labels_RC: np.ndarray) -> np.ndarray:
    """Returns the thresholds [C], as probabilities, of the labels of one multilabel task.

    F1 is best far below 0.5 for most labels, and at another place for each: at half of the F1 that
    can be reached (Lipton et al. 2014). The threshold with the best F1 of the label alone (the
    score-based cut of Yang 2001) is that of chance if few rows have the label, and gives a label
    that the model cannot tell to every row. So it is moved towards a shared one, that with the best
    F1 over all labels together: with n rows that have the label, its logit is the mean of both with
    the weights n and SHARED_ROWS. A label that no row has gets the shared one.

    - logits_RC: of rows that the model was not trained on. Without rows, thresholds are 0.5.
    - labels_RC: 0 and 1.
    """
    if not len(labels_RC):
        return np.full(logits_RC.shape[1], 0.5)
    shared = best_cut(logits_RC.ravel(), labels_RC.ravel() > 0)
    rows_C = (labels_RC > 0).sum(0)
    own_C = np.array(
        [best_cut(*columns) for columns in zip(logits_RC.T, labels_RC.T > 0, strict=True)]
    )
    cuts_C = np.where(rows_C > 0, own_C, shared)
    thresholds_C: np.ndarray = expit(
        (rows_C * cuts_C + SHARED_ROWS * shared) / (rows_C + SHARED_ROWS)
    )
    return thresholds_C


def best_cut(logits_R: np.ndarray, labels_R: np.ndarray) -> float:
    """Returns the logit from which on rows get the label, such that F1 is best.

    It lies halfway between two neighbouring logits; of equally good places it is the highest. 0
    (the probability 0.5) if no row has the label.
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

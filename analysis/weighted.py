"""The metrics of mkd/metrics.py over many resamples of the rows at once: a row counts as often as it was drawn.

Axes: B resamples, R rows, C classes, G groups of equal values. counts_BR: how often each row is in each resample. All metrics are
in points from 0 to 100, or -100 to 100, and equal those of mkd/metrics.py on the rows written out (tests/test_weighted.py).
"""

from collections.abc import Callable

import numpy as np


def accuracy(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Share of rows where both are equal, times 100 [B]."""
    return 100 * (counts_BR @ (labels_R == predictions_R)) / counts_BR.sum(1)


def f1(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """F1 of class 1 against the rest, times 100 [B]; 0 where neither side has a row of it."""
    return 100 * _f1_of_classes(confusion(counts_BR, labels_R == 1, predictions_R == 1, 2))[0][:, 1]


def macro_f1(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Mean of the classes' F1, times 100 [B], over the classes that a resample has among labels or predictions."""
    scores_BC, present_BC = _f1_of_classes(_confusion(counts_BR, labels_R, predictions_R))
    return 100 * scores_BC.sum(1) / present_BC.sum(1)


def matthews(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Matthews' correlation for any number of classes, times 100 [B]; 0 where labels or predictions are constant."""
    table_BCC = _confusion(counts_BR, labels_R, predictions_R)
    labels_BC, predicted_BC, rows_B = table_BCC.sum(2), table_BCC.sum(1), table_BCC.sum((1, 2))
    right_B = np.trace(table_BCC, axis1=1, axis2=2)
    together_B = right_B * rows_B - (labels_BC * predicted_BC).sum(1)
    return 100 * _ratio(together_B, rows_B**2 - (labels_BC**2).sum(1), rows_B**2 - (predicted_BC**2).sum(1))


def pearson(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Linear correlation, times 100 [B]; 0 where labels or predictions are constant."""
    return 100 * _correlation(counts_BR, _standard(labels_R), _standard(predictions_R))


def spearman(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Correlation of the ranks, times 100 [B], equal values sharing their mean rank; 0 where either side is constant."""
    return 100 * _correlation(counts_BR, _ranks(counts_BR, labels_R), _ranks(counts_BR, predictions_R))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
"""By the name that mkd/metrics.py has for it: function of counts, labels and predictions (class indices, or scores)."""


def confusion(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray, classes: int) -> np.ndarray:
    """How many rows of each resample have a label and a prediction [B, C, C]."""
    cells_R = labels_R.astype(np.int64) * classes + predictions_R.astype(np.int64)
    one_hot = np.eye(classes**2)[cells_R]
    return (counts_BR @ one_hot).reshape(len(counts_BR), classes, classes)


def _confusion(counts_BR: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    return confusion(counts_BR, labels_R, predictions_R, int(max(labels_R.max(), predictions_R.max())) + 1)


def _f1_of_classes(table_BCC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each class's F1 [B, C], 0 where it has no row, and where it has one [B, C]."""
    either_BC = table_BCC.sum(1) + table_BCC.sum(2)
    right_BC = np.diagonal(table_BCC, axis1=1, axis2=2)
    return 2 * right_BC / np.maximum(either_BC, 1), either_BC > 0


def _standard(values_R: np.ndarray) -> np.ndarray:
    """With mean 0 and, where they differ, spread 1 over all rows, so that sums of squares keep their digits."""
    values_R = values_R.astype(np.float64) - values_R.mean(dtype=np.float64)
    return values_R / (values_R.std() or 1.0)


def _correlation(counts_BR: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pearson's, of two sides that are [R], or [B, R] where each resample has its own."""
    rows_B = counts_BR.sum(1)

    def mean(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.einsum("br,br->b" if values.ndim == 2 else "br,r->b", counts_BR, values) / rows_B
        return found

    left_B, right_B = mean(left), mean(right)
    return _ratio(mean(left * right) - left_B * right_B, mean(left**2) - left_B**2, mean(right**2) - right_B**2)


def _ratio(together_B: np.ndarray, left_B: np.ndarray, right_B: np.ndarray) -> np.ndarray:
    """Covariance over the root of both variances [B]; 0 where either is no more than rounding leaves of one that is 0."""
    known_B = (left_B > 1e-9) & (right_B > 1e-9)
    spread_B = np.sqrt(np.where(known_B, left_B * right_B, 1.0))
    return np.where(known_B, together_B, 0.0) / spread_B


def _ranks(counts_BR: np.ndarray, values_R: np.ndarray) -> np.ndarray:
    """The rank of each row's value among a resample's rows, as a share of them less a half [B, R]; equal ones share the mean."""
    _, group_R = np.unique(values_R, return_inverse=True)
    order = np.argsort(group_R, kind="stable")
    starts = np.flatnonzero(np.diff(group_R[order], prepend=-1))
    counts_BG = np.add.reduceat(counts_BR[:, order], starts, axis=1)
    ranks_BG = counts_BG.cumsum(1) - counts_BG + (counts_BG + 1) / 2
    shares_BR: np.ndarray = (ranks_BG / counts_BR.sum(1, keepdims=True) - 0.5)[:, group_R]
    return shares_BR

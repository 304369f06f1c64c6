"""The metrics of mkd/tasks/metrics.py on many resamples of the rows at once.

A row is weighted by how often it was drawn. Axes: R rows, B resamples, C classes, G groups of equal
values. counts_RB holds how often each row is in each resample. All metrics are in points from 0 to
100, or -100 to 100. They equal those of mkd/tasks/metrics.py on the repeated rows
(tests/analysis/statistics/test_resampled_metrics.py).

For a multilabel task, labels are 0 and 1 [R, C] and predictions are margins [R, C]: a row gets the
labels of 0 or more.
"""

from collections.abc import Callable

import numpy as np

from mkd.tasks import metrics


def accuracy(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns the share of rows with equal label and prediction, times 100 [B]."""
    right_1R = (labels_R == predictions_R)[None].astype(np.float64)
    shares_B: np.ndarray = _sums(right_1R, counts_RB)[0] / counts_RB.sum(0)
    return 100 * shares_B


def f1(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns F1 of class 1, times 100 [B].

    It is 0 if neither labels nor predictions contain the class.
    """
    scores_CB, _ = _f1_of_classes(confusion(counts_RB, labels_R == 1, predictions_R == 1, 2))
    score_B: np.ndarray = 100 * scores_CB[1]
    return score_B


def macro_f1(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns the mean F1 of the classes, times 100 [B].

    Only classes that a resample has among labels or predictions count. 0 if a multilabel task has
    none.
    """
    if labels_R.ndim == 2:
        right_CB, either_CB = _hits(counts_RB, labels_R, predictions_R)
        scores_CB = 2 * right_CB / np.maximum(either_CB, 1)
        score_B: np.ndarray = 100 * scores_CB.sum(0) / np.maximum((either_CB > 0).sum(0), 1)
        return score_B
    scores_CB, present_CB = _f1_of_classes(_confusion(counts_RB, labels_R, predictions_R))
    mean_B: np.ndarray = scores_CB.sum(0) / present_CB.sum(0)
    return 100 * mean_B


def micro_f1(counts_RB: np.ndarray, labels_RC: np.ndarray, margins_RC: np.ndarray) -> np.ndarray:
    """Returns F1 over all labels of all rows together, times 100 [B]; 0 if there are none."""
    right_CB, either_CB = _hits(counts_RB, labels_RC, margins_RC)
    score_B: np.ndarray = 200 * right_CB.sum(0) / np.maximum(either_CB.sum(0), 1)
    return score_B


def mean_average_precision(
    counts_RB: np.ndarray, labels_RC: np.ndarray, margins_RC: np.ndarray
) -> np.ndarray:
    """Returns the mean of the labels' average precision, times 100 [B].

    Only labels that a resample has count; 0 if there are none.
    """
    precisions_CB = np.stack(
        [
            _average_precision(counts_RB, labels_R > 0, margins_R)
            for labels_R, margins_R in zip(labels_RC.T, margins_RC.T, strict=True)
        ]
    )
    present_CB = labels_RC.T @ counts_RB > 0
    score_B: np.ndarray = 100 * precisions_CB.sum(0) / np.maximum(present_CB.sum(0), 1)
    return score_B


def auc(counts_RB: np.ndarray, labels_R: np.ndarray, margins_R: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve, times 100 [B]; 50 if the labels are constant.

    It is the sum of the ranks of class 1's rows (Mann-Whitney's U), less its least value.
    """
    ranks_RB = (_ranks(counts_RB, margins_R) + 0.5) * counts_RB.sum(0)
    drawn_RB = counts_RB * (labels_R == 1)[:, None]
    ones_B = drawn_RB.sum(0)
    pairs_B = ones_B * (counts_RB.sum(0) - ones_B)
    above_B = np.einsum("rb,rb->b", drawn_RB, ranks_RB) - ones_B * (ones_B + 1) / 2
    return np.where(pairs_B > 0, 100 * above_B / np.maximum(pairs_B, 1), 50.0)


def average_precision(
    counts_RB: np.ndarray, labels_R: np.ndarray, margins_R: np.ndarray
) -> np.ndarray:
    """Returns the average precision of class 1, times 100 [B]; 0 if no row has it."""
    return 100 * _average_precision(counts_RB, labels_R == 1, margins_R)


def matthews(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns the Matthews correlation for any number of classes, times 100 [B].

    It is 0 if labels or predictions are constant.
    """
    table_CCB = _confusion(counts_RB, labels_R, predictions_R)
    labels_CB, predicted_CB, rows_B = table_CCB.sum(1), table_CCB.sum(0), table_CCB.sum((0, 1))
    together_B = np.trace(table_CCB) * rows_B - (labels_CB * predicted_CB).sum(0)
    return 100 * _ratio(
        together_B, rows_B**2 - (labels_CB**2).sum(0), rows_B**2 - (predicted_CB**2).sum(0)
    )


def pearson(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns the Pearson correlation, times 100 [B].

    It is 0 if labels or predictions are constant.
    """
    left_R, right_R = _standard(labels_R), _standard(predictions_R)
    sums_5B = _sums(np.stack([left_R, right_R, left_R * right_R, left_R**2, right_R**2]), counts_RB)
    return 100 * _correlation(sums_5B / counts_RB.sum(0))


def spearman(counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray) -> np.ndarray:
    """Returns Spearman's rank correlation, times 100 [B].

    It is 0 if labels or predictions are constant. Equal values share their mean rank.
    """
    left_RB, right_RB = _ranks(counts_RB, labels_R), _ranks(counts_RB, predictions_R)
    sums = [
        np.einsum("rb,rb->b", counts_RB, left_RB),
        np.einsum("rb,rb->b", counts_RB, right_RB),
        np.einsum("rb,rb,rb->b", counts_RB, left_RB, right_RB),
        np.einsum("rb,rb,rb->b", counts_RB, left_RB, left_RB),
        np.einsum("rb,rb,rb->b", counts_RB, right_RB, right_RB),
    ]
    return 100 * _correlation(np.stack(sums) / counts_RB.sum(0))


ResampledMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A metric of counts_RB, labels_R and predictions_R on all resamples [B].

Predictions are class indices, scores of a regression task, or margins of a multilabel task or for
MARGIN_METRICS.
"""

FAST_METRICS: dict[str, ResampledMetric] = {
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
"""The metrics that have a fast form here, by name as in mkd/tasks/metrics.py."""


def mean_over_groups(
    counts_GB: np.ndarray,
    labels_R: np.ndarray,
    margins_R: np.ndarray,
    groups_R: np.ndarray,
    name: str,
) -> np.ndarray:
    """Returns one of GROUP_METRICS on resamples of whole groups [B]; 0 where none has class 1.

    groups_R: the place of each row's group in counts_GB.
    """
    scores = metrics.group_scores(margins_R, labels_R, groups_R, name)
    drawn_SB = counts_GB[list(scores)]
    sums_B = np.einsum("s,sb->b", np.array(list(scores.values())), drawn_SB)
    score_B: np.ndarray = sums_B / np.maximum(drawn_SB.sum(0), 1)
    return score_B


def metric(name: str) -> ResampledMetric:
    """Returns a metric of mkd/tasks/metrics.py on resamples: its fast form, or else itself."""
    return FAST_METRICS.get(name) or on_each_resample(name)


def on_each_resample(name: str) -> ResampledMetric:
    """Returns the metric of mkd/tasks/metrics.py, computed on one resample after another."""
    of_rows, is_regression = metrics.METRICS[name], name in metrics.REGRESSION_METRICS

    def resampled(
        counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray
    ) -> np.ndarray:
        if labels_R.ndim == 2:
            logits = predictions_R
        elif name in metrics.RANKING_METRICS:
            logits = np.stack([0 * predictions_R, predictions_R], axis=1)
        else:
            # Logits that have the predictions as their largest.
            classes = 0 if is_regression else int(max(labels_R.max(), predictions_R.max())) + 1
            logits = (
                np.eye(classes)[predictions_R.astype(np.int64)]
                if classes
                else predictions_R[:, None]
            )
        rows = [
            np.repeat(np.arange(len(labels_R)), counts_R.astype(np.int64))
            for counts_R in counts_RB.T
        ]
        return np.array([of_rows(logits[places], labels_R[places]) for places in rows])

    return resampled


def confusion(
    counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray, classes: int
) -> np.ndarray:
    """Returns the confusion matrices of all resamples [C, C, B].

    The first axis is the label, the second the prediction.
    """
    cells_R = labels_R.astype(np.int64) * classes + predictions_R.astype(np.int64)
    # Rows are sorted by cell, so that one reduceat sums all counts of a cell. It is faster than a
    # loop over cells.
    order = np.argsort(cells_R, kind="stable")
    cells_KB = np.zeros((classes**2, counts_RB.shape[1]))
    starts = np.flatnonzero(np.diff(cells_R[order], prepend=-1))
    cells_KB[cells_R[order][starts]] = np.add.reduceat(counts_RB[order], starts, axis=0)
    return cells_KB.reshape(classes, classes, -1)


def _sums(values_KR: np.ndarray, counts_RB: np.ndarray) -> np.ndarray:
    """Returns sums over each resample's rows [K, B].

    einsum uses one thread. For products of this size, more threads cost more than they gain.
    """
    sums: np.ndarray = np.einsum("kr,rb->kb", values_KR, counts_RB)
    return sums


def _confusion(
    counts_RB: np.ndarray, labels_R: np.ndarray, predictions_R: np.ndarray
) -> np.ndarray:
    """Returns the confusion matrices with as many classes as labels and predictions need."""
    return confusion(
        counts_RB, labels_R, predictions_R, int(max(labels_R.max(), predictions_R.max())) + 1
    )


def _hits(
    counts_RB: np.ndarray, labels_RC: np.ndarray, margins_RC: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns, of each label, the rows that have and get it, and those that have plus those that
    get it [C, B]."""
    labelled_CR, predicted_CR = labels_RC.T > 0, margins_RC.T >= 0
    both_CR = (labelled_CR & predicted_CR).astype(np.float64)
    return _sums(both_CR, counts_RB), _sums(
        labelled_CR + predicted_CR.astype(np.float64), counts_RB
    )


def _average_precision(
    counts_RB: np.ndarray, labels_R: np.ndarray, margins_R: np.ndarray
) -> np.ndarray:
    """Returns the average precision of one label, from 0 to 1 [B]; 0 if no row has it.

    Recall grows at rows that have the label alone, so only these need the precision.
    """
    if not labels_R.any():
        return np.zeros(counts_RB.shape[1])
    order = np.argsort(-margins_R, kind="stable")
    sorted_R, hits_R = margins_R[order], labels_R[order]
    # Rows of equal margins have the precision of the last of them: one group of rows.
    group_R = np.cumsum(np.diff(sorted_R, prepend=sorted_R[0]) < 0)
    last_R = np.append(group_R[:-1] < group_R[1:], True)
    has_hit = np.zeros(int(group_R[-1]) + 1, dtype=bool)
    has_hit[group_R[hits_R]] = True
    ends = np.flatnonzero(last_R)[has_hit] + 1
    rows_GB = np.add.reduceat(counts_RB[order[: ends[-1]]], np.append(0, ends[:-1]), axis=0)
    firsts = np.flatnonzero(np.diff(group_R[hits_R], prepend=-1))
    hits_GB = np.add.reduceat(counts_RB[order[hits_R]], firsts, axis=0)
    precision_GB = hits_GB.cumsum(0) / np.maximum(rows_GB.cumsum(0), 1)
    total_B: np.ndarray = (hits_GB * precision_GB).sum(0) / np.maximum(hits_GB.sum(0), 1)
    return total_B


def _f1_of_classes(table_CCB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each class's F1 [C, B], 0 if it has no row, and whether it has one [C, B]."""
    either_CB = table_CCB.sum(0) + table_CCB.sum(1)
    right_CB = np.diagonal(table_CCB).T
    # The maximum avoids 0 / 0 for a class without rows.
    return 2 * right_CB / np.maximum(either_CB, 1), either_CB > 0


def _standard(values_R: np.ndarray) -> np.ndarray:
    """Standardises values over all rows, so that sums of squares keep their precision."""
    values_R = values_R.astype(np.float64) - values_R.mean(dtype=np.float64)
    return values_R / (values_R.std() or 1.0)


def _correlation(means_5B: np.ndarray) -> np.ndarray:
    """Returns the Pearson correlation [B].

    means_5B: means of left, right, left * right, left^2, right^2.
    """
    left_B, right_B, product_B, squared_left_B, squared_right_B = means_5B
    return _ratio(
        product_B - left_B * right_B, squared_left_B - left_B**2, squared_right_B - right_B**2
    )


def _ratio(together_B: np.ndarray, left_B: np.ndarray, right_B: np.ndarray) -> np.ndarray:
    """Returns the covariance divided by the root of both variances [B].

    It is 0 if either variance is 0 within rounding.
    """
    # Values are standardised, ranks or counts: a variance that is not 0 is far above 1e-9.
    known_B = (left_B > 1e-9) & (right_B > 1e-9)
    spread_B = np.sqrt(np.where(known_B, left_B * right_B, 1.0))
    return np.where(known_B, together_B, 0.0) / spread_B


def _ranks(counts_RB: np.ndarray, values_R: np.ndarray) -> np.ndarray:
    """Returns each value's rank within each resample [R, B].

    Ranks are divided by the number of rows, less 0.5. Equal values share their mean rank.
    """
    values_G, group_R = np.unique(values_R, return_inverse=True)
    order = np.argsort(group_R, kind="stable")
    counts_GB = counts_RB[order]
    if len(values_G) < len(values_R):
        counts_GB = np.add.reduceat(
            counts_GB, np.flatnonzero(np.diff(group_R[order], prepend=-1)), axis=0
        )
    # The mean rank of a group of equal values is its last rank less (count - 1) / 2.
    ranks_GB = (counts_GB.cumsum(0) + (1 - counts_GB) / 2) / counts_RB.sum(0) - 0.5
    shares_RB: np.ndarray = ranks_GB[group_R]
    return shares_RB

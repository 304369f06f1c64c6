import numpy as np
import pytest

from mkd.evaluation.thresholds import SHARED_ROWS, best_cut, fit_thresholds


def test_the_best_cut_by_hand() -> None:
    """F1 with the first k of 5, 4, 2, 1, 0: 2 * hits / (k + 2) = 2/3, 2/4, 4/5, 4/6, 4/7."""
    logits = np.array([1.0, 5.0, 2.0, 0.0, 4.0])
    labels = np.array([False, True, True, False, False])
    assert best_cut(logits, labels) == 1.5


def test_equal_logits_are_on_one_side() -> None:
    """Between the two of 2 there is no cut: 2/3 with the first alone, 4/5 with all three."""
    logits, labels = np.array([2.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert best_cut(logits, labels) == 1.5


def test_a_cut_below_all_rows_and_one_without_labels() -> None:
    assert best_cut(np.array([1.0, 2.0]), np.array([True, True])) == 0.5
    assert best_cut(np.array([1.0, 2.0]), np.array([False, False])) == 0.0


def test_a_label_of_few_rows_is_near_the_shared_threshold() -> None:
    """a has two rows; alone its best cut is at -2, halfway between -1 and -3. b has one, and alone
    0.5. In the order of all six places, 2 (a), 1 (b), 0, -1 (a), -3, -4, F1 is best with the first
    four, 6 / 7: the shared cut is at -2 too. No row has c."""
    logits = np.array([[2.0, 0.0, -9.0], [-1.0, 1.0, -9.0], [-3.0, -4.0, -9.0]])
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=np.uint8)
    cuts = np.array([-2.0, (1 * 0.5 + SHARED_ROWS * -2) / (1 + SHARED_ROWS), -2.0])
    assert fit_thresholds(logits, labels) == pytest.approx(1 / (1 + np.exp(-cuts)))

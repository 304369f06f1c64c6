"""Temperatures, by hand and by their definition."""

import numpy as np
import pytest
from scipy.special import softmax

from mkd.evaluation.calibration import LARGEST, fit_temperature, negative_log_likelihood


def test_the_temperature_gives_the_share_of_right_rows() -> None:
    """Logits are 3 and 0 in each row, and three of four rows are right. The likelihood is largest
    where the probability is 3/4, so 3 / T = log 3."""
    logits = np.tile([3.0, 0.0], (8, 1))
    labels = np.array([0, 0, 0, 1] * 2, dtype=np.float32)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(3 / np.log(3), rel=1e-4)
    assert softmax(logits[0] / temperature)[0] == pytest.approx(0.75, abs=1e-4)


def test_the_temperature_of_several_labels_is_that_of_their_sigmoids() -> None:
    """There are 16 logits of 2 or -2, of which 12 are right, so sigmoid(2 / T) = 3/4."""
    logits = np.tile([2.0, -2.0], (8, 1))
    labels = np.tile([1, 0], (8, 1))
    labels[:2] = [0, 1]
    assert fit_temperature(logits, labels) == pytest.approx(2 / np.log(3), rel=1e-4)


def test_the_temperature_is_the_best_of_a_grid() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(300, 4)) * 3
    labels = logits.argmax(1)
    labels[draw.random(300) < 0.3] = 1
    grid = np.geomspace(0.2, 10, 400)
    best = min(grid, key=lambda t: negative_log_likelihood(logits / t, labels))
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=0.02)


def test_a_temperature_has_bounds_and_needs_rows() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(1 / LARGEST, rel=1e-3)
    assert fit_temperature(-logits, np.array([0, 1])) == pytest.approx(LARGEST, rel=1e-3)
    assert fit_temperature(logits[:0], np.array([])) == 1

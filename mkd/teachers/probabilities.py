"""A teacher's probabilities as logits.

Axes: B rows, C classes.
"""

import numpy as np
from scipy.special import logit

PROBABILITIES = "probabilities"
"""Column of a file of answers."""
FLOOR = 1e-6
"""Minimum probability, because the logarithm of 0 is infinite. With several labels a row, 1 - FLOOR
is the maximum."""
TOLERANCE = 0.02
"""Maximum difference of the sum of the probabilities from 1, which allows for rounding."""


def not_probabilities(numbers: list[float], multilabel: bool) -> str:
    """Returns "" if the numbers are probabilities, else a description of what is allowed."""
    if not all(0 <= number <= 1 for number in numbers):
        return "numbers from 0 to 1"
    if not multilabel and abs(sum(numbers) - 1) > TOLERANCE:
        return f"numbers that add up to 1 (these: {sum(numbers):.4g})"
    return ""


def as_logits(chances_BC: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns logits whose softmax, or sigmoid with several labels a row, are these probabilities.

    These are log p, or log(p / (1 - p)), with p from FLOOR on.
    """
    if multilabel:
        logits_BC: np.ndarray = logit(chances_BC.clip(FLOOR, 1 - FLOOR))
    else:
        logits_BC = np.log(chances_BC.clip(FLOOR) / chances_BC.sum(1, keepdims=True))
    return logits_BC

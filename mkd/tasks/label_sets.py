"""Labels of rows as arrays: one number a row, and for multilabel tasks a set of classes a row.

Axes: R rows, C classes, P bytes that hold a bit for each class.
"""

from collections.abc import Sequence

import numpy as np

from mkd.tasks.task import Row


def row_labels(rows: Sequence[Row]) -> np.ndarray:
    """Returns the labels [R] float64, NaN for rows without a label."""
    return np.array([np.nan if row.label is None else row.label for row in rows], "<f8")


def packed_sets(rows: Sequence[Row], classes: int) -> np.ndarray:
    """Returns the classes of each row of a multilabel task as bits [R, P] uint8.

    A row without a label has no classes here; `row_labels` tells it apart.
    """
    sets_RC = np.zeros((len(rows), classes), dtype=np.uint8)
    for place, row in enumerate(rows):
        sets_RC[place, list(row.classes)] = 1
    return np.packbits(sets_RC, axis=1)


def unpacked_sets(sets_RP: np.ndarray, classes: int) -> np.ndarray:
    """Returns the bits of `packed_sets` as 0 and 1 [R, C] uint8."""
    return np.unpackbits(sets_RP, axis=1, count=classes)


def packed_bytes(classes: int) -> int:
    """Returns P, the number of bytes that hold a row's classes."""
    return -(-classes // 8)

"""Confidence intervals of a mean over seeds."""

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit

TAIL = 0.975
"""Upper quantile of a two-sided 95 % interval; the lower one is 1 - TAIL."""


def t_quantile(freedom: int) -> float:
    """Returns the TAIL quantile of Student's t distribution with `freedom` degrees of freedom."""
    return float(stdtrit(freedom, TAIL))


def half_width(values: Sequence[float]) -> float | None:
    """Returns half the width of the 95 % interval of the mean, t(n - 1) * sd / sqrt(n).

    Returns None for fewer than two values, which have no spread.
    """
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def interval_text(middle: float, half: float | None) -> str:
    """Returns the interval of a difference as text, such as `+0.10 to +2.50`; `-` if unknown.

    `middle` is the mean and `half` is from `half_width`.
    """
    return "-" if half is None else f"{middle - half:+z.2f} to {middle + half:+z.2f}"

"""How far a mean over seeds may be off."""

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit

TAIL = 0.975
"""An interval ends here and at 1 - TAIL: it is to hold what it is of in 95 of 100 cases."""


def t_quantile(freedom: int) -> float:
    """Student's t at TAIL."""
    return float(stdtrit(freedom, TAIL))


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean, t(n - 1) * sd / sqrt(n); None for one value, which tells no spread."""
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def interval_text(middle: float, half: float | None) -> str:
    """`+0.10 to +2.50` of a difference; a dash where it is not known."""
    return "-" if half is None else f"{middle - half:+.2f} to {middle + half:+.2f}"

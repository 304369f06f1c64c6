"""Quality against cost: which models no other one beats at both, and how much of the plane they cover.

Axes: N models. Quality counts up, in points; cost (milliseconds, bytes) counts down and is above 0.
"""

from typing import NamedTuple

import numpy as np


class Reference(NamedTuple):
    """The corner that a hypervolume is measured from: models that are worse than it in either way add nothing."""

    quality: float
    cost: float


def front(quality_N: np.ndarray, cost_N: np.ndarray) -> np.ndarray:
    """Which models [N] bool are on the Pareto front: none other has at least the quality at no more cost, and one of both better.

    Of models that are equal in both all are on it, or none. One whose quality or cost is not a number is not.
    """
    quality_N, cost_N = np.asarray(quality_N, dtype=float), np.asarray(cost_N, dtype=float)
    known_N = ~(np.isnan(quality_N) | np.isnan(cost_N))
    found_N = np.zeros(len(quality_N), dtype=bool)
    best, best_cost = -np.inf, np.nan
    for place in np.lexsort((-quality_N, cost_N)):
        equal = quality_N[place] == best and cost_N[place] == best_cost
        if known_N[place] and (quality_N[place] > best or equal):
            found_N[place], best, best_cost = True, quality_N[place], cost_N[place]
    return found_N


def hypervolume(quality_N: np.ndarray, cost_N: np.ndarray, reference: Reference) -> float:
    """The area that the front covers in the plane of log10(cost) and quality, in points times decades of cost.

    It is the best quality under a budget, less the reference's, integrated over the budget's logarithm from the least cost up
    to the reference's (Zitzler and Thiele 1999, for two objectives).
    """
    quality_N, cost_N = np.asarray(quality_N, dtype=float), np.asarray(cost_N, dtype=float)
    inside_N = front(quality_N, cost_N) & (quality_N > reference.quality) & (cost_N < reference.cost)
    order = np.argsort(cost_N[inside_N])
    decades = np.log10(cost_N[inside_N][order])
    widths = np.diff(decades, append=np.log10(reference.cost))
    return float(((quality_N[inside_N][order] - reference.quality) * widths).sum())


def hypervolumes(quality_N: np.ndarray, cost_N: np.ndarray, reference: Reference) -> list[float]:
    """The hypervolume of the first model, of the first two, and so on [N]."""
    return [hypervolume(quality_N[:n], cost_N[:n], reference) for n in range(1, len(quality_N) + 1)]

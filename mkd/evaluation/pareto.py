"""Quality against cost: the Pareto front of models, and its hypervolume.

Axes: N models. Quality is in points, higher is better. Cost (milliseconds, bytes) is above 0, lower
is better.
"""

from typing import NamedTuple

import numpy as np


class Reference(NamedTuple):
    """The reference point of a hypervolume. Models worse in quality or cost add nothing."""

    quality: float
    cost: float


def front(quality_N: np.ndarray, cost_N: np.ndarray) -> np.ndarray:
    """Returns which models are on the Pareto front, as a mask [N] bool.

    A model is on it if no other model has at least its quality at no more cost, and is better in
    one of both. Of models with equal quality and cost, all are on the front or none is. A model
    whose quality or cost is NaN is not on it.
    """
    quality_N, cost_N = np.asarray(quality_N, dtype=float), np.asarray(cost_N, dtype=float)
    known_N = ~(np.isnan(quality_N) | np.isnan(cost_N))
    on_front_N = np.zeros(len(quality_N), dtype=bool)
    best, best_cost = -np.inf, np.nan
    # By rising cost, the better model first among equal costs: a model is on the front if it is
    # better than all before it, or an exact copy of the best so far.
    for place in np.lexsort((-quality_N, cost_N)):
        equal = quality_N[place] == best and cost_N[place] == best_cost
        if known_N[place] and (quality_N[place] > best or equal):
            on_front_N[place], best, best_cost = True, quality_N[place], cost_N[place]
    return on_front_N


def hypervolume(quality_N: np.ndarray, cost_N: np.ndarray, reference: Reference) -> float:
    """Returns the area between the front and the reference, in points times decades of cost.

    This is the best quality within a budget, minus the reference's quality, integrated over log10
    of the budget from the lowest cost to the reference's cost (Zitzler and Thiele 1999, for two
    objectives).
    """
    quality_N, cost_N = np.asarray(quality_N, dtype=float), np.asarray(cost_N, dtype=float)
    inside_N = (
        front(quality_N, cost_N) & (quality_N > reference.quality) & (cost_N < reference.cost)
    )
    order = np.argsort(cost_N[inside_N])
    decades = np.log10(cost_N[inside_N][order])
    # A step function: each front model's quality holds until the cost of the next one.
    widths = np.diff(decades, append=np.log10(reference.cost))
    return float(((quality_N[inside_N][order] - reference.quality) * widths).sum())


def hypervolumes(quality_N: np.ndarray, cost_N: np.ndarray, reference: Reference) -> list[float]:
    """Returns the hypervolumes of the first model, the first two models, and so on [N]."""
    return [hypervolume(quality_N[:n], cost_N[:n], reference) for n in range(1, len(quality_N) + 1)]

"""Quality against a cost (milliseconds, throughput, bytes): the numbers of the main pictures.

They show all models, the front, teachers and hard-label twins.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from mkd.evaluation.pareto import front

MOST_NAMED = 12
"""Maximum number of models of the front that a picture names."""
MARGIN = 0.08
"""Free space below the lowest point that is shown, as a share of the height."""


DENSE = 500
"""With more models than this, those off the front are drawn as a bitmap, also in an SVG."""


class Cost(NamedTuple):
    """A cost of a model.

    column, teachers: columns of the table, for models and for teachers.
    words: label of the axis.
    scale: factor from the column's unit to that of the label.
    """

    column: str
    teachers: str
    words: str
    scale: float = 1.0
    less_is_better: bool = True


COSTS = {
    "latency": Cost("latency_ms", "teacher_latency_ms", "median latency of one row, ms"),
    "throughput": Cost("rows_per_s", "teacher_rows_per_s", "rows a second", less_is_better=False),
    "size": Cost("num_bytes", "", "weights on disk, MB", 1e-6),
}
"""Costs by the name of their picture."""


class Point(NamedTuple):
    """One model.

    low, high: interval over seeds, NaN with one seed.
    area: of its mark, in square points.
    """

    label: str
    kind: str
    cost: float
    quality: float
    low: float
    high: float
    area: float
    front: bool
    named: bool


class Mark(NamedTuple):
    """A reference for the models: a teacher, or the hard-label twin of a model."""

    label: str
    cost: float
    quality: float


class Info(NamedTuple):
    """The numbers of the picture.

    points: first the front in the order of its cost, then the other models.
    line: corners of the line that shows the best model at each cost.
    bottom: the lowest quality that is shown.
    top: the end of the axis.
    below: number of models below `bottom`.
    dense: too many models for separate shapes.
    title, small: lines above and below the picture.

    The front is chosen by the selection split and drawn at its quality on dev. The best of many
    models on dev would also be the luckiest one.
    """

    points: list[Point]
    line: list[tuple[float, float]]
    teachers: list[Mark]
    twins: list[Mark]
    bottom: float
    top: float
    below: int
    dense: bool
    cost: str
    quality: str
    less_is_better: bool
    title: str
    small: str


def info(
    models: pd.DataFrame, cost: str = "latency", task: str = "", title: str = "", small: str = ""
) -> Info | None:
    """Computes the picture's numbers for models that were timed on one machine.

    cost: one of COSTS.
    task: the task whose score is drawn. Empty: the mean score.
    Returns None if no model has both cost and score.
    """
    how = COSTS[cost]
    score, chosen_by, teacher, twin = (
        f"{kind}/{task}" for kind in ("score", "selection", "teacher", "baseline")
    )
    if not task:
        score, chosen_by, teacher, twin = "mean", "selection", "teacher_mean", "baseline_mean"
    known = (
        models[models[how.column].notna() & models[score].notna()]
        if score in models
        else models.iloc[:0]
    )
    if known.empty:
        return None
    costs, scores = known[how.column].to_numpy(float) * how.scale, known[score].to_numpy(float)
    choice = (
        known[chosen_by].to_numpy(float) if chosen_by in known else np.full(len(known), math.nan)
    )
    # front() minimises the cost. A cost of which more is better changes its sign.
    on_front = front(choice, costs if how.less_is_better else -costs)
    points = _points(known, costs, scores, on_front, task == "")
    chosen = known[on_front] if how.less_is_better else known[on_front].iloc[::-1]
    twins = _twins(chosen, how, twin)
    teachers = _teachers(known, how, teacher)
    bottom = _bottom(
        [point.quality for point in points if point.front] + [mark.quality for mark in twins],
        scores,
    )
    highest = max([float(scores.max()), *(mark.quality for mark in [*twins, *teachers])])
    return Info(
        points,
        _line([(point.cost, point.quality) for point in points if point.front], how.less_is_better),
        teachers,
        sorted(twins, key=lambda mark: mark.cost),
        bottom,
        highest + 0.1 * max(highest - bottom, 1.0),
        int((scores < bottom).sum()),
        len(known) > DENSE,
        how.words,
        f"{task} on dev, points" if task else "mean score on dev, points",
        how.less_is_better,
        title,
        small,
    )


def _points(
    models: pd.DataFrame, costs: np.ndarray, scores: np.ndarray, on_front: np.ndarray, mean: bool
) -> list[Point]:
    """Returns the models as points, those of the front first."""
    # lexsort sorts by its last key first: the front, then the cost.
    order = np.lexsort((costs, ~on_front))
    named = set(_named([int(place) for place in order if on_front[place]]))
    largest = float(models["num_bytes"].max())
    nothing = np.full(len(models), math.nan)
    lows, highs = (models[name].to_numpy(float) if mean else nothing for name in ("low", "high"))
    sizes = models["num_bytes"].to_numpy(float)
    return [
        Point(
            models["label"].iloc[place],
            models["student_kind"].iloc[place],
            float(costs[place]),
            float(scores[place]),
            float(lows[place]),
            float(highs[place]),
            area(float(sizes[place]), largest),
            bool(on_front[place]),
            place in named,
        )
        for place in order
    ]


def area(num_bytes: float, largest: float) -> float:
    """Returns the area of a mark in square points.

    It grows from 30 for no bytes to 260 for the largest model, and is 60 if the bytes are unknown.
    """
    return 60.0 if math.isnan(num_bytes) or not largest > 0 else 30 + 230 * num_bytes / largest


def _named(places: list[int]) -> list[int]:
    """Returns all of the front, or MOST_NAMED at even distances with the first and the last."""
    if len(places) <= MOST_NAMED:
        return places
    return [
        places[round(index * (len(places) - 1) / (MOST_NAMED - 1))] for index in range(MOST_NAMED)
    ]


def _line(front: list[tuple[float, float]], less_is_better: bool) -> list[tuple[float, float]]:
    """Returns the corners of the line that shows the quality of the chosen model at each cost.

    If less is better, the line stays at a model's quality up to the cost of the next one. If more
    is better, it takes the next one's quality as soon as it is beyond the model's own cost.
    """
    found = front[:1]
    for before, after in zip(front, front[1:], strict=False):
        found += [(after[0], before[1]) if less_is_better else (before[0], after[1]), after]
    return found


def _teachers(models: pd.DataFrame, how: Cost, score: str) -> list[Mark]:
    """Returns each teacher at the medians of what was measured in its students' runs."""
    if how.teachers not in models or score not in models:
        return []
    known = models.dropna(subset=[how.teachers, score])
    return [
        Mark(str(name), float(part[how.teachers].median()) * how.scale, float(part[score].median()))
        for name, part in known.groupby("teacher")
    ]


def _twins(models: pd.DataFrame, how: Cost, score: str) -> list[Mark]:
    """Returns the hard-label twins of the front's models, at the same cost."""
    known = models.dropna(subset=[score]) if score in models else models.iloc[:0]
    cells = zip(known["label"], known[how.column], known.get(score, []), strict=True)
    return [Mark(label, float(cost) * how.scale, float(quality)) for label, cost, quality in cells]


def _bottom(shown: list[float], scores: np.ndarray) -> float:
    """Returns the lowest quality that is shown.

    It is the lowest quality in `shown` less a margin. It is lower if this shows all but a twentieth
    of the models without making the picture much higher.
    """
    shown = shown or scores.tolist()  # if no model could be chosen
    low, high, most = min(shown), max(shown), float(np.quantile(scores, 0.05))
    least = low - max(MARGIN * (high - low), 1.0)
    return min(least, most - 0.5) if most > low - 0.6 * (high - low) else least

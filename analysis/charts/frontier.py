"""Quality against what it costs (milliseconds, throughput, bytes): every model, the front, teachers and hard-label twins."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from mkd.evaluation.pareto import front

MOST_NAMED = 12
"""Models of the front that are named in a picture."""
MARGIN = 0.08
"""Share of the height that is left free below the lowest point that is shown."""


DENSE = 500
"""Models from which on those off the front are dots of a bitmap, also in an SVG."""


class Cost(NamedTuple):
    """What a model is measured by. column, teachers: of the table; scale: to the unit of the words."""

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
"""By the picture's name."""


class Point(NamedTuple):
    """One model. low, high: over seeds, NaN where there is one seed. area: of its mark, in square points."""

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
    """Something that models are beside: a teacher, or the twin of a model that learnt from labels alone."""

    label: str
    cost: float
    quality: float


class Info(NamedTuple):
    """points: the front's in the order of their cost, then the others. line: the corners of what is chosen under each cost.

    The front is chosen by the selection split, and drawn at its quality on dev: the best of many on dev would be the luckiest
    too. bottom: the lowest quality that is shown, top: the end of the axis; below: models that are under the lowest. dense: too
    many for shapes of their own. title, small: lines above and below the picture.
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


def info(models: pd.DataFrame, cost: str = "latency", task: str = "", title: str = "", small: str = "") -> Info | None:
    """Of models timed on one machine. cost: of COSTS; task: its score, instead of the mean's. None where no model has both."""
    how = COSTS[cost]
    score, chosen_by, teacher, twin = (f"{kind}/{task}" for kind in ("score", "selection", "teacher", "baseline"))
    if not task:
        score, chosen_by, teacher, twin = "mean", "selection", "teacher_mean", "baseline_mean"
    known = models[models[how.column].notna() & models[score].notna()] if score in models else models.iloc[:0]
    if known.empty:
        return None
    costs, scores = known[how.column].to_numpy(float) * how.scale, known[score].to_numpy(float)
    choice = known[chosen_by].to_numpy(float) if chosen_by in known else np.full(len(known), math.nan)
    on_front = front(choice, costs if how.less_is_better else -costs)
    points = _points(known, costs, scores, on_front, task == "")
    chosen = known[on_front] if how.less_is_better else known[on_front].iloc[::-1]
    twins = _twins(chosen, how, twin)
    teachers = _teachers(known, how, teacher)
    bottom = _bottom([point.quality for point in points if point.front] + [mark.quality for mark in twins], scores)
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


def _points(models: pd.DataFrame, costs: np.ndarray, scores: np.ndarray, on_front: np.ndarray, mean: bool) -> list[Point]:
    order = np.lexsort((costs, ~on_front))
    named = set(_named([int(place) for place in order if on_front[place]]))
    largest = float(models["num_bytes"].max())
    nothing = np.full(len(models), math.nan)
    lows, highs = (models[name].to_numpy(float) if mean else nothing for name in ("low", "high"))
    sizes = models["num_bytes"].to_numpy(float)
    return [
        Point(
            models["label"].iloc[place], models["student_kind"].iloc[place], float(costs[place]), float(scores[place]),
            float(lows[place]), float(highs[place]), area(float(sizes[place]), largest), bool(on_front[place]), place in named,
        )
        for place in order
    ]  # fmt: skip


def area(num_bytes: float, largest: float) -> float:
    """Of a mark, from 30 square points for no bytes to 260 for the largest model; 60 where the bytes are not known."""
    return 60.0 if math.isnan(num_bytes) or not largest > 0 else 30 + 230 * num_bytes / largest


def _named(places: list[int]) -> list[int]:
    """All of the front, or MOST_NAMED of it, evenly, the first and the last among them."""
    if len(places) <= MOST_NAMED:
        return places
    return [places[round(index * (len(places) - 1) / (MOST_NAMED - 1))] for index in range(MOST_NAMED)]


def _line(front: list[tuple[float, float]], less_is_better: bool) -> list[tuple[float, float]]:
    """The corners of what is chosen at each cost or better: from one model of the front it is level up to the next one's cost,
    or, where more is better, beyond its own it is the next one's."""
    found = front[:1]
    for before, after in zip(front, front[1:], strict=False):
        found += [(after[0], before[1]) if less_is_better else (before[0], after[1]), after]
    return found


def _teachers(models: pd.DataFrame, how: Cost, score: str) -> list[Mark]:
    """Each teacher at the median of what was measured of it beside its students."""
    if how.teachers not in models or score not in models:
        return []
    known = models.dropna(subset=[how.teachers, score])
    return [
        Mark(str(name), float(part[how.teachers].median()) * how.scale, float(part[score].median()))
        for name, part in known.groupby("teacher")
    ]


def _twins(models: pd.DataFrame, how: Cost, score: str) -> list[Mark]:
    """What the front's models score that learnt from the labels alone, at the same cost."""
    known = models.dropna(subset=[score]) if score in models else models.iloc[:0]
    cells = zip(known["label"], known[how.column], known.get(score, []), strict=True)
    return [Mark(label, float(cost) * how.scale, float(quality)) for label, cost, quality in cells]


def _bottom(shown: list[float], scores: np.ndarray) -> float:
    """The lowest that has to be seen, less a margin; lower where no more than a twentieth of the models would be cut off."""
    shown = shown or scores.tolist()  # of none that could be chosen
    low, high, most = min(shown), max(shown), float(np.quantile(scores, 0.05))
    least = low - max(MARGIN * (high - low), 1.0)
    return min(least, most - 0.5) if most > low - 0.6 * (high - low) else least

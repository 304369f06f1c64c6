"""Quality against a cost (milliseconds, throughput, bytes): the main pictures.

They show all models, the front, teachers and hard-label twins. The front is chosen by the selection
split and drawn at its score on dev. The best of many models on dev would also be the luckiest one.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.figure import new_figure
from analysis.presentation.front_plot import (
    FrontPlot,
    Mark,
    ModelPoint,
    draw_front,
    finish_front,
    front_line,
    named_places,
)
from mkd.evaluation.pareto import front

MARGIN = 0.08
"""Free space below the lowest point that is shown, as a share of the height."""


TALLER = 2.0
"""A picture is made so many times higher at most to show a teacher below its students."""
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


def info(
    models: pd.DataFrame, cost: str = "latency", task: str = "", title: str = "", small: str = ""
) -> FrontPlot | None:
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
    least = highest - TALLER * (highest - bottom)
    near = [mark.quality for mark in teachers if mark.quality > least]
    bottom = min([bottom, *(quality - 1.0 for quality in near)])
    return FrontPlot(
        points,
        front_line(
            [(point.cost, point.quality) for point in points if point.front], how.less_is_better
        ),
        [_inside(mark, bottom) for mark in teachers],
        sorted(twins, key=lambda mark: mark.cost),
        how.words,
        f"{task} on dev, points" if task else "mean score on dev, points",
        bottom,
        highest + 0.1 * max(highest - bottom, 1.0),
        int((scores < bottom).sum()),
        len(known) > DENSE,
        how.less_is_better,
        title,
        small,
    )


def _points(
    models: pd.DataFrame, costs: np.ndarray, scores: np.ndarray, on_front: np.ndarray, mean: bool
) -> list[ModelPoint]:
    """Returns the models as points, those of the front first."""
    # lexsort sorts by its last key first: the front, then the cost.
    order = np.lexsort((costs, ~on_front))
    named = named_places([bool(on_front[place]) for place in order])
    largest = float(models["num_bytes"].max())
    nothing = np.full(len(models), math.nan)
    lows, highs = (models[name].to_numpy(float) if mean else nothing for name in ("low", "high"))
    sizes = models["num_bytes"].to_numpy(float)
    return [
        ModelPoint(
            models["label"].iloc[place],
            models["student_kind"].iloc[place],
            float(costs[place]),
            float(scores[place]),
            float(lows[place]),
            float(highs[place]),
            area(float(sizes[place]), largest),
            bool(on_front[place]),
            rank in named,
        )
        for rank, place in enumerate(order)
    ]


def area(num_bytes: float, largest: float) -> float:
    """Returns the area of a mark in square points.

    It grows from 30 for no bytes to 260 for the largest model, and is 60 if the bytes are unknown.
    """
    return 60.0 if math.isnan(num_bytes) or not largest > 0 else 30 + 230 * num_bytes / largest


def _teachers(models: pd.DataFrame, how: Cost, score: str) -> list[Mark]:
    """Returns each teacher at the medians of what was measured in its students' runs."""
    if how.teachers not in models or score not in models:
        return []
    known = models.dropna(subset=[how.teachers, score])
    return [
        Mark(str(name), float(part[how.teachers].median()) * how.scale, float(part[score].median()))
        for name, part in known.groupby("teacher")
    ]


def _inside(teacher: Mark, bottom: float) -> Mark:
    """Returns the mark of a teacher. One far below its students is on the axis, with its score."""
    if teacher.quality >= bottom:
        return teacher
    return Mark(f"{teacher.label}: {teacher.quality:.1f}, below", teacher.cost, bottom)


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


def draw(plot: FrontPlot) -> Figure:
    """Draws one picture, with the legend and the small print below it."""
    figure = new_figure(10, 6.4)
    axes = figure.subplots()
    draw_front(axes, plot)
    finish_front(axes, plot)
    return figure

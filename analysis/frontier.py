"""Quality against what it costs (milliseconds, throughput, bytes): every model, the front, teachers and hard-label twins."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.placing import placed
from analysis.style import INK, LOOKS, TEACHER, TWIN, bare, explained, log_axis, look, new_figure, settled
from mkd.pareto import front

MOST_NAMED = 12
"""Models of the front that are named in a picture."""
MARGIN = 0.08
"""Share of the height that is left free below the lowest point that is shown."""


DENSE = 500
"""Models from which on those off the front are dots of a bitmap, also in an SVG."""
PALE: dict[str, Any] = {"alpha": 0.28, "linewidth": 0, "zorder": 1}
STRONG: dict[str, Any] = {"alpha": 0.95, "edgecolor": "white", "linewidth": 0.9, "zorder": 4}
"""How models are drawn off the front, and on it."""


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
    """points: the front's in the order of their cost, then the others. line: the corners of the best quality under each cost.

    bottom: the lowest quality that is shown; below: models that are under it. dense: too many for shapes of their own. title,
    small: lines above and below the picture.
    """

    points: list[Point]
    line: list[tuple[float, float]]
    teachers: list[Mark]
    twins: list[Mark]
    bottom: float
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
    score, teacher, twin = (f"{kind}/{task}" for kind in ("score", "teacher", "baseline"))
    if not task:
        score, teacher, twin = "mean", "teacher_mean", "baseline_mean"
    known = models[models[how.column].notna() & models[score].notna()] if score in models else models.iloc[:0]
    if known.empty:
        return None
    costs, scores = known[how.column].to_numpy(float) * how.scale, known[score].to_numpy(float)
    on_front = front(scores, costs if how.less_is_better else -costs)
    points = _points(known, costs, scores, on_front, task == "")
    chosen = known[on_front] if how.less_is_better else known[on_front].iloc[::-1]
    twins = _twins(chosen, how, twin)
    bottom = _bottom([point.quality for point in points if point.front] + [mark.quality for mark in twins], scores)
    return Info(
        points,
        _line([(point.cost, point.quality) for point in points if point.front], how.less_is_better),
        _teachers(known, how, teacher),
        sorted(twins, key=lambda mark: mark.cost),
        bottom,
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
    """The corners of the best quality at each cost or better: from one model of the front it is level up to the next one's cost,
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
    low, high, most = min(shown), max(shown), float(np.quantile(scores, 0.05))
    least = low - max(MARGIN * (high - low), 1.0)
    return min(least, most - 0.5) if most > low - 0.6 * (high - low) else least


def draw(info: Info) -> Figure:
    """One plane; below it what the marks mean, and the small print."""
    figure = new_figure(10, 6.4)
    axes = figure.subplots()
    plane(axes, info)
    axes.set_title(info.title, loc="left", fontsize=13, color=INK, pad=14, linespacing=1.5)
    explained(figure, legend(info), info.small)
    settled(figure)
    names(axes, info)
    return figure


def plane(axes: Axes, info: Info, size: float = 1.0) -> None:
    """All marks, without their names. size: of the marks, as a share."""
    log_axis(axes, [point.cost for point in info.points] + [mark.cost for mark in info.teachers])
    bare(axes)
    axes.plot(*zip(*info.line, strict=True), color="#9a9a9a", linewidth=1.6, zorder=2)
    for on_front, how in ((False, PALE), (True, STRONG)):
        for kind in dict.fromkeys(point.kind for point in info.points):
            some = [point for point in info.points if point.kind == kind and point.front == on_front]
            costs, (colour, marker) = [point.cost for point in some], look(kind)
            bitmap = info.dense and not on_front
            areas, scores = [point.area * size for point in some], [point.quality for point in some]
            axes.scatter(costs, scores, s=areas, color=colour, marker=marker, rasterized=bitmap, **how)
            bars = {"color": colour, "linewidth": 1.3, "alpha": how["alpha"], "zorder": 3, "rasterized": bitmap}
            axes.vlines(costs, [point.low for point in some], [point.high for point in some], **bars)
    _marks(axes, info.twins, s=34 * size, marker=TWIN.marker, facecolor="white", edgecolor=TWIN.colour, zorder=3)
    _marks(axes, info.teachers, s=230 * size, marker=TEACHER.marker, color=TEACHER.colour, zorder=5)
    axes.set_ylim(bottom=info.bottom)
    axes.margins(x=0.06, y=0.1)
    axes.set_xlabel(info.cost)
    axes.set_ylabel(info.quality)


def _marks(axes: Axes, marks: list[Mark], **how: Any) -> None:
    axes.scatter([mark.cost for mark in marks], [mark.quality for mark in marks], **how)


def names(axes: Axes, info: Info) -> None:
    """The names of the front's models and of the teachers, where they cover nothing; the figure has been laid out before."""
    named = [Mark(p.label, p.cost, p.quality) for p in info.points if p.named] + info.teachers
    seen = [(p.cost, p.quality) for p in info.points if p.front] + [(m.cost, m.quality) for m in [*info.teachers, *info.twins]]
    points, taken = (
        [tuple(row) for row in axes.transData.transform(found)] for found in ([(m.cost, m.quality) for m in named], seen)
    )
    per_point = axes.figure.dpi / 72
    sizes = [((0.56 * len(mark.label) * 9 + 4) * per_point, 12 * per_point) for mark in named]
    box = axes.get_window_extent()
    for mark, point, place in zip(named, points, placed(points, sizes, taken, (box.x0, box.y0, box.x1, box.y1)), strict=True):
        if place is not None:
            line = {"arrowstyle": "-", "color": "#b0b0b0", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4} if place.far else None
            offset = ((place.x - point[0]) / per_point, (place.y - point[1]) / per_point)
            axes.annotate(
                mark.label, (mark.cost, mark.quality), offset, textcoords="offset points", ha="center", va="center", fontsize=9,
                color=INK, zorder=6, arrowprops=line, bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )  # fmt: skip


def legend(info: Info) -> list[Line2D]:
    """What the marks mean, of those that there are."""

    def mark(label: str, colour: str, marker: str, size: float = 8, **more: object) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=size, label=label, **more)  # type: ignore[arg-type]

    kinds = {point.kind for point in info.points}
    found = [mark(kind, each.colour, each.marker) for kind, each in LOOKS.items() if kind in kinds]
    found += [mark("other", *LOOKS["other"])] if kinds - LOOKS.keys() else []
    found.append(Line2D([], [], color="#9a9a9a", linewidth=1.6, label="best for its cost"))
    found += [mark("teacher", TEACHER.colour, TEACHER.marker, 13)] if info.teachers else []
    found += [mark("same student, labels alone", TWIN.colour, TWIN.marker, 6, markerfacecolor="white")] if info.twins else []
    return found

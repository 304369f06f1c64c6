"""Draws quality against cost: models, the front, teachers and hard-label twins.

A run, a search and the report all draw their pictures with it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.presentation.figure import (
    Obstacles,
    TextLabel,
    add_legend,
    count_note,
    fix_layout,
    log_axis,
    sentences,
    set_title,
    style_axes,
    write_labels,
)
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import (
    FAINT,
    GREY,
    KINDS,
    OTHER,
    STUDENT_LOOKS,
    TEACHER_LOOK,
    TWIN_LOOK,
    look,
)

PALE: dict[str, Any] = {"alpha": 0.28, "linewidth": 0, "zorder": 1}
STRONG: dict[str, Any] = {"alpha": 0.95, "edgecolor": "white", "linewidth": 0.9, "zorder": 4}
"""Style of models off the front, and style of models on it."""
LIMIT: dict[str, Any] = {"color": FAINT, "linewidth": 1.2, "linestyle": ":"}
"""Style of the line of a limit."""
TEACHER_AREA, TWIN_AREA = 230.0, 34.0
"""Areas of their marks, in square points."""
MOST_NAMED = 12
"""Maximum number of models that a picture names."""


class ModelPoint(NamedTuple):
    """One model.

    kind: selects the look (analysis/presentation/palette.py).
    low, high: 95 % interval of the quality, NaN if unknown.
    area: of its mark, in square points.
    """

    label: str
    kind: str
    cost: float
    quality: float
    low: float = math.nan
    high: float = math.nan
    area: float = 60.0
    front: bool = True
    named: bool = True


class Mark(NamedTuple):
    """A reference for the models: a teacher, or the hard-label twin of a model."""

    label: str
    cost: float
    quality: float


class FrontPlot(NamedTuple):
    """The numbers of one picture of quality against cost.

    points: first the front in the order of its cost, then the other models.
    line: corners of the line that shows the quality of the chosen model at each cost.
    cost, quality: labels of the axes.
    bottom, top: ends of the axis of quality; NaN: as the points need it.
    below: number of models below `bottom`.
    dense: too many models for separate shapes.
    title, small: lines above and below the picture.
    limits: costs that are drawn as vertical lines, with their names in the legend.
    """

    points: list[ModelPoint]
    line: list[tuple[float, float]]
    teachers: list[Mark]
    twins: list[Mark]
    cost: str
    quality: str
    bottom: float = math.nan
    top: float = math.nan
    below: int = 0
    dense: bool = False
    less_is_better: bool = True
    title: str = ""
    small: str = ""
    limits: tuple[tuple[str, float], ...] = ()


def front_line(
    front: list[tuple[float, float]], less_is_better: bool = True
) -> list[tuple[float, float]]:
    """Returns the corners of the line that shows the quality of the chosen model at each cost.

    If less is better, the line stays at a model's quality up to the cost of the next one. If more
    is better, it takes the next one's quality as soon as it is beyond the model's own cost.

    front: cost and quality of the front's models, by rising cost.
    """
    corners = front[:1]
    for before, after in zip(front, front[1:], strict=False):
        corners += [(after[0], before[1]) if less_is_better else (before[0], after[1]), after]
    return corners


def draw_front(axes: Axes, plot: FrontPlot, size: float = 1.0) -> None:
    """Draws all marks, without their labels.

    size: factor on the area of the marks.
    """
    log_axis(axes, _xy([*plot.points, *plot.teachers, *plot.twins])[0])
    style_axes(axes)
    axes.plot(
        [x for x, _ in plot.line], [y for _, y in plot.line], color=GREY, linewidth=1.6, zorder=2
    )
    for on_front, style in ((False, PALE), (True, STRONG)):
        some = [point for point in plot.points if point.front == on_front]
        for kind in dict.fromkeys(point.kind for point in some):
            alike = [point for point in some if point.kind == kind]
            _draw_models(axes, alike, size, style, plot.dense and not on_front)
    twins: dict[str, Any] = {"facecolor": "white", "edgecolor": TWIN_LOOK.colour, "zorder": 3}
    # Not cut off on the axis, where a teacher far below its students stands.
    teachers: dict[str, Any] = {"color": TEACHER_LOOK.colour, "zorder": 5, "clip_on": False}
    axes.scatter(*_xy(plot.twins), s=TWIN_AREA * size, marker=TWIN_LOOK.marker, **twins)
    axes.scatter(*_xy(plot.teachers), s=TEACHER_AREA * size, marker=TEACHER_LOOK.marker, **teachers)
    # A line alone would give the axis no width.
    for _, cost in plot.limits if plot.points else ():
        axes.axvline(cost, **LIMIT)
    axes.margins(x=0.06)
    # Bars are cut off. Those of two seeds are so long that all else would be squeezed together.
    if not math.isnan(plot.bottom):
        axes.set_ylim(plot.bottom, plot.top)
    axes.set_xlabel(plot.cost)
    axes.set_ylabel(plot.quality)


def _draw_models(
    axes: Axes, points: list[ModelPoint], size: float, style: dict[str, Any], bitmap: bool
) -> None:
    """Draws models of one kind, with bars for their intervals."""
    colour, marker = look(points[0].kind).colour, look(points[0].kind).marker
    areas = [point.area * size for point in points]
    xs, ys = _xy(points)
    axes.scatter(xs, ys, s=areas, color=colour, marker=marker, rasterized=bitmap, **style)
    axes.vlines(
        xs, [point.low for point in points], [point.high for point in points],
        color=colour, linewidth=1.3, alpha=style["alpha"], zorder=3, rasterized=bitmap,
    )  # fmt: skip


def _xy(marks: Sequence[ModelPoint | Mark]) -> tuple[list[float], list[float]]:
    """Returns costs and qualities."""
    return [mark.cost for mark in marks], [mark.quality for mark in marks]


def named_places(on_front: Sequence[bool]) -> set[int]:
    """Returns the places of the models that a picture names.

    These are all of up to MOST_NAMED models. Of more, they are those of the front, or MOST_NAMED of
    them at even distances with the first and the last.
    """
    if len(on_front) <= MOST_NAMED:
        return set(range(len(on_front)))
    front = [place for place, is_front in enumerate(on_front) if is_front]
    return {front[index] for index in evenly(len(front), MOST_NAMED)}


def finish_front(axes: Axes, plot: FrontPlot) -> None:
    """Adds title, legend and small print around the picture, and then the names of the models.

    The small print says how many models are named.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    number = len(plot.points) + len(plot.teachers)
    if plot.title:
        set_title(figure, plot.title)
    add_legend(figure, front_legend(plot), sentences(plot.small, count_note(number, number)))
    fix_layout(figure)
    label_front(axes, plot)


def label_front(axes: Axes, plot: FrontPlot) -> None:
    """Writes the names of the teachers and of models where they cover nothing.

    The layout of the figure has to be final, because the places are computed in pixels.
    """
    shown = [point for point in plot.points if not point.quality < plot.bottom]
    named = sorted((point for point in shown if point.named), key=lambda point: not point.front)
    labels = [TextLabel(m.label, m.cost, m.quality, area=TEACHER_AREA) for m in plot.teachers]
    labels += [TextLabel(p.label, p.cost, p.quality, area=p.area) for p in named]
    strong = [point for point in shown if point.front]
    marks = [(point.cost, point.quality, point.area) for point in strong]
    marks += [(mark.cost, mark.quality, TEACHER_AREA) for mark in plot.teachers]
    marks += [(mark.cost, mark.quality, TWIN_AREA) for mark in plot.twins]
    low, high = axes.get_ylim()
    bars = [
        [(point.cost, max(point.low, low)), (point.cost, min(point.high, high))]
        for point in strong
        if not math.isnan(point.low)
    ]
    limits = [[(cost, low), (cost, high)] for _, cost in plot.limits]
    pale = [(point.cost, point.quality) for point in shown if not point.front]
    obstacles = Obstacles(marks, [plot.line, *bars, *limits], pale)
    write_labels(axes, labels, obstacles, len(plot.points) + len(plot.teachers))


def front_legend(plot: FrontPlot) -> list[Line2D]:
    """Returns the legend's entries for the marks that are in the picture."""

    def entry(label: str, colour: str, marker: str, size: float = 8) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, color=colour, markersize=size, label=label
        )

    kinds = {point.kind if point.kind in STUDENT_LOOKS else OTHER for point in plot.points}
    entries = [
        entry(kind, KINDS[kind].colour, KINDS[kind].marker) for kind in KINDS if kind in kinds
    ]
    line = Line2D([], [], color=GREY, linewidth=1.6, label="front (chosen on selection)")
    entries += [line] if plot.line else []
    if plot.teachers:
        entries.append(entry("teacher", TEACHER_LOOK.colour, TEACHER_LOOK.marker, 13))
    if plot.twins:
        twin = entry("same student, labels alone", TWIN_LOOK.colour, TWIN_LOOK.marker, 6)
        twin.set_markerfacecolor("white")
        entries.append(twin)
    limits = plot.limits if plot.points else ()
    return [*entries, *(Line2D([], [], label=label, **LIMIT) for label, _ in limits)]

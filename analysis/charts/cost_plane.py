"""Draws quality against cost: marks, the front, and names that do not cover anything."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.charts.frontier import Info, Mark
from analysis.presentation.figure import (
    INK,
    LOOKS,
    TEACHER,
    TWIN,
    bare,
    explained,
    log_axis,
    look,
    new_figure,
    settled,
)
from analysis.presentation.label_placement import placed

PALE: dict[str, Any] = {"alpha": 0.28, "linewidth": 0, "zorder": 1}
STRONG: dict[str, Any] = {"alpha": 0.95, "edgecolor": "white", "linewidth": 0.9, "zorder": 4}
"""Style of models off the front, and style of models on it."""


def draw(info: Info) -> Figure:
    """Draws one picture, with the legend and the small print below it."""
    figure = new_figure(10, 6.4)
    axes = figure.subplots()
    plane(axes, info)
    axes.set_title(info.title, loc="left", fontsize=13, color=INK, pad=14, linespacing=1.5)
    explained(figure, legend(info), info.small)
    settled(figure)
    names(axes, info)
    return figure


def plane(axes: Axes, info: Info, size: float = 1.0) -> None:
    """Draws all marks, without their names.

    size: factor on the area of the marks.
    """
    log_axis(axes, [point.cost for point in info.points] + [mark.cost for mark in info.teachers])
    bare(axes)
    axes.plot(
        [cost for cost, _ in info.line],
        [quality for _, quality in info.line],
        color="#9a9a9a",
        linewidth=1.6,
        zorder=2,
    )
    for on_front, how in ((False, PALE), (True, STRONG)):
        for kind in dict.fromkeys(point.kind for point in info.points):
            some = [
                point for point in info.points if point.kind == kind and point.front == on_front
            ]
            costs, (colour, marker) = [point.cost for point in some], look(kind)
            bitmap = info.dense and not on_front
            areas, scores = [point.area * size for point in some], [point.quality for point in some]
            axes.scatter(
                costs, scores, s=areas, color=colour, marker=marker, rasterized=bitmap, **how
            )
            bars = {
                "color": colour,
                "linewidth": 1.3,
                "alpha": how["alpha"],
                "zorder": 3,
                "rasterized": bitmap,
            }
            axes.vlines(
                costs, [point.low for point in some], [point.high for point in some], **bars
            )
    _marks(
        axes,
        info.twins,
        s=34 * size,
        marker=TWIN.marker,
        facecolor="white",
        edgecolor=TWIN.colour,
        zorder=3,
    )
    _marks(axes, info.teachers, s=230 * size, marker=TEACHER.marker, color=TEACHER.colour, zorder=5)
    axes.margins(x=0.06)
    # Bars are cut off. Those of two seeds are so long that all else would be squeezed together.
    axes.set_ylim(info.bottom, info.top)
    axes.set_xlabel(info.cost)
    axes.set_ylabel(info.quality)


def _marks(axes: Axes, marks: list[Mark], **how: Any) -> None:
    axes.scatter([mark.cost for mark in marks], [mark.quality for mark in marks], **how)


def names(axes: Axes, info: Info) -> None:
    """Writes the names of the front's models and of the teachers where they cover nothing.

    The layout of the figure has to be final, because the places are computed in pixels.
    """
    named = [Mark(p.label, p.cost, p.quality) for p in info.points if p.named] + info.teachers
    seen = [(p.cost, p.quality) for p in info.points if p.front] + [
        (m.cost, m.quality) for m in [*info.teachers, *info.twins]
    ]
    points, taken = (
        [tuple(row) for row in axes.transData.transform(found)]
        for found in ([(m.cost, m.quality) for m in named], seen)
    )
    per_point = axes.figure.dpi / 72
    # The width of a text is estimated as 0.56 of the font size (9 points) per character.
    sizes = [((0.56 * len(mark.label) * 9 + 4) * per_point, 12 * per_point) for mark in named]
    box = axes.get_window_extent()
    for mark, point, place in zip(
        named, points, placed(points, sizes, taken, (box.x0, box.y0, box.x1, box.y1)), strict=True
    ):
        if place is not None:
            line = (
                {
                    "arrowstyle": "-",
                    "color": "#b0b0b0",
                    "linewidth": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 4,
                }
                if place.far
                else None
            )
            offset = ((place.x - point[0]) / per_point, (place.y - point[1]) / per_point)
            axes.annotate(
                mark.label,
                (mark.cost, mark.quality),
                offset,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=9,
                color=INK,
                zorder=6,
                arrowprops=line,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )


def legend(info: Info) -> list[Line2D]:
    """Returns the legend's entries for the marks that are in the picture."""

    def mark(label: str, colour: str, marker: str, size: float = 8, **more: Any) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, color=colour, markersize=size, label=label, **more
        )

    kinds = {point.kind for point in info.points}
    found = [mark(kind, each.colour, each.marker) for kind, each in LOOKS.items() if kind in kinds]
    found += [mark("other", *LOOKS["other"])] if kinds - LOOKS.keys() else []
    found.append(
        Line2D([], [], color="#9a9a9a", linewidth=1.6, label="chosen by selection for its cost")
    )
    found += [mark("teacher", TEACHER.colour, TEACHER.marker, 13)] if info.teachers else []
    found += (
        [mark("same student, labels alone", TWIN.colour, TWIN.marker, 6, markerfacecolor="white")]
        if info.twins
        else []
    )
    return found

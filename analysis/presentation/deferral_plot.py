"""Draws the points lost against the share of the rows that a student answers.

A picture of one run and a picture of the report are drawn with it.
"""

from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis.presentation.figure import (
    fix_layout,
    new_figure,
    set_title,
    small_print,
    style_axes,
)
from analysis.presentation.label_placement import spread_apart
from analysis.presentation.palette import GREY, INK

LEAST_GAP = 0.05
"""Minimum distance between two names at the ends of lines, as a share of the height."""
NAMES_AT = 104.0
"""Position of the names on the axis of shares."""


class Line(NamedTuple):
    """The losses of one model or one task.

    answered: shares of the dev rows that the student answers, in percent.
    lost: points lost at each.
    chosen: number of the point that is chosen on the selection split to lose nothing.
    """

    label: str
    colour: str
    answered: list[float]
    lost: list[float]
    chosen: int


class DeferralPlot(NamedTuple):
    """The lines with the text around them.

    names_at: height of each line's name.
    bottom, top: ends of the axis.
    """

    lines: list[Line]
    names_at: list[float]
    bottom: float
    top: float
    title: str
    small: str


def deferral_plot(lines: list[Line], title: str, small: str = "") -> DeferralPlot:
    """Returns the picture's numbers: where its names stand, and the ends of its axis."""
    values = [0.0, *(value for line in lines for value in line.lost)]
    bottom, top = min(values), max(values)
    height = max(top - bottom, 1.0)
    names_at = spread_apart([line.lost[-1] for line in lines], LEAST_GAP * height)
    bottom, top = min([bottom, *names_at]), max([top, *names_at])
    margin = 0.05 * height
    return DeferralPlot(lines, names_at, bottom - margin, top + margin, title, small)


def draw_deferral(plot: DeferralPlot) -> Figure:
    """Draws the lines with their names at their ends, and a mark at each chosen share."""
    figure = new_figure(10, 5.4)
    axes = figure.subplots()
    style_axes(axes)
    axes.axhline(0, color=INK, linewidth=1)
    connection: dict[str, Any] = {
        "arrowstyle": "-", "color": GREY, "linewidth": 0.7, "relpos": (0, 0.5),
    }  # fmt: skip
    for line, height in zip(plot.lines, plot.names_at, strict=True):
        axes.plot(line.answered, line.lost, color=line.colour, linewidth=1.8, alpha=0.85)
        axes.scatter(
            line.answered[line.chosen],
            line.lost[line.chosen],
            s=55,
            color=line.colour,
            edgecolor="white",
            zorder=4,
        )
        axes.annotate(
            line.label,
            (line.answered[-1], line.lost[-1]),
            (NAMES_AT, height),
            va="center",
            fontsize=9,
            color=line.colour,
            annotation_clip=False,
            arrowprops=connection,
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(plot.bottom, plot.top)
    axes.set_xlabel("texts that the student answers, in percent; the teacher answers the rest")
    axes.set_ylabel("points lost against the teacher alone, on dev")
    set_title(figure, plot.title)
    small_print(figure, plot.small)
    fix_layout(figure)
    return figure

"""The common style of all pictures: figures, axes, legends and files."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)
from matplotlib.transforms import Affine2D

from analysis.presentation.label_placement import (
    BREAKS,
    Pixel,
    Wanted,
    along,
    around,
    break_line,
    place_labels,
)
from analysis.presentation.palette import FAINT, GREY, GRID, INK

DOTS = 120
"""Dots per inch of a PNG."""
SMALL = 8.5
"""Font size of the small print, in points."""
MOST_LINES = 3
"""Maximum number of lines of a name on an axis."""
EVENLY = "models of the front, at even distances from the fastest to the slowest"
"""Description of the models of a long front that are drawn."""
GAP = 8.0
"""Minimum distance of two labels of an axis, in pixels."""
LEFT = 0.01
"""Margin at the left of titles and small print, as a share of the figure's width."""

NOT_IN_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
"""Characters in UTF-8 that XML 1.0 does not allow: a picture with one of them cannot be opened."""


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure with automatic layout.

    width, height: in inches.
    """
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def names_width(names: list[str]) -> float:
    """Returns about how many inches names at the left of a picture need."""
    return 0.078 * max(map(len, names), default=0) + 0.2


def fix_layout(figure: Figure) -> None:
    """Fits all texts into the figure, then computes the layout and fixes it.

    Long lines are broken, and ticks and names on the axes are thinned out or turned until none
    covers another. What is added later moves nothing.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return
    for text in figure.texts:
        _break_lines(text, figure.bbox.width * (1 - 3 * LEFT))
    engine.execute(figure)
    # The space of an axis is known after a layout, and changes with what its texts need.
    for _ in range(2):
        before = [_axis_texts(axes) for axes in figure.axes]
        for axes in figure.axes:
            _fit_axes(axes)
        if before == [_axis_texts(axes) for axes in figure.axes]:
            break
        engine.execute(figure)
    figure.set_layout_engine(None)  # with "none" a file would still take two drawings


def _axis_texts(axes: Axes) -> list[tuple[str, float]]:
    """Returns the texts around the axes that `_fit_axes` may change, and their rotation."""
    texts = [axes.title, axes.xaxis.label, axes.yaxis.label, *shown_ticks(axes.xaxis)]
    return [(text.get_text(), text.get_rotation()) for text in texts]


def _fit_axes(axes: Axes) -> None:
    """Breaks the labels of the axes, and thins out the ticks of the x axis."""
    box = axes.get_window_extent()
    _break_lines(axes.title, box.width)
    _break_lines(axes.xaxis.label, box.width)
    _break_lines(axes.yaxis.label, box.height)
    if isinstance(axes.xaxis.get_major_locator(), FixedLocator):
        _fit_names(axes)
        return
    locators = _locators(axes)
    while _crowded(axes) and (locator := next(locators, None)):
        axes.xaxis.set_major_locator(locator)


def _fit_names(axes: Axes) -> None:
    """Breaks the names on the x axis into up to MOST_LINES lines, or turns them, if they touch."""
    shown = shown_ticks(axes.xaxis)
    if len(shown) < 2 or not _crowded(axes):
        return
    slot = axes.get_window_extent().width / len(shown) - GAP
    names = [re.sub(r"(?<=[_/-])\n", "", text.get_text()).replace("\n", " ") for text in shown]
    broken = [break_line(name, text_width(shown[0]), slot, BREAKS[:-1]) for name in names]
    turned = max(map(len, broken)) > MOST_LINES
    labels = names if turned else ["\n".join(lines) for lines in broken]
    axes.set_xticks(axes.get_xticks(), labels)
    if turned or _crowded(axes):
        axes.set_xticks(axes.get_xticks(), names)
        axes.tick_params(axis="x", labelrotation=90)


def _crowded(axes: Axes) -> bool:
    """Returns whether labels of the x axis touch, or fewer than two are shown."""
    boxes = [text.get_window_extent() for text in shown_ticks(axes.xaxis)]
    touching = any(left.x1 + GAP > right.x0 for left, right in pairwise(boxes))
    return touching or len(boxes) < 2


def shown_ticks(axis: Axis) -> list[Text]:
    """Returns the labels of the major ticks that lie within the axis, in their order."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = sorted(zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True), key=lambda x: x[0])
    return [
        text
        for place, text in ticks
        if low - slack <= place <= high + slack and text.get_text() and text.get_visible()
    ]


def _locators(axes: Axes) -> Iterator[Locator]:
    """Yields ways to place the ticks of the x axis, the one with most ticks first."""
    if axes.get_xscale() == "log":
        low, high = axes.get_xlim()
        if high < 10 * low:
            yield LogLocator(subs=(1, 2, 3, 5, 7))
        yield from (LogLocator(subs=subs) for subs in ((1, 2, 5), (1, 3), (1,)))
        yield from (LogLocator(numticks=number) for number in (6, 4, 3))
    major = axes.xaxis.get_major_locator()
    locator = major if isinstance(major, MaxNLocator) else MaxNLocator()
    for number in (6, 5, 4, 3, 2):
        locator.set_params(nbins=number)
        yield locator


def _break_lines(text: Text, width: float) -> None:
    """Breaks lines of a text that are longer than a width in pixels."""
    measure = text_width(text)
    lines = [
        part for line in text.get_text().split("\n") for part in break_line(line, measure, width)
    ]
    text.set_text("\n".join(lines))


def text_width(text: Text) -> Callable[[str], float]:
    """Returns a function that measures lines in the font of a text, in pixels.

    Characters that the font lacks are measured as U+FFFD: each of them would cost a warning.
    """
    figure = text.get_figure(root=True)
    assert isinstance(figure, Figure)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer, font = canvas.get_renderer(), text.get_fontproperties()  # type: ignore[no-untyped-call]
    drawn = get_font(findfont(font)).get_charmap()

    def width(line: str) -> float:
        known = "".join(char if ord(char) in drawn else "\ufffd" for char in line)
        return float(renderer.get_text_width_height_descent(known, font, False)[0])

    return width


@contextmanager
def plain_text() -> Iterator[None]:
    """Context in which texts are drawn literally: a name with two $ is no formula.

    Figures have to be made and drawn in it.
    """
    with rc_context({"text.parse_math": False}):
        yield


def image_bytes(figure: Figure, form: str) -> bytes:
    """Returns the figure as a `png` or `svg` file. The same figure gives the same bytes.

    Texts of an SVG stay texts; characters that XML does not allow are replaced by U+FFFD. Its date
    is left out, and the salt of its ids is fixed.
    """
    file = BytesIO()
    with rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "mkd",
            "font.family": ["DejaVu Sans", "Verdana", "sans-serif"],
        }
    ):
        figure.savefig(
            file, format=form, dpi=DOTS, metadata={"Date": None} if form == "svg" else None
        )
    image = file.getvalue()
    return NOT_IN_XML.sub("\ufffd".encode(), image) if form == "svg" else image


def style_axes(axes: Axes, grid: str = "both") -> None:
    """Removes the frame, and draws a faint grid behind all marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, which="major", axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]


def set_title(figure: Figure, title: str) -> None:
    """Sets the title of the figure, aligned left."""
    figure.suptitle(title, x=LEFT, ha="left", fontsize=13, color=INK, linespacing=1.4)


def small_print(figure: Figure, text: str) -> None:
    """Writes the small print below the figure, aligned left."""
    figure.supxlabel(text, x=LEFT, ha="left", fontsize=SMALL, color=FAINT)


def log_axis(axes: Axes, values: list[float]) -> None:
    """Makes the x axis logarithmic, with labels in plain numbers.

    Labels are at 1, 2 and 5 of each decade, or more if the values span less than one decade;
    `fix_layout` changes them if they do not fit.
    """
    narrow = bool(values) and max(values) < 10 * min(values)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def add_legend(figure: Figure, marks: list[Line2D], small: str = "") -> None:
    """Adds the legend below the axes, with the small print above it.

    It has as many columns as the figure is wide enough for.
    """
    width = figure.bbox.width * (1 - 3 * LEFT)
    for columns in range(max(len(marks), 1), 0, -1):
        shown = figure.legend(
            handles=marks,
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=9,
            handletextpad=0.4,
            columnspacing=1.6,
            title=small or None,
            title_fontsize=SMALL,
            alignment="left",
        )
        title = shown.get_title()
        title.set_color(FAINT)
        _break_lines(title, width)
        if shown.get_window_extent().width <= width or columns == 1:
            return
        shown.remove()


class TextLabel(NamedTuple):
    """A name beside a point, in data coordinates.

    area: of the point's mark, in square points.
    """

    text: str
    x: float
    y: float
    colour: str = INK
    area: float = 60.0


class Obstacles(NamedTuple):
    """Areas that no label may cover, in data coordinates.

    marks: (x, y, area in square points).
    lines: corners of lines.
    pale: points that labels cover only if there is no other place.
    """

    marks: list[tuple[float, float, float]]
    lines: list[list[tuple[float, float]]] = []
    pale: list[tuple[float, float]] = []


def sentences(*parts: str) -> str:
    """Joins parts of the small print, each with a full stop. Empty parts are left out."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def with_number(small: str, shown: int, number: int, what: str) -> str:
    """Returns the small print, with how many of all are drawn if these are not all."""
    return small if shown == number else sentences(small, f"Drawn: {shown} of {number} {what}")


def count_note(named: int, number: int) -> str:
    """Returns the part of the small print that says how many models have their names."""
    return f"Named: {named} of {number} models.".replace(" ", "\N{NO-BREAK SPACE}")


def write_labels(
    axes: Axes, labels: list[TextLabel], obstacles: Obstacles, number: int = 0
) -> None:
    """Writes labels where they cover no mark, no line and no other label.

    A label without such a place is left out. The layout of the figure has to be final, because the
    places are computed in pixels.

    labels: the most important first.
    number: of all models. The figure's small print has `count_note(number, number)`, which is
        replaced by what was written.
    """
    per_point = axes.figure.dpi / 72

    def pixels(points: list[tuple[float, float]]) -> list[Pixel]:
        return [(float(x), float(y)) for x, y in axes.transData.transform(points)] if points else []

    def radius(area: float) -> float:
        return math.sqrt(area) / 2 * per_point

    texts = [axes.annotate(each.text, (each.x, each.y), fontsize=9) for each in labels]
    # Viewers of an SVG may have a slightly wider font.
    wanted = [
        Wanted(x, y, radius(label.area), 1.04 * box.width + 3 * per_point, box.height)
        for (x, y), label, box in zip(
            pixels([(label.x, label.y) for label in labels]),
            labels,
            [text.get_window_extent() for text in texts],
            strict=True,
        )
    ]
    marks = pixels([(x, y) for x, y, _ in obstacles.marks])
    taken = [
        around((x, y), radius(area))
        for (x, y), (_, _, area) in zip(marks, obstacles.marks, strict=True)
    ]
    taken += [around(place, per_point) for line in obstacles.lines for place in along(pixels(line))]
    pale = [around(place, 3 * per_point) for place in pixels(obstacles.pale)]
    box = axes.get_window_extent()
    places = place_labels(wanted, taken, pale, (box.x0, box.y0, box.x1, box.y1))
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
    for text, label, place, one in zip(texts, labels, places, wanted, strict=True):
        text.remove()
        if place is not None:
            axes.annotate(
                label.text,
                (label.x, label.y),
                ((place.x - one.x) / per_point, (place.y - one.y) / per_point),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=9,
                color=label.colour,
                zorder=6,
                arrowprops=line if place.far else None,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )
    written = sum(place is not None for place in places)
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    for artist in [*figure.texts, *(legend.get_title() for legend in figure.legends)]:
        note = artist.get_text().replace(count_note(number, number), count_note(written, number))
        artist.set_text(note)


SVG_COMMANDS = {
    Path.MOVETO: "M",
    Path.LINETO: "L",
    Path.CURVE3: "Q",
    Path.CURVE4: "C",
    Path.CLOSEPOLY: "Z",
}
"""Commands of an SVG path by matplotlib's codes."""


def outline(marker: str) -> str:
    """Returns a marker as an SVG path around 0, with the area of a circle of radius 1."""
    style = MarkerStyle(marker)
    # Curves become polygons with sides of about one unit, so the marker has to be large.
    path = style.get_path().transformed(style.get_transform() + Affine2D().scale(100, -100))
    x, y = np.asarray(path.to_polygons()[0]).T
    area = abs(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:])) / 2
    scaled = path.transformed(Affine2D().scale(math.sqrt(math.pi / area)))
    return "".join(
        SVG_COMMANDS[code]
        + ("" if code == Path.CLOSEPOLY else " ".join(f"{round(n, 3) + 0:g}" for n in numbers))
        for numbers, code in scaled.iter_segments(simplify=False)
    )

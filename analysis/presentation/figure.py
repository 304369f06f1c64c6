"""The common style of all pictures: figures, axes, legends and files."""

import math
from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Affine2D

from analysis.presentation.label_placement import place_labels
from analysis.presentation.palette import FAINT, GREY, GRID, INK

DOTS = 120
"""Dots per inch of a PNG."""
SMALL = 8.5
"""Font size of the small print, in points."""


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure with automatic layout.

    width, height: in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def fix_layout(figure: Figure) -> None:
    """Computes the layout and fixes it: what is added later moves nothing."""
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")


def image_bytes(figure: Figure, form: str) -> bytes:
    """Returns the figure as a `png` or `svg` file. The same figure gives the same bytes.

    Texts of an SVG stay texts. Its date is left out, and the salt of its ids is fixed.
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
    return file.getvalue()


def style_axes(axes: Axes, grid: str = "both") -> None:
    """Removes the frame, and draws a faint grid behind all marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, which="major", axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]


def set_title(axes: Axes, title: str) -> None:
    """Sets the title, aligned left."""
    axes.set_title(title, loc="left", fontsize=13, color=INK, pad=12)


def small_print(figure: Figure, text: str) -> None:
    """Writes the small print below the figure, aligned left."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=FAINT)


def log_axis(axes: Axes, values: list[float]) -> None:
    """Makes the x axis logarithmic, with labels in plain numbers.

    Labels are at 1, 2 and 5 of each decade, or more if the values span less than one decade.
    """
    narrow = bool(values) and max(values) < 10 * min(values)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def add_legend(figure: Figure, marks: list[Line2D], small: str = "") -> None:
    """Adds the legend below the axes, with the small print above it."""
    shown = figure.legend(
        handles=marks,
        loc="outside lower left",
        ncols=8,
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        columnspacing=1.6,
        title=small or None,
        title_fontsize=SMALL,
        alignment="left",
    )
    shown.get_title().set_color(FAINT)


class TextLabel(NamedTuple):
    """A name beside a point, in data coordinates."""

    text: str
    x: float
    y: float
    colour: str = INK


def write_labels(axes: Axes, labels: list[TextLabel], marks: list[tuple[float, float]]) -> None:
    """Writes labels where they cover no mark and no other label.

    A label without such a place is left out. The layout of the figure has to be final, because the
    places are computed in pixels.

    marks: data coordinates of further marks that no label may cover.
    """
    per_point = axes.figure.dpi / 72
    points, taken = (
        [(float(x), float(y)) for x, y in axes.transData.transform(found)] if found else []
        for found in ([(label.x, label.y) for label in labels], marks)
    )
    # The width of a text is estimated as 0.56 of the font size (9 points) per character.
    sizes = [((0.56 * len(label.text) * 9 + 4) * per_point, 12 * per_point) for label in labels]
    box = axes.get_window_extent()
    places = place_labels(points, sizes, taken, (box.x0, box.y0, box.x1, box.y1))
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
    for label, point, place in zip(labels, points, places, strict=True):
        if place is not None:
            axes.annotate(
                label.text,
                (label.x, label.y),
                ((place.x - point[0]) / per_point, (place.y - point[1]) / per_point),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=9,
                color=label.colour,
                zorder=6,
                arrowprops=line if place.far else None,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )


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

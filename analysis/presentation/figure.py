"""The common style of all pictures: colours, markers, figures and axes."""

from io import BytesIO
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator


class Look(NamedTuple):
    """Colour and marker of a student kind."""

    colour: str
    marker: str


LOOKS = {
    "transformer": Look("#0072b2", "o"),
    "bilstm": Look("#d55e00", "s"),
    "bag": Look("#009e73", "^"),
    "other": Look("#cc79a7", "D"),
}
"""Looks by student kind, from Okabe and Ito's palette, which colour-blind readers can tell
apart.
"""
TEACHER = Look("#222222", "*")
TWIN = Look("#b07800", "d")
"""Look of the hard-label twin."""
INK, FAINT = "#222222", "#767676"
"""Colours of text and of small print."""
DOTS = 120
"""Dots per inch of a PNG."""
SMALL = 8.5
"""Font size of the small print, in points."""


def look(kind: str) -> Look:
    """Returns the look of a student kind, or that of `other` if the kind is unknown."""
    return LOOKS.get(kind, LOOKS["other"])


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure with automatic layout.

    width, height: in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def settled(figure: Figure) -> None:
    """Computes the layout and fixes it: what is added later moves nothing."""
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")


def written(figure: Figure, form: str) -> bytes:
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


def bare(axes: Axes, grid: str = "both") -> None:
    """Removes the frame, and draws a faint grid behind all marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, which="major", axis=grid, color="#e4e4e4", linewidth=0.8)  # type: ignore[arg-type]


def titled(axes: Axes, title: str) -> None:
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


def explained(figure: Figure, marks: list[Line2D], small: str) -> None:
    """Adds the legend below the axes, with the small print above it."""
    shown = figure.legend(
        handles=marks,
        loc="outside lower left",
        ncols=8,
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        columnspacing=1.6,
        title=small,
        title_fontsize=SMALL,
        alignment="left",
    )
    shown.get_title().set_color(FAINT)

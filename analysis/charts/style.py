"""What all pictures share: colours that the colour-blind can tell apart, a marker for each kind, figures and bare axes."""

from io import BytesIO
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator


class Look(NamedTuple):
    """How a kind of student is drawn."""

    colour: str
    marker: str


LOOKS = {
    "transformer": Look("#0072b2", "o"),
    "bilstm": Look("#d55e00", "s"),
    "bag": Look("#009e73", "^"),
    "other": Look("#cc79a7", "D"),
}
"""By the kind of student, of Okabe and Ito's palette."""
TEACHER = Look("#222222", "*")
TWIN = Look("#b07800", "d")
"""The student that learnt from the labels alone."""
INK, FAINT = "#222222", "#767676"
DOTS = 120
"""An inch, of a PNG."""
SMALL = 8.5
"""Points of the small print."""


def look(kind: str) -> Look:
    """A kind that has none of its own is drawn as `other`."""
    return LOOKS.get(kind, LOOKS["other"])


def new_figure(width: float, height: float) -> Figure:
    """Inches; its parts find their places by themselves."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def settled(figure: Figure) -> None:
    """Its parts at their places, for good: what is added later moves nothing."""
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")


def written(figure: Figure, form: str) -> bytes:
    """The figure as a file, `png` or `svg`; the same figure gives the same bytes. Texts of an SVG stay texts."""
    file = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mkd", "font.family": ["DejaVu Sans", "Verdana", "sans-serif"]}):
        figure.savefig(file, format=form, dpi=DOTS, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def bare(axes: Axes, grid: str = "both") -> None:
    """No frame, a faint grid behind all marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, which="major", axis=grid, color="#e4e4e4", linewidth=0.8)  # type: ignore[arg-type]


def titled(axes: Axes, title: str) -> None:
    """What the picture says, above its left end."""
    axes.set_title(title, loc="left", fontsize=13, color=INK, pad=12)


def small_print(figure: Figure, text: str) -> None:
    """Below everything, at the left."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=FAINT)


def log_axis(axes: Axes, values: list[float]) -> None:
    """A logarithmic x axis for these values, labelled in plain numbers: 1, 2 and 5 of each decade, or more where there is one."""
    narrow = bool(values) and max(values) < 10 * min(values)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def explained(figure: Figure, marks: list[Line2D], small: str) -> None:
    """What the marks mean, with the small print above it, below the axes."""
    shown = figure.legend(
        handles=marks, loc="outside lower left", ncols=8, frameon=False, fontsize=9, handletextpad=0.4,
        columnspacing=1.6, title=small, title_fontsize=SMALL, alignment="left",
    )  # fmt: skip
    shown.get_title().set_color(FAINT)

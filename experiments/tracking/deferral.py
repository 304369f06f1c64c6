"""Deferral in a run's outputs: a table by task, and a picture with a line a task."""

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from analysis.presentation.deferral_plot import DeferralPlot, Line, deferral_plot, draw_deferral
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import LINES
from analysis.presentation.table import markdown
from mkd import names
from mkd.evaluation.deferral import BUDGETS, NEVER, Point, chosen, points_text

MOST = len(LINES)
"""Maximum number of tasks in the picture."""
EXPLANATION = (
    "The student answers texts of at least this confidence, and the teacher the others. The "
    "confidence is chosen on the selection split: nothing, or one point, is lost there. The shares "
    "of the texts that the student answers, and the points lost against the teacher alone, are "
    "measured on dev. All shares are in deferral.csv."
)


def curves_of(columns: Mapping[str, Any]) -> dict[str, list[Point]]:
    """Returns the curve of each task. columns: as in Result.deferral."""
    curves: dict[str, list[Point]] = {}
    for task, *values in zip(*columns.values(), strict=True):
        curves.setdefault(str(task), []).append(Point(*map(float, values)))
    return curves


def deferral_table(columns: Mapping[str, Any]) -> list[str]:
    """Returns a table in Markdown: a row a task, with its values for each budget."""
    header = ["task"]
    for budget in BUDGETS:
        words = budget.replace("_", " ")
        header += [f"{words}: confidence", "answered %", "lost"]
    rows = [
        [task, *(cell for most in BUDGETS.values() for cell in _cells(chosen(points, most)))]
        for task, points in curves_of(columns).items()
    ]
    return [*markdown([header, *rows]), "", EXPLANATION]


def _cells(point: Point) -> Iterator[str]:
    yield "none" if point.min_confidence == NEVER else f"{point.min_confidence:.3f}"
    yield f"{point.answered:.1f}"
    yield f"{point.lost:z.1f}"


def picture_data(columns: Mapping[str, Any], metrics: Mapping[str, float]) -> DeferralPlot:
    """Computes the picture's numbers. Of more than MOST tasks, some are shown."""
    curves = list(curves_of(columns).items())
    lines = [
        Line(
            task,
            colour,
            [point.answered for point in points],
            [point.lost for point in points],
            points.index(chosen(points, BUDGETS[names.LOSSLESS])),
        )
        for (task, points), colour in zip(
            (curves[place] for place in evenly(len(curves), MOST)), LINES, strict=False
        )
    ]
    answered, lost = (
        metrics[names.deferral(names.MEAN, names.LOSSLESS, what)]
        for what in (names.ANSWERED, names.LOST)
    )
    title = (
        f"The student answers {answered:.0f} % of the texts, and the teacher the rest: "
        f"{points_text(lost)} on dev"
    )
    more = "" if len(curves) == len(lines) else f" {len(lines)} of {len(curves)} tasks are drawn."
    small = (
        "Marks: the largest share up to which nothing is lost on the selection split; the title "
        f"has the mean over tasks.{more}"
    )
    return deferral_plot(lines, title, small)


def draw(plot: DeferralPlot) -> Figure:
    """Draws one line a task."""
    return draw_deferral(plot)

"""Points lost if the front's models leave texts with low confidence to their teacher."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.deferral_plot import DeferralPlot, Line, deferral_plot, draw_deferral
from analysis.presentation.figure import EVENLY, with_number
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import look
from mkd.evaluation.deferral_share import chosen_place

MOST = 8
"""Maximum number of models."""
TITLE = "What is lost if the teacher answers what the student is less sure of"
SMALL = "Marks: the largest share up to which nothing is lost on the selection split"

Info = DeferralPlot


class MeanCurve(NamedTuple):
    """A model's curve, the mean over tasks and seeds at each share of the selection rows."""

    answered: list[float]
    lost: list[float]
    selection_lost: list[float]


def mean_curve(tables: list[pd.DataFrame]) -> MeanCurve:
    """Returns the mean of the curves of a model's runs. tables: columns as in Result.deferral."""
    columns = list(MeanCurve._fields)
    # The mean over tasks of each run, then over runs: a run may lack a task.
    means = [table.groupby("share")[columns].mean() for table in tables]
    mean = sum(means[1:], means[0]) / len(means)
    return MeanCurve(*(mean[name].tolist() for name in columns))


def info(
    models: pd.DataFrame,
    tables_of: Callable[[list[str]], dict[str, pd.DataFrame]],
    small: str = "",
) -> Info | None:
    """Computes the picture's numbers.

    models: of more than MOST, an even selection is shown.
    tables_of: reads deferral.csv by run id, for some run ids.
    Returns None if no run has any.
    """
    number = len(models)
    models = models.iloc[evenly(number, MOST)]
    tables = tables_of([run for runs in models["runs"] for run in runs])
    lines = []
    for label, kind, runs in zip(
        models["label"], models["student_kind"], models["runs"], strict=True
    ):
        run_tables = [tables[run] for run in runs if run in tables]
        if run_tables:
            curve = mean_curve(run_tables)
            place = chosen_place(curve.selection_lost, 0)
            lines.append(Line(label, look(kind).colour, curve.answered, curve.lost, place))
    if not lines:
        return None
    small = f"{SMALL}. {with_number(small, len(models), number, EVENLY)}"
    return deferral_plot(lines, TITLE, small)


def draw(plot: Info) -> Figure:
    """Draws one line a model: the mean over its tasks with classes, and over its seeds."""
    return draw_deferral(plot)

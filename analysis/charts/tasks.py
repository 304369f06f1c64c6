"""One small picture a task: the task's score against latency, with its own front."""

import math
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.charts import frontier
from analysis.presentation.figure import add_legend, fix_layout, new_figure, set_title
from analysis.presentation.front_plot import FrontPlot, draw_front, front_legend
from analysis.presentation.palette import INK

ACROSS = 3
"""Pictures in a row."""


class Info(NamedTuple):
    """The numbers of the pictures.

    plots: by task.
    """

    plots: dict[str, FrontPlot]
    small: str


def info(models: pd.DataFrame, tasks: list[str], small: str = "") -> Info | None:
    """Computes the numbers for the tasks that have scores; None if there are none."""
    plots = {task: frontier.info(models, task=task) for task in tasks}
    known = {task: one for task, one in plots.items() if one is not None}
    return Info(known, small) if known else None


def draw(picture_data: Info) -> Figure:
    """Draws the pictures in rows of three, with a common axis of milliseconds."""
    across = min(ACROSS, len(picture_data.plots))
    down = math.ceil(len(picture_data.plots) / across)
    figure = new_figure(3.7 * across + 0.6, 3.1 * down + 1.1)
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    for axes, (task, one) in zip(grid.flat, picture_data.plots.items(), strict=False):
        draw_front(axes, one, size=0.5)
        axes.set_title(task, loc="left", fontsize=11, color=INK)
        axes.set_ylabel("")
        axes.tick_params(labelbottom=True)
    for axes in list(grid.flat)[len(picture_data.plots) :]:
        axes.set_axis_off()
    title = "Each task's score on dev (points) against latency, with a front of its own"
    set_title(figure, title)
    add_legend(figure, front_legend(next(iter(picture_data.plots.values()))), picture_data.small)
    fix_layout(figure)
    return figure

"""The gain of each task from joint distillation over being distilled alone, by the other tasks."""

import math
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.figure import (
    fix_layout,
    names_width,
    new_figure,
    set_title,
    small_print,
    style_axes,
)
from analysis.presentation.palette import INK
from analysis.runs.models import differing
from analysis.runs.rows import SETTING_PREFIXES

TASK_SETTINGS = (
    "data.tasks",
    "train.sampling.weights",
    "loss.task_weights",
    "teacher.train.sampling.weights",
)
"""Settings that depend on the tasks. They may differ between compared runs."""


class Info(NamedTuple):
    """The numbers of the picture: a row a task, and a column a set of other tasks.

    gains: in points, NaN if a run is missing.
    runs: number of joint and single runs behind each cell.
    most: the largest absolute gain, which is the end of the colour range.
    """

    tasks: list[str]
    beside: list[str]
    gains: list[list[float]]
    runs: list[list[int]]
    most: float
    small: str


def info(frame: pd.DataFrame, small: str = "") -> Info | None:
    """Compares joint and single distillation of runs whose settings are equal.

    The seed and the settings in TASK_SETTINGS may differ.

    frame: runs with any set of tasks.
    Returns None if no task was distilled both ways.
    """
    number = frame["tasks"].map(len)
    if (number > 1).all() or (number == 1).all():
        return None
    frame = frame.assign(key=_keys(frame))
    alone = {
        (key, tasks[0]): part for (key, tasks), part in frame[number == 1].groupby(["key", "tasks"])
    }
    both = frame[(number > 1) & frame["key"].isin([key for key, _ in alone])]
    cells: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for (key, tasks), part in both.groupby(["key", "tasks"]):
        for task in tasks:
            if (key, task) in alone:
                single = alone[key, task]
                gain = float(part[f"score/{task}"].mean() - single[f"score/{task}"].mean())
                cells.setdefault((task, _other_tasks(tasks, task)), []).append(
                    (gain, len(part) + len(single))
                )
    if not cells:
        return None
    rows = sorted({task for task, _ in cells})
    # Pairs of tasks come first, `all N tasks` last.
    columns = sorted(
        {others for _, others in cells}, key=lambda name: (name.startswith("all "), name)
    )
    gains = [[_mean(cells.get((row, column), [])) for column in columns] for row in rows]
    runs = [
        [sum(number for _, number in cells.get((row, column), [])) for column in columns]
        for row in rows
    ]
    most = max(abs(gain) for row in gains for gain in row if not math.isnan(gain))
    return Info(rows, columns, gains, runs, most or 1.0, small)


def _keys(frame: pd.DataFrame) -> pd.Series:
    """Returns a key for each run: student, split, source and the settings that differ."""
    names = [
        name
        for name in differing(frame)
        if name not in TASK_SETTINGS and name.startswith(SETTING_PREFIXES)
    ]
    texts = frame[names].fillna("").astype(str)
    source = frame["suite"].str.partition(":")[0]
    return (
        frame["student"] + "|" + frame["split"] + "|" + source + "|" + texts.agg("|".join, axis=1)
    )


def _other_tasks(tasks: tuple[str, ...], task: str) -> str:
    """Returns the name of the other task of two, or such as `all 3 tasks`."""
    others = [other for other in tasks if other != task]
    return others[0] if len(others) == 1 else f"all {len(tasks)} tasks"


def _mean(gains: list[tuple[float, int]]) -> float:
    return sum(gain for gain, _ in gains) / len(gains) if gains else math.nan


def draw(picture_data: Info) -> Figure:
    """Draws a heat map with a number in each cell."""
    width = names_width(picture_data.tasks) + 0.4 + 1.2 * len(picture_data.beside)
    figure = new_figure(max(width, 5.0), 1.8 + 0.55 * len(picture_data.tasks))
    axes = figure.subplots()
    axes.imshow(
        picture_data.gains,
        cmap="PuOr_r",
        vmin=-picture_data.most,
        vmax=picture_data.most,
        aspect="auto",
    )
    for row, (gains, runs) in enumerate(zip(picture_data.gains, picture_data.runs, strict=True)):
        for column, (gain, number) in enumerate(zip(gains, runs, strict=True)):
            text = "" if math.isnan(gain) else f"{gain:+z.1f}\n{number} runs"
            colour = "white" if abs(gain) > 0.65 * picture_data.most else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(picture_data.beside)), picture_data.beside)
    axes.set_yticks(range(len(picture_data.tasks)), picture_data.tasks)
    axes.xaxis.tick_top()
    style_axes(axes)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("score of")
    set_title(figure, "Points that a task gains when it is distilled jointly with")
    small_print(figure, picture_data.small)
    fix_layout(figure)
    return figure

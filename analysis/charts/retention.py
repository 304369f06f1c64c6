"""The share of their teacher's score that the front's models keep, task by task."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.figure import (
    EVENLY,
    fix_layout,
    names_width,
    new_figure,
    set_title,
    small_print,
    style_axes,
    with_number,
)
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import INK

MOST = 14
"""Maximum number of models."""
FEW = 10
"""Maximum number of tasks for wide columns."""
DARK = 0.45
"""Cells below this shade, from 0 to 1, are dark and get white text."""


class Info(NamedTuple):
    """The numbers of the picture.

    kept: a row a model and a column a task, then one for the mean. Scores are in percent of the
        teacher's, NaN if unknown.
    shades: the same, scaled to 0 to 1 over all cells.
    light: whether the text of a cell is white.
    """

    models: list[str]
    tasks: list[str]
    kept: list[list[float]]
    shades: list[list[float]]
    light: list[list[bool]]
    small: str


def info(models: pd.DataFrame, tasks: list[str], small: str = "") -> Info:
    """Computes the picture's numbers. Tasks without a known teacher are left out.

    models: fastest first; of more than MOST, an even selection is shown.
    """
    chosen = models.iloc[evenly(len(models), MOST)]
    known = [
        task
        for task in tasks
        if chosen.get(f"retention/{task}", pd.Series(dtype=float)).notna().any()
    ]
    columns = [f"retention/{task}" for task in known] + ["retention"]
    kept = chosen[columns].to_numpy(float)
    low, high = (float(extreme) for extreme in (np.nanmin(kept), np.nanmax(kept)))
    # All cells may have the same value.
    shades = (kept - low) / ((high - low) or 1.0)
    names = [
        f"{label}   {milliseconds:.3g} ms"
        for label, milliseconds in zip(chosen["label"], chosen["latency_ms"], strict=True)
    ]
    small = with_number(small, len(chosen), len(models), EVENLY)
    light = (shades < DARK).tolist()
    return Info(names, [*known, "mean"], kept.tolist(), shades.tolist(), light, small)


def draw(picture_data: Info) -> Figure:
    """Draws a table of coloured cells with a number in each."""
    column = 1.25 if len(picture_data.tasks) <= FEW else 0.9
    width = names_width(picture_data.models) + column * len(picture_data.tasks)
    figure = new_figure(max(width, 5.0), 1.5 + 0.36 * len(picture_data.models))
    axes = figure.subplots()
    axes.imshow(picture_data.shades, cmap="cividis", aspect="auto", vmin=0, vmax=1)
    for row, cells in enumerate(zip(picture_data.kept, picture_data.light, strict=True)):
        for column, (value, light) in enumerate(zip(*cells, strict=True)):
            text = "-" if math.isnan(value) else f"{value:.1f}"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=9.5,
                color="white" if light else INK,
            )
    axes.set_xticks(range(len(picture_data.tasks)), picture_data.tasks)
    axes.set_yticks(range(len(picture_data.models)), picture_data.models)
    axes.xaxis.tick_top()
    style_axes(axes)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    set_title(figure, "Percent of the teacher's score that the front's models keep")
    small_print(figure, picture_data.small)
    fix_layout(figure)
    return figure
